//! Which trial goes on, and how far does a new one run first? One file a pruner.

mod asha;
pub(super) mod forecast;
mod halving;
mod hyperband;
mod kind;
mod median;
mod none;
mod rungs;
#[cfg(test)]
mod tests;

pub use crate::space::{PrunerKind, UnknownPruner};
pub use asha::Asha;
pub use forecast::Forecast;
pub use halving::Halving;
pub use hyperband::Hyperband;
pub use median::Median;
pub use none::Unpruned;

use super::{Observations, Problem};
use crate::trial::TrialId;

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A paused trial goes on to this level.
    Continue(TrialId, usize),
    /// A new trial starts, to this level.
    Start(usize),
}

impl Step {
    /// To which level.
    const fn level(self) -> usize {
        let (Self::Continue(_, level) | Self::Start(level)) = self;
        level
    }
}

/// Decides between the trials there are and a new one. It sees, answers, and writes nothing.
pub trait Pruner: Send {
    /// What is done next; a function of its arguments.
    fn next(&self, problem: &Problem, seen: &Observations) -> Step;
}
