//! The default: where a Gaussian process expects the largest improvement.
//!
//! 1. The first trial is where most is expected beforehand, or the middle of the space. Some of the Sobol sequence
//!    follow: a few more than there are dimensions.
//! 2. Later one of the sequence is interleaved every so often, so that a wrong model can't get stuck.
//! 3. Else candidates: quasi-random ones, and neighbours of the best.
//! 4. Each is scored by ln EI of a full run + ln P(it does not fail), on the best and on those under way as if they were
//!    to run in full. One that is as good as the same as one that was tried is left out.
//! 5. The best few are moved in ever smaller steps as long as their score rises.
//! 6. The best that nobody has tried is the suggestion.
//!
//! Source: Jones et al. 1998 (EI), Snoek et al. 2012 (EI per second), Ahmed et al. 2016 (interleaved random points).

use super::sobol::sobol_point;
use super::{Sampler, Sobol, fresh, streams};
use crate::search::random::Stream;
use crate::search::surrogate::{Beliefs, Surrogate, SurrogateSettings, log_improvement};
use crate::search::{Observations, Problem};
use crate::space::UnitPoint;
use crate::trial::TrialId;

/// So many trials more than there are dimensions are quasi-random after the first: they tell what is usual, and
/// whether what is expected is wrong.
const BEYOND_DIMENSIONS: TrialId = 2;
/// But no more than these, however large the space: the process learns from the others, too.
const MOST_INITIAL: TrialId = 6;
/// Later, one of so many is.
const INTERLEAVE: u32 = 24;
/// Two points whose full runs correlate less are never the same.
const LEAST_ALIKE: f64 = 0.98;
/// So many deviations of a run's luck tell one point from another.
const TELLING: f64 = 2.0;
const QUASI_CANDIDATES: usize = 128;
const NEIGHBOURS: usize = 12;
const BEST: usize = 6;
const REFINED: usize = 4;
/// Standard deviations of the moves, one a round.
const MOVES: [f64; 4] = [0.1, 0.05, 0.02, 0.01];

/// The sampler with its surrogate.
pub struct GaussianProcess {
    surrogate: Surrogate,
    interleaves: bool,
}

impl GaussianProcess {
    /// With what is expected beforehand, if anything.
    #[must_use]
    pub fn new(settings: SurrogateSettings, interleaves: bool) -> Self {
        Self { surrogate: Surrogate::new(settings), interleaves }
    }
}

impl Sampler for GaussianProcess {
    fn suggest(&mut self, problem: &Problem, seen: &Observations) -> Option<UnitPoint> {
        let beliefs = self.surrogate.beliefs(problem, seen);
        suggest(problem, seen, &beliefs, self.interleaves)
    }
}

/// The suggestion under these beliefs.
pub(crate) fn suggest(
    problem: &Problem,
    seen: &Observations,
    beliefs: &Beliefs,
    interleaves: bool,
) -> Option<UnitPoint> {
    let id = seen.next_id();
    if id == 0 && !beliefs.expects() {
        return middle(problem, seen).or_else(|| Sobol.suggest(problem, seen));
    }
    let is_turn = interleaves && id % INTERLEAVE == INTERLEAVE - 1;
    if is_turn || id > 0 && is_initial(problem, id) {
        return Sobol.suggest(problem, seen);
    }
    let mut stream = Stream::new(problem.seed, streams::GP | u64::from(id));
    let candidates = first_candidates(problem, beliefs, id, &mut stream);
    let mut scorer = Scorer { problem, seen, beliefs, most_alike: most_alike(beliefs, id) };
    let mut scored = scorer.scored(candidates.clone());
    if scored.is_empty() {
        scorer.most_alike = f64::INFINITY;
        scored = scorer.scored(candidates);
    }
    for step in MOVES {
        let moved = scored.iter().take(REFINED).flat_map(|(point, _)| {
            (0..NEIGHBOURS).map(|_| moved(point, step, problem, &mut stream)).collect::<Vec<_>>()
        });
        let moved: Vec<UnitPoint> = moved.collect();
        scored.truncate(REFINED);
        scored.extend(scorer.scored(moved));
        scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    }
    scored.into_iter().next().map(|(point, _)| point).or_else(|| Sobol.suggest(problem, seen))
}

