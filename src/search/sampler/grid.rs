//! Grid search: every combination once, in a shuffled order.
//!
//! 1. A continuum is cut into [`Grid::per_dimension`] values, its two ends among them; a whole number, an
//!    ordinal and a categorical one take all their values.
//! 2. A shuffle that follows from the seed says in which order the combinations come.
//! 3. Trial number n takes the first combination from position n on that is allowed and new; behind the last
//!    the search goes on at the first.
//! 4. There is no next trial when every combination was tried, or when 2¹⁸ in a row are forbidden or tried.
//!
//! In the order of a list the first half of a budget would see half of one hyperparameter; shuffled, every
//! prefix is spread over all of them.

use super::super::{Observations, Problem};
use super::lattice::Lattice;
use super::order::Order;
use super::{Sampler, fresh, streams};
use crate::space::UnitPoint;

/// Every combination of a few values.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Into how many values a continuum is cut.
    pub per_dimension: u64,
}

impl Default for Grid {
    /// Five values are the two ends, the middle, and what lies between.
    fn default() -> Self {
        Self { per_dimension: 5 }
    }
}

impl Sampler for Grid {
    fn suggest(&mut self, problem: &Problem, seen: &Observations) -> Option<UnitPoint> {
        let cuts = self.per_dimension.max(1);
        let lattice = Lattice::new(&problem.space, cuts);
        let count = lattice.count();
        let order = Order::new(count, problem.seed ^ streams::GRID);
        let start = u64::from(seen.next_id()) % count.max(1);
        let positions = (start..count).chain(0..start).take(fresh::COMBINATIONS);
        fresh::first(problem, seen, positions.map(|at| lattice.point(order.at(at), |digit| cut(digit, cuts))))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a continuum is cut into few values")]
fn cut(digit: u64, cuts: u64) -> f64 {
    if cuts == 1 { 0.5 } else { digit as f64 / (cuts - 1) as f64 }
}
