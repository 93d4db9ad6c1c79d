//! What a model IS: its `config.json`, its shapes and parameter counts. No tensors. Pure.
//!
//! Families differ by the rows of one table, `family.rs`. A row and a `config.json` make a
//! [`ModelConfig`]: sizes, and [`Traits`] that say what the decoder does with them.

mod config;
mod error;
mod family;
mod keys;
mod parameters;
mod rope;
#[cfg(test)]
mod tests;
mod traits;

pub use config::{ModelConfig, Origin};
pub use error::ConfigError;
pub use parameters::{LayerPart, ParameterSpec, Role, layer_parts, parameter_count, parameters};
pub use rope::{Rope, RopeScaling};
pub use traits::{Activation, Traits};