/// Whether trial `id` is among those that tell what is usual, and not chosen by what others told.
pub(crate) fn is_initial(problem: &Problem, id: TrialId) -> bool {
    // What has one value only is no choice.
    let free = problem.space.dimensions.iter().filter(|dimension| dimension.domain.len() != Some(1));
    let dimensions = TrialId::try_from(free.count()).unwrap_or(TrialId::MAX);
    id <= dimensions.saturating_add(BEYOND_DIMENSIONS).min(MOST_INITIAL)
}

/// How alike the next of so many trials may be to one of the others. Where runs have luck, its neighbours tell as much as
/// one more of the same; the more trials there are, the finer it gets.
fn most_alike(beliefs: &Beliefs, trials: TrialId) -> f64 {
    let finer = 1.0 - 1.0 / f64::from(trials.max(1));
    beliefs.likeness_within_noise(TELLING).max(finer).max(LEAST_ALIKE)
}

/// The middle of the space: users choose bounds around what they expect. Values without an order are drawn.
fn middle(problem: &Problem, seen: &Observations) -> Option<UnitPoint> {
    let mut point = sobol_point(problem.seed, 0, 0, problem.space.len());
    for (coordinate, dimension) in point.iter_mut().zip(&problem.space.dimensions) {
        if dimension.domain.is_ordered() {
            *coordinate = 0.5;
        }
    }
    fresh::first(problem, seen, std::iter::once(point))
}

fn first_candidates(problem: &Problem, beliefs: &Beliefs, id: u32, stream: &mut Stream) -> Vec<UnitPoint> {
    let dimensions = problem.space.len();
    // Another scrambling for each suggestion: the same candidates again and again would be a grid.
    let seed = problem.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(id) + 1);
    let quasi = (0..QUASI_CANDIDATES).map(|index| sobol_point(seed, index, 0, dimensions));
    let best = beliefs.best_points(BEST);
    let near = best.into_iter().flat_map(|point| {
        (0..NEIGHBOURS).map(|_| moved(point, 2.0 * MOVES[0], problem, stream)).collect::<Vec<_>>()
    });
    quasi.map(|point| problem.space.snapped(&point)).chain(near).collect()
}

/// A neighbour: some coordinates move, a value without an order is drawn again.
fn moved(point: &[f64], step: f64, problem: &Problem, stream: &mut Stream) -> UnitPoint {
    let dimensions = problem.space.len();
    let certain = stream.below(dimensions);
    #[expect(clippy::cast_precision_loss, reason = "dimensions are few")]
    let chance = 1.0 / dimensions as f64;
    let coordinate = |(index, own): (usize, &f64)| {
        if index != certain && stream.uniform() > chance.max(0.3) {
            return *own;
        }
        let domain = &problem.space.dimensions[index].domain;
        if !domain.is_ordered() {
            return stream.uniform();
        }
        #[expect(clippy::cast_precision_loss, reason = "choices are few")]
        let cell = domain.len().map_or(0.0, |count| 1.0 / count as f64);
        reflected(own + stream.normal() * step.max(cell))
    };
    let point: UnitPoint = point.iter().enumerate().map(coordinate).collect();
    problem.space.snapped(&point)
}

/// Back into the unit interval.
fn reflected(coordinate: f64) -> f64 {
    let folded = coordinate.rem_euclid(2.0);
    if folded > 1.0 { 2.0 - folded } else { folded }
}

struct Scorer<'a> {
    problem: &'a Problem,
    seen: &'a Observations,
    beliefs: &'a Beliefs,
    most_alike: f64,
}

impl Scorer<'_> {
    /// Those that are allowed, new and not too much alike to one that was tried, the best first.
    fn scored(&self, mut points: Vec<UnitPoint>) -> Vec<(UnitPoint, f64)> {
        points.retain(|point| self.problem.space.allows(point) && self.seen.is_new(point));
        points.retain(|point| self.beliefs.likeness(point) <= self.most_alike);
        points.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        points.dedup();
        let views: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        let gains = self.beliefs.gains_of_new(self.problem, &views);
        let soundness = self.beliefs.log_soundness(self.seen, &views);
        let scores: Vec<f64> = gains
            .into_iter()
            .zip(soundness)
            .map(|(gain, soundness)| log_improvement(gain, 0.0) + soundness)
            .collect();
        let mut scored: Vec<(UnitPoint, f64)> = points.into_iter().zip(scores).collect();
        scored.sort_by(|a, b| b.1.total_cmp(&a.1));
        scored
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is exact by construction is compared exactly")]
mod tests;
