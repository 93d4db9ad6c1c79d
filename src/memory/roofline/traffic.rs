//! Bytes that go through a card's memory.
//!
//! Shapes: d width of the residual stream, q of all query heads, kv of all key heads, f of the MLP, t
//! positions of a sequence, h heads, v vocabulary.

use super::assumptions::{COMPOSED_PASSES, LOGIT_PASSES, PASSES, SCORE_PASSES};
use super::flops::{adapter_values, block_values, head_values};
use super::{Operations, Run};
use crate::arch::parameter_count;
use crate::space::{Optimizer, Precision};

/// Bytes of one f32.
const WIDE: f64 = 4.0;

fn element(precision: Precision) -> f64 {
    if precision == Precision::F32 { WIDE } else { 2.0 }
}

/// Bytes that the operations between products move in a micro-batch.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn activations(run: &Run) -> f64 {
    let config = run.config;
    let layers = config.num_hidden_layers as f64;
    // A backward pass has two results for each input, and reads what the forward pass read.
    let passes = if run.recompute { 4.0 } else { 3.0 };
    let values = layers * (layer_values(run) * value_bytes(run) + score_bytes(run));
    let logits = config.vocab_size as f64 * WIDE * LOGIT_PASSES;
    run.tokens() * (passes * values + logits)
}

/// Bytes that are moved for one of those values.
fn value_bytes(run: &Run) -> f64 {
    match run.operations {
        Operations::Fused => element(run.precision) * PASSES,
        Operations::Composed => WIDE * COMPOSED_PASSES,
    }
}

/// Values that one layer's operations read and write for one token in a forward pass.
///
/// Two norms and two residual sums, the rotation of queries and keys, attention, the gated product.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn layer_values(run: &Run) -> f64 {
    let config = run.config;
    let (d, f) = (config.hidden_size as f64, config.intermediate_size as f64);
    let (q, kv) = (config.query_width() as f64, config.key_value_width() as f64);
    let norms_and_sums = 2.0 * 2.0 * d + 2.0 * 3.0 * d;
    norms_and_sums + 2.0 * (q + kv) + (2.0 * q + 2.0 * kv) + 3.0 * f
}

/// Bytes of scores that are read and written for one token in a layer's forward pass.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn score_bytes(run: &Run) -> f64 {
    match run.operations {
        Operations::Fused => 0.0,
        Operations::Composed => {
            (run.config.num_attention_heads * run.sequence_length) as f64 * WIDE * SCORE_PASSES
        }
    }
}

/// Bytes of weights that the products of a micro-batch read, and of their gradients.
pub(super) fn weights(run: &Run) -> f64 {
    let (blocks, head) = (block_values(run.config), head_values(run.config));
    let element = element(run.precision);
    let is_quantized = run.lora.is_some_and(|lora| lora.quantize_base.is_some());
    // Of blocks of few bits the values are written and read again: half a byte, and twice an element.
    let block = if is_quantized { 0.5 + 2.0 * element } else { element };
    let reads = if run.recompute { 3.0 } else { 2.0 };
    // A gradient is read and written where it is added to.
    let gradients = if run.lora.is_some() { 0.0 } else { 2.0 * WIDE * (blocks + head) };
    reads * block * blocks + 2.0 * element * head + gradients
}

/// Bytes of an update: a weight, its gradient and two moments, read and written; the weight in half too.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn optimizer(run: &Run) -> f64 {
    let trained = match run.lora {
        None => parameter_count(run.config) as f64,
        Some(lora) => adapter_values(run.config, lora),
    };
    let moment = match run.optimizer {
        Optimizer::AdamW => WIDE,
        Optimizer::AdamW8Bit => 1.0,
    };
    let narrow = if run.precision == Precision::F32 { 0.0 } else { 2.0 };
    trained * (2.0 * WIDE + WIDE + 2.0 * 2.0 * moment + narrow)
}
