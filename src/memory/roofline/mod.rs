//! How many tokens a second will a card do? An estimate: nothing here was measured on one by us.
//!
//! A micro-batch takes the time of its matrix products at the rate a card reaches, and after that the time
//! of moving what lies between them through its memory; or that of starting its kernels, if that is longer.
//! The optimizer moves its state once a step. [`ASSUMPTIONS`] are all the constants with their sources.

mod assumptions;
mod flops;
#[cfg(test)]
mod tests;
mod traffic;
mod warning;

use serde::Serialize;

pub use assumptions::{ASSUMPTIONS, Assumption};
pub use flops::Flops;
pub use warning::Warning;

use self::assumptions::{
    ATTENTION_SHARE, BANDWIDTH_SHARE, HALF_FULL_TOKENS, KERNELS, LAUNCH_SECONDS, PRODUCT_SHARE,
    REFERENCE_TFLOPS,
};
use super::gpu::{Gpu, measured_tflops};
use crate::arch::ModelConfig;
use crate::space::{LoraSettings, Optimizer, Precision};

/// What is done in one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operations {
    /// Attention in one, which skips what causality hides; other operations as PyTorch's are.
    Fused,
    /// Nothing: attention writes its scores, of all pairs. So is this program's path on a card.
    Composed,
}

/// A full fine-tune, as far as its speed depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Number format of products and activations.
    pub precision: Precision,
    /// What updates the weights.
    pub optimizer: Optimizer,
    /// Adapters on a frozen model, or all weights.
    pub lora: Option<&'a LoraSettings>,
    /// Whether each block is computed again in the backward pass.
    pub recompute: bool,
    /// Sequences of a micro-batch.
    pub micro_batch: usize,
    /// Positions of each.
    pub sequence_length: usize,
    /// Micro-batches of a step.
    pub gradient_accumulation_steps: usize,
    /// What is done in one kernel.
    pub operations: Operations,
}

/// Seconds of one step, by what they are spent on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Seconds {
    /// Matrix products, attention's among them.
    pub products: f64,
    /// Moving activations between them.
    pub activations: f64,
    /// Waiting for kernels to be started.
    pub launches: f64,
    /// The update of the weights.
    pub optimizer: f64,
}

/// How fast a run will be, about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Positions, padding among them, in a second.
    pub tokens_per_second: f64,
    /// Where a step's time goes.
    pub seconds_per_step: Seconds,
    /// Operations for one token.
    pub flops_per_token: Flops,
    /// Operations the training needs, over what the data sheet promises in that time.
    pub utilization: f64,
    /// What is not as asked for.
    pub warnings: Vec<Warning>,
}

impl Run<'_> {
    /// Positions of a micro-batch.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn tokens(&self) -> f64 {
        (self.micro_batch * self.sequence_length) as f64
    }
}

impl Seconds {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.products + self.activations + self.launches + self.optimizer
    }
}

impl Estimate {
    /// Hours for so many tokens.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate of three digits")]
    pub fn hours(&self, tokens: u64) -> f64 {
        tokens as f64 / self.tokens_per_second / 3600.0
    }
}

/// The speed of `run` on `gpu`. Memory is not looked at: whether it fits is another question.
#[must_use]
pub fn estimate(run: &Run, gpu: &Gpu) -> Estimate {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let micro_batches = run.gradient_accumulation_steps as f64;
    let (products, activations) = (products(run, gpu), traffic::activations(run) / bandwidth(gpu));
    let launches = (launch_seconds(run) - products - activations).max(0.0);
    let seconds_per_step = Seconds {
        products: micro_batches * products,
        activations: micro_batches * activations,
        launches: micro_batches * launches,
        optimizer: traffic::optimizer(run) / bandwidth(gpu),
    };
    let flops_per_token = flops::per_token(run);
    let tokens_per_second = micro_batches * run.tokens() / seconds_per_step.total();
    Estimate {
        tokens_per_second,
        seconds_per_step,
        flops_per_token,
        utilization: flops_per_token.needed * tokens_per_second / (gpu.tflops(run.precision) * 1e12),
        warnings: warning::of(run, gpu),
    }
}

/// Bytes in a second that a card reaches.
fn bandwidth(gpu: &Gpu) -> f64 {
    gpu.bandwidth_gb_per_s * 1e9 * BANDWIDTH_SHARE
}

/// Seconds of the products of a micro-batch.
fn products(run: &Run, gpu: &Gpu) -> f64 {
    let flops = flops::per_token(run);
    let sheet = gpu.tflops(run.precision);
    let reached = match run.precision {
        Precision::F32 => None,
        Precision::Bf16 | Precision::F16 => {
            measured_tflops(&gpu.name).filter(|_| gpu.supports(run.precision))
        }
    };
    let rate = reached.unwrap_or(sheet * PRODUCT_SHARE) * 1e12 * fullness(run, gpu);
    let matrices = (flops.matrices * run.tokens() / rate).max(traffic::weights(run) / bandwidth(gpu));
    matrices + flops.attention * run.tokens() / (sheet * 1e12 * ATTENTION_SHARE)
}

/// How much of a card a product of so few rows keeps busy.
///
/// A card works on as many tiles of rows and columns at once as it has multiprocessors; how many rows that
/// takes grows with its rate.
fn fullness(run: &Run, gpu: &Gpu) -> f64 {
    let half_full = HALF_FULL_TOKENS * gpu.rates.f16_tflops / REFERENCE_TFLOPS;
    run.tokens() / (run.tokens() + half_full)
}

/// Seconds that starting the kernels of a micro-batch takes; the card may be busy meanwhile.
fn launch_seconds(run: &Run) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few layers")]
    let layers = run.config.num_hidden_layers as f64;
    let passes = if run.recompute { 4.0 } else { 3.0 };
    layers * passes * KERNELS * LAUNCH_SECONDS
}
