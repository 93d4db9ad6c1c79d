//! Where is the next trial? One file a sampler; all are functions of (problem, what was seen).

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
