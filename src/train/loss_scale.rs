//! Dynamic loss scaling: what keeps small gradients from vanishing in f16.
//!
//! f16 ends at 6e-8, where gradients of a large batch lie. So the loss, and with it every gradient of the
//! backward pass, is multiplied by a factor that the update divides out again (Micikevicius et al. 2018).
//! Too large a factor makes gradients overflow; then the update is skipped and the factor halved.
//!
//! A skipped step is a step: it has used its batch and its place in the schedule, which is pinned to
//! the full horizon. Only the optimizer has not taken it: `AdamW` corrects its moments by the number of
//! updates, as in PyTorch, whose `GradScaler` does not call the optimizer then.

use serde::{Deserialize, Serialize};

/// The factor of the first step; PyTorch's `init_scale`.
const FIRST: f32 = 65536.0;
/// The lowest factor. Gradients that overflow as they are will not be mended by halving.
const LOWEST: f32 = 1.0;
/// Steps without an overflow after which the factor is doubled; PyTorch's `growth_interval`.
const STEPS_TO_DOUBLE: usize = 2000;

/// The factor, and what it will become.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LossScale {
    /// A power of two, so that dividing it out rounds nothing.
    factor: f32,
    /// Updates since the last overflow or doubling.
    calm_steps: usize,
    /// Updates that were skipped since the run began.
    skipped: usize,
}

impl LossScale {
    /// The scale of a run that begins with `factor`, a power of two.
    pub(super) const fn beginning_at(factor: f32) -> Self {
        Self { factor, calm_steps: 0, skipped: 0 }
    }

    /// What the loss is multiplied by.
    pub(super) const fn factor(self) -> f32 {
        self.factor
    }

    /// Updates that were skipped since the run began.
    pub(super) const fn skipped(self) -> usize {
        self.skipped
    }

    /// After a step whose gradients were finite.
    pub(super) fn keep(&mut self) {
        self.calm_steps += 1;
        if self.calm_steps == STEPS_TO_DOUBLE {
            (self.factor, self.calm_steps) = (2.0 * self.factor, 0);
        }
    }

    /// After a step whose gradients overflowed; false if there is no lower factor to go on with.
    #[must_use]
    pub(super) fn lower(&mut self) -> bool {
        self.skipped += 1;
        self.calm_steps = 0;
        self.factor /= 2.0;
        self.factor >= LOWEST
    }
}

impl Default for LossScale {
    fn default() -> Self {
        Self::beginning_at(FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_after_two_thousand_calm_steps_and_an_overflow_begins_the_count_anew() {
        let mut scale = LossScale::default();
        let calm = |scale: &mut LossScale, steps: usize| (0..steps).for_each(|_| scale.keep());
        calm(&mut scale, 1999);
        assert_eq!(scale.factor().to_bits(), 65536_f32.to_bits());
        assert!(scale.lower());
        calm(&mut scale, 1999);
        assert_eq!(scale.factor().to_bits(), 32768_f32.to_bits());
        calm(&mut scale, 1);
        assert_eq!(scale.factor().to_bits(), 65536_f32.to_bits());
        calm(&mut scale, 2000);
        assert_eq!((scale.factor().to_bits(), scale.skipped()), (131_072_f32.to_bits(), 1));
    }

    #[test]
    fn sixteen_overflows_are_survived_and_the_next_one_is_the_end() {
        let mut scale = LossScale::default();
        assert!((0..16).all(|_| scale.lower()));
        assert_eq!(scale.factor().to_bits(), 1_f32.to_bits());
        assert!(!scale.lower());
    }
}
