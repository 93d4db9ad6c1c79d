//! What the points of a run sum up to, so that who compares runs need not hold every point.

use serde::{Deserialize, Serialize};

use super::{EvalEvent, NoiseSample, StepEvent};
use crate::units::Bytes;

/// Sums over steps and evaluations, taken in their order: the same as of the points themselves, to the last bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Optimizer steps.
    pub steps: usize,
    /// Seconds of these steps.
    pub step_seconds: f64,
    /// Tokens of these steps.
    pub tokens: u64,
    /// Seconds of all steps but the first, which warms up.
    pub later_seconds: f64,
    /// Tokens of all steps but the first.
    pub later_tokens: u64,
    /// What the steps tell of the noise of their gradients, added up.
    pub squared_gradient: f64,
    /// The same of its trace.
    pub trace: f64,
    /// Evaluations.
    pub evals: usize,
    /// Seconds of steps, then of evaluations.
    pub seconds: f64,
    /// The most bytes alive in any phase.
    pub peak_bytes: Bytes,
}

impl Totals {
    /// Whether nothing was summed up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps == 0 && self.evals == 0 && self.peak_bytes.0 == 0
    }

    /// With one more step.
    #[must_use]
    pub fn with_step(mut self, step: &StepEvent) -> Self {
        if self.steps > 0 {
            self.later_seconds += step.seconds;
            self.later_tokens += step.tokens;
        }
        self.steps += 1;
        self.step_seconds += step.seconds;
        self.tokens += step.tokens;
        self.seconds += step.seconds;
        let noise = step.noise.unwrap_or(NoiseSample { squared_gradient: 0.0, trace: 0.0 });
        self.squared_gradient += noise.squared_gradient;
        self.trace += noise.trace;
        self
    }

    /// With one more evaluation.
    #[must_use]
    pub fn with_eval(mut self, eval: &EvalEvent) -> Self {
        self.evals += 1;
        self.seconds += eval.seconds;
        self
    }

    /// Tokens per second of stepping; the first step (warm-up) is left out when there is another.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "token counts stay below 2^53")]
    pub fn tokens_per_second(&self) -> Option<f64> {
        let (tokens, seconds) = match self.steps {
            0 | 1 => (self.tokens, self.step_seconds),
            _ => (self.later_tokens, self.later_seconds),
        };
        (seconds > 0.0).then(|| tokens as f64 / seconds)
    }

    /// What the gradients told of their noise, added up.
    #[must_use]
    pub const fn noise(&self) -> NoiseSample {
        NoiseSample { squared_gradient: self.squared_gradient, trace: self.trace }
    }
}
