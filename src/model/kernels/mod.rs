//! Loops over slices: the CPU side of [`super::ops`].
//!
//! Everything is computed in f32; an [`Element`] only says how activations are kept. Sums over
//! rows are taken in a fixed order, so that the same step on the same machine gives the same bits
//! whichever thread was faster: resuming a trial must repeat it exactly. Loops over values are compiled
//! for AVX-512, for AVX2 with FMA and for any processor, chosen at run time (`multiversion`); what they
//! call is inlined, so that it is compiled with them.

mod attention;
mod bias;
mod column_softmax;
mod columns;
mod cross_entropy;
mod element;
mod embedding;
mod exp;
mod gated;
mod gemm;
mod linear;
mod output;
mod rms_norm;
mod rope;
mod soft_cap;
mod sums;
mod tanh;

pub(crate) use attention::Heads;
pub(super) use attention::{attention, attention_backward};
pub(super) use bias::{add_bias, bias_backward};
pub(super) use cross_entropy::{HeadGradients, head_cross_entropy, rows_alive, scored_rows};
pub(crate) use element::Element;
pub(super) use embedding::{embedding, embedding_backward};
pub(super) use gated::{gated, gated_backward};
pub use gemm::Output;
pub(super) use gemm::{BlockMatrix, Matrix};
pub use gemm::{instructions, processor};
pub(super) use linear::{
    linear, linear_backward_input, linear_backward_input_onto, linear_backward_weight, linear_onto,
};
pub(super) use rms_norm::{rms_norm, rms_norm_backward};
pub(super) use rope::{Rotation, rope};
