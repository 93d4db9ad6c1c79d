//! Tree-structured Parzen estimator, multivariate: where do good trials lie more often than bad ones?
//!
//! Bergstra et al. 2011; joint densities after Falkner et al. 2018 (BOHB); the parts were weighed by Watanabe
//! 2023 ("Tree-Structured Parzen Estimator: Understanding Its Algorithm Components …").
//!
//! 1. The first [`Tpe::startup`] trials that came to something are quasi-random (see [`super::Sobol`]).
//! 2. Trials are ranked, and the best 15 % of them, at most 25, are good, all others bad ([`split`]). Trials of
//!    several lengths are compared at the greatest level that enough of them have reached. Those that run without a
//!    value yet are bad, so that nobody crowds around them (constant liar); those that failed are bad, too.
//! 3. Each of the two sets becomes a density: the mean of one product of kernels a trial, and of one uniform
//!    kernel, the prior ([`density`]). A kernel is a normal one cut to the unit interval for values with an order,
//!    and one of Aitchison and Aitken 1976 for values without.
//! 4. Draw [`Tpe::candidates`] points from the density of the good ones that are allowed and new.
//! 5. Take the one where the ratio of both densities, good to bad, is greatest: expected improvement rises with it.
//! 6. If no draw was allowed and new, any point that is will do.
//!
//! Only ranks of values matter, so any rising function of the objective gives the same trials.

mod density;
mod kernel;
mod split;

use super::super::random::Stream;
use super::super::{Observations, Problem};
use super::{Sampler, Sobol, fresh, streams};
use crate::space::UnitPoint;
use density::Density;
use split::Split;

/// Draws for one candidate that are forbidden or tried before it is given up.
const DRAWS_A_CANDIDATE: usize = 32;

/// Densities of good and bad trials.
#[derive(Clone, Copy, Debug)]
pub struct Tpe {
    /// How many trials come to something before densities are believed.
    pub startup: usize,
    /// How many draws are compared.
    pub candidates: usize,
}

impl Default for Tpe {
    /// The numbers of Bergstra et al. 2011 and of most programs since.
    fn default() -> Self {
        Self { startup: 10, candidates: 24 }
    }
}

impl Sampler for Tpe {
    fn suggest(&mut self, problem: &Problem, seen: &Observations) -> Option<UnitPoint> {
        let split = Split::of(problem, seen);
        if split.told < self.startup || split.good.is_empty() {
            return Sobol.suggest(problem, seen);
        }
        let mut stream = Stream::new(problem.seed, streams::TPE | u64::from(seen.next_id()));
        self.best_candidate(problem, seen, &split, &mut stream)
            .or_else(|| fresh::any(problem, seen, &mut stream))
    }
}

impl Tpe {
    fn best_candidate(
        self,
        problem: &Problem,
        seen: &Observations,
        split: &Split<'_>,
        stream: &mut Stream,
    ) -> Option<UnitPoint> {
        let good = Density::new(&problem.space, &split.good);
        let bad = Density::new(&problem.space, &split.bad);
        let draws = (0..self.candidates * DRAWS_A_CANDIDATE).map(|_| good.draw(stream));
        let candidates = draws.filter(|point| fresh::is_fresh(problem, seen, point)).take(self.candidates);
        let scored = candidates.map(|point| (good.log(&point) - bad.log(&point), point));
        // The first of equals, so that the answer does not hang on how a maximum is looked for.
        let better =
            |best: (f64, UnitPoint), next: (f64, UnitPoint)| if next.0 > best.0 { next } else { best };
        scored.reduce(better).map(|(_, point)| point)
    }
}
