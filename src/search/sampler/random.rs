//! Random search (Bergstra and Bengio 2012): every trial is a uniform draw.
//!
//! 1. Draw a point of the unit cube from the stream that belongs to the trial's number.
//! 2. Snap it to the values there are; take it if it is allowed and nobody has tried it, else draw again.
//! 3. Where draws keep failing, look through the combinations in a shuffled order.
//!
//! It looks at no value, so it is the measure of all that do.

use super::super::random::Stream;
use super::super::{Observations, Problem};
use super::{Sampler, fresh, streams};
use crate::space::UnitPoint;

/// Uniform draws.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Sampler for Random {
    fn suggest(&mut self, problem: &Problem, seen: &Observations) -> Option<UnitPoint> {
        let mut stream = Stream::new(problem.seed, streams::RANDOM | u64::from(seen.next_id()));
        fresh::any(problem, seen, &mut stream)
    }
}
