//! What a search is about: the space, the levels of fidelity, and what is fixed beforehand.

use crate::space::{SearchSpace, UnitPoint};

/// The levels of fidelity: how far trials run before it is decided whether they go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Fidelity {
    /// Rising, in any unit that cost is proportional to (steps, tokens, epochs); the last is the full run.
    pub levels: Vec<f64>,
    /// Whether a trial that goes on costs only what is new.
    pub resume: bool,
}

/// A search, as far as it does not change while it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What varies.
    pub space: SearchSpace,
    /// How long trials are.
    pub fidelity: Fidelity,
    /// Every random choice follows from it.
    pub seed: u64,
    /// What is tried before anything else, in this order; snapped points of the space.
    pub first: Vec<UnitPoint>,
}

impl Fidelity {
    /// Trials that are always run in full.
    #[must_use]
    pub fn full_only() -> Self {
        Self { levels: vec![1.0], resume: true }
    }

    /// The position of the full run.
    #[must_use]
    pub fn top(&self) -> usize {
        self.levels.len() - 1
    }

    /// The share of a full run that level `level` is.
    #[must_use]
    pub fn share(&self, level: usize) -> f64 {
        self.levels[level] / self.levels[self.top()]
    }

    /// The highest level that a run of this length has reached; none below the first.
    #[must_use]
    pub fn reached(&self, length: f64) -> Option<usize> {
        // A length that was counted in whole steps may miss its level by rounding.
        const ROUNDING: f64 = 1.0 - 1e-6;
        self.levels.iter().rposition(|level| length >= level * ROUNDING)
    }

    /// What it costs to bring a trial to `level`, in full runs, if it has already run to level `from`.
    #[must_use]
    pub fn cost(&self, from: Option<usize>, level: usize) -> f64 {
        let done = from.filter(|_| self.resume).map_or(0.0, |from| self.share(from));
        self.share(level) - done
    }
}
