//! ASHA, asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning").
//!
//! 1. A new trial runs to the lowest rung.
//! 2. For a free worker the rungs are looked at from the highest below the full run down to the lowest.
//! 3. A rung with n trials, failed ones among them, has ⌊n / η⌋ places in the next one. They belong to the best
//!    of those with a value at the rung.
//! 4. Of those that have a place and rest at the rung, the best goes on to the next rung.
//! 5. If no rung has one, a new trial starts.
//!
//! Nobody waits: a trial may be promoted that would not have been among the best in the end. A failed trial keeps
//! its place, so that a failure is not a reason to promote somebody worse.

use super::super::{Observations, Observed, Problem};
use super::rungs::{REDUCTION_FACTOR, failed_at, places, ranked, rests_at};
use super::{Pruner, Step};

/// Promotes whenever somebody is among the best.
#[derive(Clone, Copy, Debug)]
pub struct Asha {
    /// One trial in so many goes on (η).
    pub reduction_factor: f64,
}

impl Default for Asha {
    fn default() -> Self {
        Self { reduction_factor: REDUCTION_FACTOR }
    }
}

impl Pruner for Asha {
    fn next(&self, problem: &Problem, seen: &Observations) -> Step {
        let factor = |_| self.reduction_factor;
        promotion(problem, &|| seen.trials().iter(), 0, factor).unwrap_or(Step::Start(0))
    }
}

/// Who of these trials goes on, if the first rung was `lowest` and one in `factor(rung)` leaves a rung.
pub(super) fn promotion<'a, I: Iterator<Item = &'a Observed>>(
    problem: &Problem,
    trials: &impl Fn() -> I,
    lowest: usize,
    factor: impl Fn(usize) -> f64,
) -> Option<Step> {
    (lowest..problem.fidelity.top()).rev().find_map(|rung| {
        let ranked = ranked(problem, trials(), rung);
        let failed = trials().filter(|trial| failed_at(problem, trial, lowest) == Some(rung)).count();
        let mut best = ranked.iter().take(places(ranked.len() + failed, factor(rung)));
        let next = best.find(|trial| rests_at(problem, trial, rung))?;
        Some(Step::Continue(next.id, rung + 1))
    })
}
