//! One point of the search space, and how its effective batch is cut to fit the device.

use serde::{Deserialize, Serialize};

use super::Precision;

/// The hyperparameters of one trial (never "params": those are weights).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hyperparams {
    /// Number format of the training step.
    pub precision: Precision,
    /// `micro_batch_size × gradient_accumulation_steps` (one device).
    #[serde(flatten)]
    pub batch: BatchPlan,
    /// Peak learning rate of the schedule.
    pub learning_rate: f64,
}

/// How many examples are on the device at once, and how often before an optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BatchPlan {
    /// Examples in one forward and backward pass.
    pub micro_batch_size: usize,
    /// Passes whose gradients are summed before the optimizer steps.
    pub gradient_accumulation_steps: usize,
}

impl BatchPlan {
    /// Examples per optimizer step.
    #[must_use]
    pub const fn effective_batch_size(&self) -> usize {
        self.micro_batch_size * self.gradient_accumulation_steps
    }
}
