//! The differentiable building blocks: each a forward and an explicit backward on tensors.
//!
//! Where [`has_kernels`] says so they run [`super::kernels`]; on other devices they are composed of
//! candle's tensor operations (the `composed` functions). Tests prove both equal. Weights and their
//! gradients are f32; activations have the type of the input.

mod attention;
mod bias;
mod compose;
mod cross_entropy;
mod dropout;
mod embedding;
mod gated;
mod linear;
mod rms_norm;
mod rope;
mod storage;

pub(crate) use super::kernels::{Heads, Output};
pub(super) use attention::{AttentionBackward, attention, attention_backward};
pub(super) use bias::{add_bias, bias_backward};
pub(crate) use compose::pieces;
pub(super) use cross_entropy::{HeadGradient, head_cross_entropy, logits};
pub(super) use dropout::{Dropout, dropout, mixed};
pub(super) use embedding::{embedding, embedding_backward};
pub(super) use gated::{gated, gated_backward};
pub(super) use linear::{
    linear, linear_backward_input, linear_backward_input_onto, linear_backward_weight, linear_onto,
};
pub(super) use rms_norm::{rms_norm, rms_norm_backward};
pub(super) use rope::{Positions, RopeTable, rope};
pub(crate) use storage::elsewhere;
pub(crate) use storage::{has_kernels, mutate, read};

#[cfg(test)]
mod tests;
