//! Loops over slices: the CPU side of [`super::ops`].
//!
//! Everything is computed in f32; an [`Element`] only says how activations are kept. Sums over
//! rows are taken in a fixed order, so that the same step on the same machine gives the same bits
//! whichever thread was faster: resuming a trial must repeat it exactly.

mod attention;
mod cross_entropy;
mod element;
mod embedding;
mod exp;
mod gemm;
mod linear;
mod rms_norm;
mod rope;
mod swiglu;

pub(crate) use attention::Heads;
pub(super) use attention::{attention, attention_backward};
pub(super) use cross_entropy::{HeadGradients, head_cross_entropy};
pub(crate) use element::Element;
pub(super) use embedding::{embedding, embedding_backward};
pub(crate) use gemm::Output;
pub(super) use linear::{linear, linear_backward_input, linear_backward_weight};
pub(super) use rms_norm::{rms_norm, rms_norm_backward};
pub(super) use rope::rope;
pub(super) use swiglu::{swiglu, swiglu_backward};
