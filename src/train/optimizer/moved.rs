//! How far an update moved the weights.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use candle_core::{Result, Tensor};

/// Sums of squares over some weights, of their changes and of themselves before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::train) struct Moved {
    change: f64,
    weight: f64,
}

impl Moved {
    /// ‖Δw‖ / ‖w‖; none where all weights are zero.
    pub(in crate::train) fn ratio(self) -> Option<f64> {
        (self.weight > 0.0).then(|| (self.change / self.weight).sqrt())
    }

    /// From weights before and after, composed of tensor operations.
    pub(super) fn between(before: &Tensor, after: &Tensor) -> Result<Self> {
        let sums = [(after - before)?.sqr()?.sum_all()?, before.sqr()?.sum_all()?];
        // Fetched together: each fetch waits for the device.
        let sums: Vec<f32> = Tensor::stack(&sums, 0)?.to_vec1()?;
        Ok(Self { change: sums[0].into(), weight: sums[1].into() })
    }
}

impl std::iter::Sum for Moved {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            change: sum.change + part.change,
            weight: sum.weight + part.weight,
        })
    }
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Self) {
        *self = [*self, other].into_iter().sum();
    }
}

/// Values that are summed side by side, so that the loop vectorises; their order is always the same.
const LANES: usize = 32;

/// The sums of one grain while it is updated.
pub(super) struct MovedLanes {
    change: [f32; LANES],
    weight: [f32; LANES],
}

impl MovedLanes {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { change: [0.0; LANES], weight: [0.0; LANES] }
    }

    /// Adds weights before and after.
    #[inline(always)]
    pub(super) fn add(&mut self, before: &[f32], after: &[f32]) {
        let ((befores, before), (afters, after)) = (before.as_chunks::<LANES>(), after.as_chunks::<LANES>());
        for (before, after) in befores.iter().zip(afters) {
            self.add_some(before, after);
        }
        self.add_some(before, after);
    }

    #[inline(always)]
    fn add_some(&mut self, before: &[f32], after: &[f32]) {
        let sums = self.change.iter_mut().zip(&mut self.weight);
        for ((before, after), (change, weight)) in before.iter().zip(after).zip(sums) {
            *change += (after - before) * (after - before);
            *weight += before * before;
        }
    }

    #[inline(always)]
    pub(super) fn total(&self) -> Moved {
        let sum = |lanes: &[f32; LANES]| lanes.iter().map(|lane| f64::from(*lane)).sum();
        Moved { change: sum(&self.change), weight: sum(&self.weight) }
    }
}
