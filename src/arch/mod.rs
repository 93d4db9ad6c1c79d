//! What a model IS: its `config.json`, its shapes and parameter counts. No tensors. Pure.

mod config;
mod parameters;

pub use config::{ConfigError, ModelConfig};
pub use parameters::{ParameterSpec, parameter_count, parameters};
