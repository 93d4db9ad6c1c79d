//! From a model folder to a GGUF file.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_core::quantized::{GgmlDType, QTensor};
use rayon::prelude::*;
use tempfile::NamedTempFile;

use super::interleave::to_pairs;
use super::names::{NamedTensor, tensors};
use super::recipe::{Choice, choose};
use super::weights::Weights;
use super::writer::{TensorHeader, header, padding};
use super::{GgufType, QuantizeError, model_keys, tokenizer};
use crate::arch::ModelConfig;
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
    let config = read_config(&model_folder.join("config.json"))?;
    let tokenizer = tokenizer::read(model_folder, &config)?;
    let weights = Weights::open(model_folder)?;
    let plan = plan(&config, gguf_type, &weights)?;
    let mut entries = model_keys::model_entries(&config, gguf_type, &model_name(model_folder));
    entries.extend(tokenizer.entries);
    let headers: Vec<TensorHeader> = plan.iter().map(Planned::header).collect();
    let bytes = write_whole(out, |file| {
        file.write_all(&header(&entries, &headers)).map_err(QuantizeError::io(out))?;
        plan.iter().try_for_each(|planned| {
            let pieces = planned.blocks(&weights, &config)?;
            let length = pieces.iter().map(Vec::len).sum();
            let pad = padding(length);
            pieces
                .iter()
                .chain([&pad])
                .try_for_each(|piece| file.write_all(piece))
                .map_err(QuantizeError::io(out))
        })
    })?;
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

/// Whether a GGUF can be made of the tokenizer in `model_folder`, before hours are spent on it.
///
/// # Errors
/// Missing or broken files, or a tokenizer that is no byte-level BPE.
pub fn check_tokenizer(model_folder: &Path, config: &ModelConfig) -> Result<(), QuantizeError> {
    tokenizer::read(model_folder, config).map(drop)
}

fn read_config(path: &Path) -> Result<ModelConfig, QuantizeError> {
    let text = fs::read_to_string(path).map_err(QuantizeError::io(path))?;
    ModelConfig::from_json(&text).map_err(|source| QuantizeError::Config { path: path.to_owned(), source })
}

/// The folder's own name, also where it was given as `.`.
fn model_name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn plan(config: &ModelConfig, gguf_type: GgufType, weights: &Weights) -> Result<Vec<Planned>, QuantizeError> {
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
    fn blocks(&self, weights: &Weights, config: &ModelConfig) -> Result<Vec<Vec<u8>>, QuantizeError> {
        let name = &self.tensor.hugging_face;
        let failed = QuantizeError::tensor(name);
        let mut weight = weights.load(name)?;
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

/// Writes a file that appears under its name when it is whole; gives its length.
fn write_whole(
    out: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<(), QuantizeError>,
) -> Result<Bytes, QuantizeError> {
    let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(QuantizeError::io(folder))?;
    let temporary = temporary_in(folder).map_err(QuantizeError::io(folder))?;
    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file());
    fill(&mut writer)?;
    let io = QuantizeError::io(out);
    writer.flush().map_err(&io)?;
    drop(writer);
    temporary.as_file().sync_all().map_err(&io)?;
    let length = temporary.as_file().metadata().map_err(&io)?.len();
    temporary.persist(out).map_err(|error| io(error.error))?;
    // The new name itself is on disk only when the folder is.
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(&io)?;
    Ok(Bytes(length))
}

fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-").suffix(".gguf");
    // Temporary files are for their owner alone; this one becomes an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
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
fn left_out(weights: &Weights, plan: &[Planned], config: &ModelConfig) -> Vec<String> {
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
