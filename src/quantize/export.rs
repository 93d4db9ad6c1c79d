//! From a model folder to a GGUF file.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::interleave::to_pairs;
use super::names::{NamedTensor, tensors};
use super::recipe::{Choice, choose};
use super::writer::{TensorHeader, header, padding};
use super::{GgufType, QuantizeError, model_keys, tokenizer};
use crate::arch::ModelConfig;
use crate::files::write_whole;
use crate::model::{self, TensorFiles};
use crate::units::Bytes;

/// Rows that are quantized as one piece of work: enough that handing it out costs little, few enough
/// that copies of a piece are small beside the tensor.
const ROWS_A_PIECE: usize = 64;

/// What an export wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufReport {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: Bytes,
    /// Number of tensors of each block type, such as `("Q4_K", 11)`, by name.
    pub tensors_by_type: Vec<(String, usize)>,
    /// Tensors whose rows the wanted blocks do not divide, so that they got another type.
    pub fallbacks: usize,
    /// What the file leaves out or llama.cpp will do otherwise than the model's tokenizer.
    pub warnings: Vec<String>,
}

/// A tensor and the block type it is written in.
struct Planned {
    tensor: NamedTensor,
    choice: Choice,
}

/// Writes the model in `model_folder` as one GGUF file.
///
/// Tensors are read, quantized and written one at a time. The folder of `out` is made if need be.
/// The file appears under its name when it is whole and on disk; on an error an older file of that
/// name is untouched.
///
/// # Errors
/// A folder that is no whole model of the Llama architecture with a byte-level BPE tokenizer,
/// weights that are not finite, a place that cannot be written.
pub fn export(model_folder: &Path, gguf_type: GgufType, out: &Path) -> Result<GgufReport, QuantizeError> {
    let config = model::read_config(model_folder)?;
    check_family(model_folder, &config)?;
    let tokenizer = tokenizer::read(model_folder, &config)?;
    let weights = TensorFiles::of_model(model_folder)?;
    let plan = plan(&config, gguf_type, &weights)?;
    let mut entries = model_keys::model_entries(&config, gguf_type, &model_name(model_folder));
    entries.extend(tokenizer.entries);
    let headers: Vec<TensorHeader> = plan.iter().map(Planned::header).collect();
    let io = QuantizeError::io(out);
    write_whole(out, &io, |path| {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(&io)?);
        file.write_all(&header(&entries, &headers)).map_err(&io)?;
        for planned in &plan {
            let pieces = planned.blocks(&weights, &config)?;
            let pad = padding(pieces.iter().map(Vec::len).sum());
            pieces.iter().chain([&pad]).try_for_each(|piece| file.write_all(piece)).map_err(&io)?;
        }
        file.flush().map_err(&io)
    })?;
    let bytes = Bytes(fs::metadata(out).map_err(&io)?.len());
    let mut warnings = tokenizer.warnings;
    warnings.extend(left_out(&weights, &plan, &config));
    Ok(GgufReport {
        path: out.to_owned(),
        bytes,
        tensors_by_type: by_type(&plan),
        fallbacks: plan.iter().filter(|planned| planned.choice.is_fallback()).count(),
        warnings,
    })
}

/// Whether a GGUF can be made of the model and the tokenizer in `model_folder`, before hours are spent
/// on it.
///
/// # Errors
/// Another family than Llama, missing or broken files, or a tokenizer that is no byte-level BPE.
pub fn check_tokenizer(model_folder: &Path, config: &ModelConfig) -> Result<(), QuantizeError> {
    check_family(model_folder, config)?;
    tokenizer::read(model_folder, config).map(drop)
}

/// What a layout does not know would be left out of the file, or misread by who opens it.
fn check_family(model_folder: &Path, config: &ModelConfig) -> Result<(), QuantizeError> {
    if config.traits.are_plain() {
        return Ok(());
    }
    Err(QuantizeError::Family { path: model_folder.to_owned(), found: config.traits.architecture })
}

/// The folder's own name, also where it was given as `.`.
fn model_name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn plan(
    config: &ModelConfig,
    gguf_type: GgufType,
    weights: &TensorFiles,
) -> Result<Vec<Planned>, QuantizeError> {
    let planned = |tensor: NamedTensor| {
        weights.check(&tensor.hugging_face, &tensor.shape)?;
        let choice = choose(gguf_type, &tensor, config);
        Ok(Planned { tensor, choice })
    };
    tensors(config).into_iter().map(planned).collect()
}

impl Planned {
    fn header(&self) -> TensorHeader {
        let tensor = &self.tensor;
        TensorHeader { name: tensor.gguf.clone(), shape: tensor.shape.clone(), block: self.choice.taken }
    }

    /// The bytes of the tensor's blocks, in pieces.
    fn blocks(&self, weights: &TensorFiles, config: &ModelConfig) -> Result<Vec<Vec<u8>>, QuantizeError> {
        let name = &self.tensor.hugging_face;
        let failed = QuantizeError::tensor(name);
        let mut weight = weights.load(name, &Device::Cpu)?;
        if let Some(heads) = self.tensor.rotary_heads(config) {
            weight = to_pairs(&weight, heads).map_err(&failed)?;
        }
        // Blocks never cross a row, so rows can be quantized side by side.
        let rows = weight.dim(0).map_err(&failed)?;
        let starts: Vec<usize> = (0..rows).step_by(ROWS_A_PIECE).collect();
        let piece = |start: &usize| {
            let piece = quantize(&weight, *start, self.choice.taken).map_err(&failed)?;
            piece.ok_or_else(|| QuantizeError::NotFinite { name: name.clone() })
        };
        starts.par_iter().map(piece).collect()
    }
}

/// The blocks of one piece of rows; none where a value is not finite.
fn quantize(weight: &Tensor, start: usize, block: GgmlDType) -> candle_core::Result<Option<Vec<u8>>> {
    let rows = ROWS_A_PIECE.min(weight.dim(0)? - start);
    // A copy, because candle's quantizer reads a view from where its storage begins.
    let piece = weight.narrow(0, start, rows)?.force_contiguous()?;
    // Zero times a finite value is zero; one NaN or infinity makes the sum NaN.
    let sum = piece.affine(0.0, 0.0)?.sum_all()?.to_scalar::<f32>()?;
    if !sum.is_finite() {
        return Ok(None);
    }
    Ok(Some(QTensor::quantize(&piece, block)?.data()?.into_owned()))
}

fn by_type(plan: &[Planned]) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    for planned in plan {
        *counts.entry(block_name(planned.choice.taken)).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// llama.cpp's spelling: `Q4_K` where candle writes `Q4K`.
fn block_name(block: GgmlDType) -> String {
    let name = format!("{block:?}");
    match name.strip_suffix('K') {
        Some(start) => format!("{start}_K"),
        None => name,
    }
}

/// Tensors of the folder that are no part of the architecture.
fn left_out(weights: &TensorFiles, plan: &[Planned], config: &ModelConfig) -> Vec<String> {
    let known: HashSet<&str> = plan.iter().map(|planned| planned.tensor.hugging_face.as_str()).collect();
    // Old files store the rotary frequencies, which follow from the configuration, and tied heads
    // may be stored twice.
    let redundant = |name: &str| {
        name.ends_with("rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight")
    };
    let mut names: Vec<&str> =
        weights.names().filter(|name| !known.contains(name) && !redundant(name)).collect();
    names.sort_unstable();
    names
        .iter()
        .map(|name| format!("tensor `{name}` is no part of the architecture and was left out"))
        .collect()
}
