//! Operations for one token: a multiplication and an addition are two.
//!
//! A weight is used three times in training, forward, for the gradient of its input and for its own: 6
//! operations (Kaplan et al. 2020), 4 where it is frozen, and 2 more where the block is computed again
//! (Korthikanti et al. 2022). The embedding is a look-up and costs none, the head costs what a matrix does.

use serde::Serialize;

use super::{Operations, Run};
use crate::arch::{ModelConfig, layer_parts};
use crate::space::LoraSettings;

/// Operations for one token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Flops {
    /// What training needs, however it is done.
    pub needed: f64,
    /// Products with weights that are done.
    pub matrices: f64,
    /// Products of attention that are done.
    pub attention: f64,
}

/// Values of the matrices of all layers, without adapters.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn block_values(config: &ModelConfig) -> f64 {
    let parts = layer_parts(config);
    let layer: usize = parts
        .iter()
        .filter(|part| part.shape.len() == 2)
        .map(|part| part.shape.iter().product::<usize>())
        .sum();
    (layer * config.num_hidden_layers) as f64
}

/// Values of the head.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn head_values(config: &ModelConfig) -> f64 {
    (config.vocab_size * config.hidden_size) as f64
}

/// Values of the adapters of all layers.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn adapter_values(config: &ModelConfig, lora: &LoraSettings) -> f64 {
    let module =
        |name: &str| name.trim_end_matches(".weight").rsplit('.').next().unwrap_or_default().to_owned();
    let parts = layer_parts(config);
    let covered = parts.iter().filter(|part| part.shape.len() == 2 && lora.covers(&module(&part.name)));
    let layer: usize = covered.map(|part| lora.rank * part.shape.iter().sum::<usize>()).sum();
    (layer * config.num_hidden_layers) as f64
}

/// Operations of attention in a forward pass: two products of each head with what each position sees.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn attention(run: &Run) -> f64 {
    let config = run.config;
    let layer = |layer| 4.0 * config.query_width() as f64 * seen(run, config.window(layer));
    (0..config.num_hidden_layers).map(layer).sum()
}

/// Positions that one sees on average, itself among them.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn seen(run: &Run, window: Option<usize>) -> f64 {
    let t = run.sequence_length as f64;
    match (run.operations, window.map(|window| window as f64)) {
        (Operations::Composed, _) => t,
        // The first ones see fewer than the window.
        (Operations::Fused, Some(w)) if w < t => (w * (w + 1.0) / 2.0 + (t - w) * w) / t,
        (Operations::Fused, _) => f64::midpoint(t, 1.0),
    }
}

/// Operations for one token of `run`.
pub(super) fn per_token(run: &Run) -> Flops {
    let (blocks, head) = (block_values(run.config), head_values(run.config));
    let (uses, adapters) = match run.lora {
        None => (6.0, 0.0),
        Some(lora) => (4.0, adapter_values(run.config, lora)),
    };
    let needed_matrices = uses * (blocks + head) + 6.0 * adapters;
    let forward = attention(run);
    let again = if run.recompute { (2.0 * (blocks + adapters), forward) } else { (0.0, 0.0) };
    let needed_attention = 3.0 * attention(&Run { operations: Operations::Fused, ..*run });
    Flops {
        needed: needed_matrices + needed_attention,
        matrices: needed_matrices + again.0,
        // The scores are made again in the backward pass: half of a forward pass (Dao 2023).
        attention: 3.5 * forward + again.1,
    }
}
