//! The decoder: weights in and out, and one training step's forward and backward pass.
//!
//! candle's own models cut gradients silently, so the passes are written out here, layer by layer:
//! activations are freed as the backward pass consumes them and the peak is known by construction.
//! What this module does not do: optimise, schedule, evaluate a data set (see [`crate::train`]).

mod decoder;
mod error;
mod gradients;
mod kernels;
mod layer;
mod lora;
mod norm;
mod ops;
mod peft;
mod projection;
mod stored;
mod tensor_files;
#[cfg(test)]
mod tests;
mod weights;
mod wiring;

pub use decoder::Decoder;
pub use error::ModelError;
pub use gradients::{GradientSink, Gradients, check_reached};
pub use kernels::{Output, instructions, processor};
pub use lora::{check_targets, trainable_specs};
pub(crate) use ops::elsewhere;
pub(crate) use ops::{has_kernels, mutate, pieces, read};
pub use peft::{ADAPTER_CONFIG_FILE, read_adapter, write_adapter};
pub use stored::Stored;
pub use tensor_files::{INDEX_FILE, TensorFiles, weight_files};
pub use weights::{
    CONFIG_FILE, GENERATION_FILE, PlannedTensor, WEIGHTS_FILE, check_weights, read_config,
    read_frozen_weights, read_weights, write_config, write_folder, write_model, write_planned, write_random,
    write_tensors,
};
