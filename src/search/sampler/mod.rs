//! Where is the next trial? One file a sampler; all are functions of (problem, what was seen).

mod fresh;
pub(super) mod gp;
mod grid;
mod kind;
mod lattice;
mod order;
mod random;
mod sobol;
#[cfg(test)]
mod tests;
mod tpe;

pub use crate::space::{SamplerKind, UnknownSampler};
pub use gp::GaussianProcess;
pub use grid::Grid;
pub use random::Random;
pub use sobol::Sobol;
pub use tpe::Tpe;

use super::{Observations, Problem};
use crate::space::UnitPoint;

/// Proposes points.
///
/// Its answer is a function of the problem (with its seed) and of what was seen: the same twice is the same
/// answer. It is a snapped point of the space that fulfils the constraints and that nobody has tried; none if it
/// finds no such point, because the space has no more. Trials that are still running are part of what was seen,
/// and so are failures: both are tried points.
pub trait Sampler: Send {
    /// The next point.
    fn suggest(&mut self, problem: &Problem, seen: &Observations) -> Option<UnitPoint>;
}

/// Which streams of random numbers belong to whom: the lower half is the number of the trial.
mod streams {
    pub(super) const RANDOM: u64 = 1 << 32;
    pub(super) const SOBOL: u64 = 2 << 32;
    pub(super) const GRID: u64 = 3 << 32;
    pub(super) const TPE: u64 = 4 << 32;
    pub(super) const GP: u64 = 5 << 32;
}
