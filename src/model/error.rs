//! What can be wrong with a model's files or its passes.

use std::io;
use std::path::PathBuf;

use crate::arch::ConfigError;

/// Why a model can't be read, run or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The folder of the model is not there.
    #[error("model folder {} does not exist\n  hint: paths in a study file are relative to that file's folder", folder.display())]
    NoFolder {
        /// The model's folder.
        folder: PathBuf,
    },
    /// A file of the model is not there.
    #[error("{} has no `{file}`\n  hint: `source` must name a folder in the Hugging Face layout: config.json, tokenizer.json, model.safetensors", folder.display())]
    Missing {
        /// The model's folder.
        folder: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// `config.json` describes no model we can train.
    #[error("{}: {source}", file.display())]
    Config {
        /// The configuration.
        file: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A weight file is damaged.
    #[error("{}: {message}\n  hint: the file is damaged or was not downloaded whole: fetch it again", file.display())]
    Weights {
        /// The weight file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A weight is missing or has another shape than the configuration says.
    #[error("{}: weight `{name}` {problem}\n  hint: config.json and model.safetensors are not of the same model", file.display())]
    Mismatch {
        /// The weight file, or the model's folder where no file has it.
        file: PathBuf,
        /// Name of the tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A `lora.targets` that names nothing.
    #[error(
        "`lora.targets` names `{target}`, which the model has not\n  hint: its linear layers are `{modules}`; `all-linear` stands for all of them"
    )]
    NoTarget {
        /// The name.
        target: String,
        /// The linear layers there are.
        modules: String,
    },
    /// A folder that holds no adapter.
    #[error("{} has no `adapter_config.json`\n  hint: an adapter is a folder as PEFT writes it: adapter_config.json, adapter_model.safetensors", folder.display())]
    NoAdapter {
        /// The folder.
        folder: PathBuf,
    },
    /// An adapter that can't be used.
    #[error("{}: {problem}\n  hint: supported are LoRA adapters of plain linear layers, of one rank, without trained biases, for the same base model", file.display())]
    Adapter {
        /// Its configuration.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A trainable tensor got no gradient, or one that is not finite.
    #[error("weight `{name}` received {problem} in the first step")]
    Gradient {
        /// Name of the tensor.
        name: String,
        /// What it received.
        problem: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Results of this module.
pub(super) type Result<T> = std::result::Result<T, ModelError>;
