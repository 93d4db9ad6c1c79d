//! A GGUF file as a model folder, so that it can be fine-tuned like any other.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use candle_core::DType;
use candle_core::quantized::GgmlDType;

use super::QuantizeError;
use super::names::NamedTensor;
use super::read::GgufFile;
use crate::model::{self, PlannedTensor};
use crate::units::Bytes;

/// Writes the model, the tokenizer and the chat template in `file` as a folder that Transformers
/// reads; `progress` hears how much of how much has been written.
///
/// Tensors are read, dequantized and written one at a time. 16-bit tensors stay as they are. All
/// others become f32, in which the values of every block type are exact: a value of `q8_0` is a
/// scale of 11 bits times a number of 8, more than the 8 bits that bf16 would leave of it.
///
/// # Errors
/// As [`super::read`] and [`super::read_tokenizer`], or the folder can't be written.
pub fn unpack(
    file: &Path,
    folder: &Path,
    progress: &mut dyn FnMut(Bytes, Bytes),
) -> Result<(), QuantizeError> {
    let mut gguf = GgufFile::open(file)?;
    let tokenizer = gguf.tokenizer()?;
    tokenizer.check_against(&gguf.config)?;
    fs::create_dir_all(folder).map_err(QuantizeError::io(folder))?;
    tokenizer.save(folder)?;
    let tensors = std::mem::take(&mut gguf.tensors);
    let planned: Vec<PlannedTensor<'_>> = tensors.iter().map(|tensor| planned(&gguf, tensor)).collect();
    model::write_config(folder, &gguf.config, widest(&planned))?;
    let total = Bytes(planned.iter().map(PlannedTensor::bytes).sum());
    // One reader and one listener are shared by the loads, which come one after another.
    let shared = RefCell::new((gguf, progress, 0));
    let load = |index: usize| {
        let (gguf, progress, done) = &mut *shared.borrow_mut();
        let weight =
            gguf.load(&tensors[index]).map_err(|error| error.context(tensors[index].gguf.clone()))?;
        progress(Bytes(*done), total);
        *done += planned[index].bytes();
        Ok(weight)
    };
    // Transformers refuses a file that does not say which framework wrote it.
    let format = [("format", "pt".to_owned())];
    model::write_planned(&folder.join(model::WEIGHTS_FILE), &planned, &load, &format)?;
    Ok(())
}

/// The format in which no matrix loses anything: all of them may be loaded in one.
fn widest(planned: &[PlannedTensor<'_>]) -> DType {
    let mut kept = planned.iter().filter(|tensor| tensor.shape.len() > 1).map(|tensor| tensor.dtype);
    let first = kept.next().unwrap_or(DType::F32);
    if kept.all(|dtype| dtype == first) { first } else { DType::F32 }
}

fn planned<'a>(gguf: &GgufFile, tensor: &'a NamedTensor) -> PlannedTensor<'a> {
    let dtype = match gguf.block(tensor) {
        Some(GgmlDType::F16) => DType::F16,
        Some(GgmlDType::BF16) => DType::BF16,
        _ => DType::F32,
    };
    PlannedTensor { name: &tensor.hugging_face, shape: &tensor.shape, dtype }
}
