//! No pruning: every trial runs in full.
//!
//! 1. A trial that rests below the full run, because something else paused it, goes on to the full run.
//! 2. If there is none, a new trial starts to the full run.

use super::super::{Observations, Problem, State};
use super::{Pruner, Step};

/// Every trial runs in full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpruned;

impl Pruner for Unpruned {
    fn next(&self, problem: &Problem, seen: &Observations) -> Step {
        let top = problem.fidelity.top();
        let below = |level: Option<usize>| level.is_none_or(|level| level < top);
        let mut paused = seen.trials().iter().filter(|trial| trial.state == State::Paused);
        match paused.find(|trial| below(trial.level(problem))) {
            Some(trial) => Step::Continue(trial.id, top),
            None => Step::Start(top),
        }
    }
}
