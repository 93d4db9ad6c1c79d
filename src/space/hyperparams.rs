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

    /// What each of so many devices does of this plan, if they can share it evenly.
    ///
    /// Together they see the same examples in each optimizer step. The micro-batch stays as it is where the passes
    /// can be divided, and is never larger: what fits on one device fits on each.
    #[must_use]
    pub fn shared_by(&self, devices: usize) -> Option<Self> {
        let effective = self.effective_batch_size();
        let is_even = |parts: usize, all: usize| all > 0 && parts > 0 && all.is_multiple_of(parts);
        if is_even(devices, self.gradient_accumulation_steps) {
            let gradient_accumulation_steps = self.gradient_accumulation_steps / devices;
            return Some(Self { gradient_accumulation_steps, ..*self });
        }
        let each = is_even(devices, effective).then(|| effective / devices)?;
        let micro_batch_size = (1..=self.micro_batch_size).rev().find(|micro| each.is_multiple_of(*micro))?;
        Some(Self { micro_batch_size, gradient_accumulation_steps: each / micro_batch_size })
    }

    /// The largest number of devices, at most `devices`, that can share this plan, and what each of them does.
    #[must_use]
    pub fn shared_by_most(&self, devices: usize) -> (usize, Self) {
        let shared = |devices| Some((devices, self.shared_by(devices)?));
        (2..=devices).rev().find_map(shared).unwrap_or((1, *self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn plan(micro_batch_size: usize, gradient_accumulation_steps: usize) -> BatchPlan {
        BatchPlan { micro_batch_size, gradient_accumulation_steps }
    }

    #[test]
    fn devices_share_the_passes_or_else_the_examples() {
        for (whole, devices, each) in [
            (plan(4, 4), 1, Some(plan(4, 4))),
            (plan(4, 4), 2, Some(plan(4, 2))),
            (plan(4, 4), 4, Some(plan(4, 1))),
            (plan(8, 1), 2, Some(plan(4, 1))),
            (plan(6, 3), 2, Some(plan(3, 3))),
            (plan(5, 3), 2, None),
            (plan(4, 1), 8, None),
            (plan(4, 4), 0, None),
        ] {
            assert_eq!(whole.shared_by(devices), each, "{whole:?} by {devices}");
        }
    }

    #[test]
    fn of_more_devices_than_can_share_as_many_as_can_do() {
        assert_eq!(plan(3, 2).shared_by_most(4), (3, plan(2, 1)));
        assert_eq!(plan(5, 1).shared_by_most(4), (1, plan(5, 1)));
        assert_eq!(plan(8, 2).shared_by_most(1), (1, plan(8, 2)));
    }

    proptest! {
        #[test]
        fn a_shared_plan_is_the_same_step_and_needs_no_more_memory(
            micro in 1_usize..40, accumulation in 1_usize..40, devices in 1_usize..17,
        ) {
            let whole = plan(micro, accumulation);
            if let Some(each) = whole.shared_by(devices) {
                prop_assert_eq!(each.effective_batch_size() * devices, whole.effective_batch_size());
                prop_assert!(each.micro_batch_size <= micro && each.gradient_accumulation_steps >= 1);
            } else {
                prop_assert!(!whole.effective_batch_size().is_multiple_of(devices));
            }
        }
    }
}
