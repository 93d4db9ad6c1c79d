//! The constants of the estimate, each with what it says and where it is from.

use serde::Serialize;

/// A constant that the estimate rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Assumption {
    /// What it is.
    pub what: &'static str,
    /// Its value.
    pub value: f64,
    /// Where it is from.
    pub source: &'static str,
}

pub(super) const PRODUCT_SHARE: f64 = 0.80;
pub(super) const ATTENTION_SHARE: f64 = 0.30;
pub(super) const BANDWIDTH_SHARE: f64 = 0.85;
pub(super) const HALF_FULL_TOKENS: f64 = 256.0;
pub(super) const REFERENCE_TFLOPS: f64 = 312.0;
pub(super) const PASSES: f64 = 2.0;
pub(super) const COMPOSED_PASSES: f64 = 6.0;
pub(super) const SCORE_PASSES: f64 = 16.0;
pub(super) const LOGIT_PASSES: f64 = 6.0;
pub(super) const KERNELS: f64 = 30.0;
pub(super) const LAUNCH_SECONDS: f64 = 5e-6;

/// All constants of the estimate.
pub const ASSUMPTIONS: &[Assumption] = &[
    Assumption {
        what: "share of the sheet's rate that large matrix products reach, where no measurement of the card is known",
        value: PRODUCT_SHARE,
        source: "248 of 312 TFLOPS on an A100, 66 of 80 on an RTX 3090 Ti, 45 of 54 on an RTX 2080 Ti, measured by others",
    },
    Assumption {
        what: "share of it that attention in one kernel reaches, counting only what causality leaves",
        value: ATTENTION_SHARE,
        source: "llm-foundry's benchmark of an A100: seconds per token at 16,384 positions beyond those at 2,048",
    },
    Assumption {
        what: "share of the sheet's bandwidth that is reached",
        value: BANDWIDTH_SHARE,
        source: "calculon's model of an A100 has 0.90 for large transfers; not every one is large",
    },
    Assumption {
        what: "tokens of a micro-batch at which products reach half of their rate, on a card of 312 TFLOPS",
        value: HALF_FULL_TOKENS,
        source: "an argument by tiles; llm-foundry's rates stop growing between 2,000 and 8,000 tokens on an A100",
    },
    Assumption {
        what: "how often what lies between products is moved, over the least that one kernel per operation needs",
        value: PASSES,
        source: "fitted to llm-foundry's benchmarks of A100 and H100: PyTorch, eager",
    },
    Assumption {
        what: "the same where operations are composed of f32 tensor operations",
        value: COMPOSED_PASSES,
        source: "counted in this program's composed gate: about 20 reads and writes instead of 3; not measured",
    },
    Assumption {
        what: "times that f32 scores are read or written in a forward pass where attention is composed",
        value: SCORE_PASSES,
        source: "counted in this program's composed attention",
    },
    Assumption {
        what: "times that f32 logits are read or written",
        value: LOGIT_PASSES,
        source: "counted: product, maximum, sum, gradient, and two products with it",
    },
    Assumption {
        what: "kernels that a layer starts in a pass",
        value: KERNELS,
        source: "counted in a Llama layer of tensor operations, about",
    },
    Assumption { what: "seconds to start one", value: LAUNCH_SECONDS, source: "from memory, not re-read" },
];
