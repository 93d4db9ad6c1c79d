//! Points that are allowed and that nobody has tried, by chance; the last resort of every sampler.

use super::super::random::Stream;
use super::super::{Observations, Problem};
use super::lattice::Lattice;
use super::order::Order;
use crate::space::UnitPoint;

/// A uniform draw is allowed and new soon, unless nearly everything is forbidden or tried.
const DRAWS: usize = 4096;
/// So many combinations are looked through one by one, which takes a fraction of a second.
pub(super) const COMBINATIONS: usize = 1 << 18;

/// Whether a snapped point is allowed and nobody has tried it.
pub(super) fn is_fresh(problem: &Problem, seen: &Observations, point: &[f64]) -> bool {
    seen.is_new(point) && problem.space.allows(point)
}

/// The first of these points that is, once snapped, allowed and new.
pub(super) fn first(
    problem: &Problem,
    seen: &Observations,
    mut candidates: impl Iterator<Item = UnitPoint>,
) -> Option<UnitPoint> {
    candidates.find_map(|point| {
        let point = problem.space.snapped(&point);
        is_fresh(problem, seen, &point).then_some(point)
    })
}

/// A uniform one of the points that are allowed and new; none if there is no such point.
pub(super) fn any(problem: &Problem, seen: &Observations, stream: &mut Stream) -> Option<UnitPoint> {
    let uniform = (0..DRAWS).map(|_| stream.point(problem.space.len()));
    first(problem, seen, uniform).or_else(|| rare(problem, seen, stream))
}

/// Looks through all combinations of what is not a continuum, in a shuffled order.
fn rare(problem: &Problem, seen: &Observations, stream: &mut Stream) -> Option<UnitPoint> {
    let lattice = Lattice::new(&problem.space, 1);
    let order = Order::new(lattice.count(), stream.word());
    let positions = (0..lattice.count()).take(COMBINATIONS);
    first(problem, seen, positions.map(|position| lattice.point(order.at(position), |_| stream.uniform())))
}
