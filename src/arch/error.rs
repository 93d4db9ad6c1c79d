//! What can be wrong with a `config.json`.

use super::family::supported;

/// Why a `config.json` describes no model we can train.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the JSON of a model's configuration.
    #[error("not a model configuration: {0}\n  hint: Transformers' `save_pretrained` writes the right one")]
    Syntax(String),
    /// Another architecture.
    #[error("architecture `{found}` is not supported\n  hint: supported are: {}", supported())]
    Architecture {
        /// What the file names.
        found: String,
    },
    /// A feature of the family we do not implement.
    #[error("`{key}` is {value}, which is not supported\n  hint: {right}")]
    Feature {
        /// Key of the configuration.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is supported.
        right: &'static str,
    },
}
