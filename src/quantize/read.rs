//! From a GGUF file to weights under Hugging Face names.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};

use super::interleave::to_halves;
use super::model_keys::Keys;
use super::names::{NamedTensor, tensors};
use super::{QuantizeError, tokenizer_files};
use crate::arch::ModelConfig;
use crate::data::Tokenizer;
use crate::units::Bytes;

/// A model read from a GGUF file.
#[derive(Clone, Debug)]
pub struct GgufModel {
    /// The configuration its keys describe.
    pub config: ModelConfig,
    /// Weights by Hugging Face name, dequantized to f32, on the CPU; no head where it is tied.
    pub tensors: HashMap<String, Tensor>,
}

/// Reads a GGUF of the `llama` architecture, of any block types candle can dequantize.
///
/// # Errors
/// A file that is no GGUF, is cut off, holds another architecture or features we do not have.
pub fn read(file: &Path) -> Result<GgufModel, QuantizeError> {
    let mut file = GgufFile::open(file)?;
    let tensors = std::mem::take(&mut file.tensors);
    let load = |tensor: NamedTensor| {
        let weight = file.load(&tensor).map_err(QuantizeError::tensor(&tensor.gguf))?;
        Ok((tensor.hugging_face, weight))
    };
    let tensors = tensors.into_iter().map(load).collect::<Result<_, QuantizeError>>()?;
    Ok(GgufModel { config: file.config, tensors })
}

/// Builds the tokenizer that a GGUF holds, as Hugging Face's library has it.
///
/// # Errors
/// As [`read`]; no tokenizer in the file, or one that is not supported.
pub fn read_tokenizer(file: &Path) -> Result<Tokenizer, QuantizeError> {
    GgufFile::open(file)?.tokenizer()
}

/// Whether a model is one GGUF file, by the ending of its name.
#[must_use]
pub fn is_gguf(model: &Path) -> bool {
    model.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) && !model.is_dir()
}

/// A GGUF whose header has been read and found to be whole.
pub(super) struct GgufFile {
    path: PathBuf,
    reader: BufReader<File>,
    content: Content,
    /// The configuration its keys describe.
    pub config: ModelConfig,
    /// Every tensor of that configuration.
    pub tensors: Vec<NamedTensor>,
}

impl GgufFile {
    /// Reads the header, and checks that all tensors are there, fit and end before the file does.
    pub(super) fn open(file: &Path) -> Result<Self, QuantizeError> {
        let mut reader = BufReader::new(File::open(file).map_err(QuantizeError::io(file))?);
        check_magic(&mut reader, file)?;
        let content = Content::read(&mut reader)
            .map_err(|error| QuantizeError::Header { path: file.to_owned(), message: first_line(&error) })?;
        let tied = !content.tensor_infos.contains_key("output.weight");
        let config = Keys { path: file, values: &content.metadata }.config(tied)?;
        let tensors = tensors(&config);
        check_tensors(&content, &tensors, file)?;
        check_length(&content, &mut reader, file)?;
        Ok(Self { path: file.to_owned(), reader, content, config, tensors })
    }

    /// The tokenizer its keys describe.
    pub(super) fn tokenizer(&self) -> Result<Tokenizer, QuantizeError> {
        let keys = Keys { path: &self.path, values: &self.content.metadata };
        tokenizer_files::tokenizer(&keys, self.config.max_position_embeddings)
    }

    /// How a tensor's values are kept.
    pub(super) fn block(&self, tensor: &NamedTensor) -> Option<GgmlDType> {
        self.content.tensor_infos.get(&tensor.gguf).map(|info| info.ggml_dtype)
    }

    /// One tensor in f32, its rows in Hugging Face's order.
    pub(super) fn load(&mut self, tensor: &NamedTensor) -> candle_core::Result<Tensor> {
        let blocks = self.content.tensor(&mut self.reader, &tensor.gguf, &Device::Cpu)?;
        let weight = blocks.dequantize(&Device::Cpu)?;
        match tensor.rotary_heads(&self.config) {
            Some(heads) => to_halves(&weight, heads),
            None => Ok(weight),
        }
    }
}

fn check_magic(reader: &mut (impl Read + Seek), path: &Path) -> Result<(), QuantizeError> {
    let mut magic = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut magic).map_err(QuantizeError::io(path))?;
    reader.seek(SeekFrom::Start(0)).map_err(QuantizeError::io(path))?;
    if magic == b"GGUF" {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&magic).into_owned();
    Err(QuantizeError::NotGguf { path: path.to_owned(), found })
}

/// candle's errors may carry a backtrace below their message.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn check_tensors(content: &Content, wanted: &[NamedTensor], path: &Path) -> Result<(), QuantizeError> {
    for tensor in wanted {
        let missing = || QuantizeError::MissingTensor { path: path.to_owned(), name: tensor.gguf.clone() };
        let info = content.tensor_infos.get(&tensor.gguf).ok_or_else(missing)?;
        if info.shape.dims() != tensor.shape {
            return Err(QuantizeError::Shape {
                path: path.to_owned(),
                name: tensor.gguf.clone(),
                found: info.shape.dims().to_vec(),
                right: tensor.shape.clone(),
            });
        }
    }
    let known: HashSet<&str> = wanted.iter().map(|tensor| tensor.gguf.as_str()).collect();
    match content.tensor_infos.keys().find(|name| !known.contains(name.as_str())) {
        Some(name) => Err(QuantizeError::UnknownTensor { path: path.to_owned(), name: name.clone() }),
        None => Ok(()),
    }
}

fn check_length(content: &Content, reader: &mut impl Seek, path: &Path) -> Result<(), QuantizeError> {
    let end = |info: &candle_core::quantized::gguf_file::TensorInfo| {
        let block = info.ggml_dtype;
        let bytes = info.shape.elem_count() / block.block_size() * block.type_size();
        content.tensor_data_offset.saturating_add(info.offset).saturating_add(bytes as u64)
    };
    let needed = content.tensor_infos.values().map(end).max().unwrap_or(0);
    let found = reader.seek(SeekFrom::End(0)).map_err(QuantizeError::io(path))?;
    if found >= needed {
        return Ok(());
    }
    Err(QuantizeError::Truncated { path: path.to_owned(), found: Bytes(found), needed: Bytes(needed) })
}
