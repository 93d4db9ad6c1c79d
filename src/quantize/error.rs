//! What can go wrong between a model folder and a GGUF file.

use std::io;
use std::path::{Path, PathBuf};

use crate::arch::ConfigError;
use crate::data::DataError;
use crate::model::ModelError;
use crate::units::Bytes;

/// Why a model could not be written to, or read from, a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The system refused to read or write.
    #[error("{}: {source}{}", path.display(), missing_hint(path, source))]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The model folder.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's configuration in the GGUF's keys.
    #[error("{}: {source}", path.display())]
    Config {
        /// The GGUF.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A tensor that the GGUF's configuration asks for is absent.
    #[error(
        "{}: tensor `{name}` is missing\n  hint: the configuration must describe the weights beside it",
        path.display()
    )]
    MissingTensor {
        /// The GGUF.
        path: PathBuf,
        /// Its name there.
        name: String,
    },
    /// A tensor has another shape than the GGUF's configuration gives it.
    #[error(
        "{}: tensor `{name}` has shape {found:?}\n  hint: by its configuration it would be {right:?}",
        path.display()
    )]
    Shape {
        /// The GGUF.
        path: PathBuf,
        /// Its name there.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the configuration gives it.
        right: Vec<usize>,
    },
    /// A GGUF holds a tensor that the supported layout does not have.
    #[error(
        "{}: tensor `{name}` has no place in the supported layout\n  hint: biases, experts and scaled rotary embeddings are not implemented",
        path.display()
    )]
    UnknownTensor {
        /// The GGUF.
        path: PathBuf,
        /// Name in the GGUF.
        name: String,
    },
    /// A weight is NaN or infinite, which block types cannot hold.
    #[error(
        "tensor `{name}` holds a value that is not finite\n  hint: the training diverged; export an earlier checkpoint"
    )]
    NotFinite {
        /// Name in the model folder.
        name: String,
    },
    /// A `tokenizer.json` that llama.cpp's byte-level BPE cannot stand for.
    #[error("{}: {message}\n  hint: {hint}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What was found.
        message: String,
        /// What would be right.
        hint: &'static str,
    },
    /// The file does not begin as a GGUF does.
    #[error("{}: not a GGUF file: it begins with {found:?}\n  hint: a GGUF begins with \"GGUF\"", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// Its first four bytes, as text.
        found: String,
    },
    /// The file ends before its last tensor does.
    #[error("{}: cut off: {found} of at least {needed}\n  hint: copy or write the file again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Length of the file.
        found: Bytes,
        /// Where the last tensor ends.
        needed: Bytes,
    },
    /// The GGUF's header cannot be read.
    #[error("{}: unreadable GGUF header: {message}\n  hint: the file may be cut off; copy it again", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        message: String,
    },
    /// The GGUF holds a model of another family.
    #[error("{}: architecture `{found}` is not supported\n  hint: supported is: llama", path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// Its `general.architecture`.
        found: String,
    },
    /// The model is of a family whose GGUF layout we do not have.
    #[error(
        "{}: a model of {found} can't be written as a GGUF\n  hint: supported are models of LlamaForCausalLM without biases and scaled rotary embeddings; `quantize.types = []` leaves the GGUF out",
        path.display()
    )]
    Family {
        /// The model folder.
        path: PathBuf,
        /// Its architecture.
        found: &'static str,
    },
    /// A key of the GGUF is absent or has an unusable value.
    #[error("{}: key `{key}` is {found}\n  hint: {hint}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value, or `missing`.
        found: String,
        /// What would be right.
        hint: &'static str,
    },
    /// The GGUF splits text in a way we do not know.
    #[error(
        "{}: key `tokenizer.ggml.pre` is {found}, so it is not known how text is split\n  hint: known are {known}; a newer conversion of the model may name one, and its folder in the Hugging Face layout needs none",
        path.display()
    )]
    PreTokenizer {
        /// The file.
        path: PathBuf,
        /// Its name, or `missing`.
        found: String,
        /// The names that are known.
        known: String,
    },
    /// The GGUF's keys make no tokenizer.
    #[error(transparent)]
    Data(Box<DataError>),
    /// A tensor operation failed.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// The reason.
        source: candle_core::Error,
    },
}

fn missing_hint(path: &Path, source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound if super::is_gguf(path) => {
            "\n  hint: a path in a study file is relative to it"
        }
        io::ErrorKind::NotFound => {
            "\n  hint: a model folder holds config.json, tokenizer.json and model.safetensors"
        }
        _ => "",
    }
}

impl From<DataError> for QuantizeError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

impl QuantizeError {
    /// For `map_err`: an I/O error at `path`.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// For `map_err`: a failed operation on the tensor `name`.
    pub(super) fn tensor(name: &str) -> impl Fn(candle_core::Error) -> Self + '_ {
        move |source| Self::Tensor { name: name.to_owned(), source }
    }
}
