//! Successive halving (Jamieson and Talwalkar 2016): brackets of trials, of which each rung keeps the best.
//!
//! 1. Trials are grouped by number into brackets of n = [`Halving::bracket`]; all run to the lowest rung.
//! 2. A rung is over when its bracket is full and everybody on it has its value there, has ended, or has failed.
//! 3. Then the best ⌊n / η⌋, at least one, go on to the next rung, and n is what they are. A trial that fails has
//!    no value and so no place in the next rung, but it counts in n.
//! 4. So until one is left at the full run.
//! 5. Where a bracket waits for trials that run, the next bracket is looked at; behind the last a new one starts.
//!
//! All trials of a rung are compared with each other, so the answer is that of the paper whatever the workers do; the
//! price is a late first full run, which [`super::Asha`] does not pay.

use super::super::{Observations, Observed, Problem};
use super::rungs::{REDUCTION_FACTOR, places, ranked, rests_at};
use super::{Pruner, Step};

/// Larger brackets than this many halvings need are slow to give a first full run.
const HALVINGS_AT_MOST: usize = 4;

/// Promotes the best of a bracket when all of it is known.
#[derive(Clone, Copy, Debug)]
pub struct Halving {
    /// How many trials a bracket has; η to the number of rungs below the full run if it is not said.
    pub bracket: Option<usize>,
    /// One trial in so many goes on (η).
    pub reduction_factor: f64,
}

impl Default for Halving {
    fn default() -> Self {
        Self { bracket: None, reduction_factor: REDUCTION_FACTOR }
    }
}

impl Pruner for Halving {
    fn next(&self, problem: &Problem, seen: &Observations) -> Step {
        let size = self.size(problem);
        let mut full = seen.trials().chunks_exact(size);
        full.find_map(|bracket| self.promotion(problem, bracket)).unwrap_or(Step::Start(0))
    }
}

impl Halving {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small power of a small number"
    )]
    fn size(&self, problem: &Problem) -> usize {
        let halvings = u16::try_from(problem.fidelity.top().min(HALVINGS_AT_MOST)).unwrap_or(u16::MAX);
        let size = || self.reduction_factor.max(1.0).powi(i32::from(halvings)).ceil() as usize;
        self.bracket.unwrap_or_else(size).max(1)
    }

    /// Who of a full bracket goes on.
    fn promotion(&self, problem: &Problem, bracket: &[Observed]) -> Option<Step> {
        let mut on_rung: Vec<&Observed> = bracket.iter().collect();
        let mut count = bracket.len();
        for rung in 0..problem.fidelity.top() {
            if on_rung.iter().any(|trial| is_on_its_way(problem, trial, rung)) {
                return None;
            }
            count = places(count, self.reduction_factor).max(1);
            let mut best = ranked(problem, on_rung.into_iter(), rung);
            best.truncate(count);
            if let Some(next) = best.iter().find(|trial| rests_at(problem, trial, rung)) {
                return Some(Step::Continue(next.id, rung + 1));
            }
            on_rung = best;
        }
        None
    }
}

/// Whether a trial will still get to `rung`.
fn is_on_its_way(problem: &Problem, trial: &Observed, rung: usize) -> bool {
    trial.is_running() && trial.level(problem).is_none_or(|level| level < rung)
}
