//! What is believed of trials that have not run, or not to the end.
//!
//! Values are warped to a robust scale, a Gaussian process with a prior mean is conditioned on them, and the answer is
//! a mean and a deviation of a full run's value at any point.

mod feasibility;
mod improvement;
mod kernel;
mod map;
mod prior;
mod process;
mod samples;
#[cfg(test)]
mod testing;
#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is exact by construction is compared exactly")]
mod tests;
mod warp;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

pub(super) use improvement::{log_improvement, probability_below};
pub use prior::{Expected, PriorMean, Term, Tilt};
pub(super) use process::Belief;

use super::{Observations, Problem};
use crate::space::UnitPoint;
use kernel::Distances;
use map::{fitted_scales, usual_scales};
use process::{Process, Sample, Scales};
use samples::Selection;
use warp::Warp;
pub(super) use warp::compressed;

/// So many deviations worse than expected a running trial counts.
const PESSIMISM: f64 = 0.5;

/// What the surrogate is told beforehand.
#[derive(Clone, Debug, Default)]
pub struct SurrogateSettings {
    /// What is expected of full runs, if anything.
    pub prior: Option<PriorMean>,
    /// Whether short runs are taken as full ones (for comparison).
    pub ignores_fidelity: bool,
}

/// A surrogate and the scales it fitted last.
#[derive(Clone, Debug)]
pub struct Surrogate {
    settings: SurrogateSettings,
    fitted: Option<(u64, Scales)>,
}

/// What is believed after everything that was seen.
pub(super) struct Beliefs {
    distances: Distances,
    settings: SurrogateSettings,
    samples: Vec<Sample>,
    /// None where the samples can't be told from each other.
    process: Option<Process>,
    /// The same as if trials under way were to run in full; none where none is.
    ahead: Option<Process>,
    warp: Option<Warp>,
}

impl Surrogate {
    /// With nothing seen yet.
    #[must_use]
    pub fn new(settings: SurrogateSettings) -> Self {
        Self { settings, fitted: None }
    }

    /// What is believed now. Trials that are running count as if they had got where they go and were somewhat worse
    /// there than expected: who hopes too much of them leaves others too little to do.
    ///
    /// Source: Ginsbourger et al. 2010, Kriging Is Well-Suited to Parallelize Optimization (constant liar).
    pub(super) fn beliefs(&mut self, problem: &Problem, seen: &Observations) -> Beliefs {
        let Self { settings, fitted } = self;
        let distances = Distances::of(&problem.space);
        let selection = Selection { problem, trials: seen.trials(), settings };
        let scales = scales(fitted, &distances, &selection.fitting(), problem.space.len());
        let warp = Warp::of(problem, seen.trials());
        let (samples, running) = (selection.all(warp.as_ref()), selection.running());
        let process = Process::new(&distances, &scales, &samples);
        let mut beliefs =
            Beliefs { distances, settings: settings.clone(), samples, process, ahead: None, warp };
        if !running.is_empty() {
            beliefs.look_ahead(problem, &scales, running);
        }
        beliefs
    }
}

/// Fitted to `samples`, unless they are those of the last fit.
fn scales(
    fitted: &mut Option<(u64, Scales)>,
    distances: &Distances,
    samples: &[Sample],
    dimensions: usize,
) -> Scales {
    if samples.len() < samples::FEWEST_TO_FIT {
        return usual_scales(dimensions);
    }
    let key = digest(samples);
    match fitted {
        Some((known, scales)) if *known == key => scales.clone(),
        _ => {
            let scales = fitted_scales(distances, samples, dimensions);
            *fitted = Some((key, scales.clone()));
            scales
        }
    }
}

/// How much better than the incumbent of a process full runs may be at points, each with what is expected there.
fn gains(process: Option<&Process>, points: &[(&[f64], Expected)]) -> Vec<Belief> {
    let Some(process) = process else { return flat(points) };
    match process.incumbent() {
        Some(reference) => process.differences(points, reference),
        None => process.beliefs(points),
    }
}

/// What is believed where nothing can be computed.
fn flat(points: &[(&[f64], Expected)]) -> Vec<Belief> {
    points.iter().map(|(_, prior)| Belief { mean: prior.mean, deviation: 1.0 }).collect()
}

fn digest(samples: &[Sample]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for sample in samples {
        let numbers = sample.point.iter().chain([&sample.short, &sample.prior.mean, &sample.value]);
        for number in numbers {
            number.to_bits().hash(&mut hasher);
        }
    }
    hasher.finish()
}

impl Beliefs {
    /// Takes in what is expected of the trials that are `running`, each with the level it goes to.
    fn look_ahead(&mut self, problem: &Problem, scales: &Scales, running: Vec<(UnitPoint, usize)>) {
        let points: Vec<&[f64]> = running.iter().map(|(point, _)| point.as_slice()).collect();
        let expected = self.at(problem, &points);
        let lies = running.into_iter().zip(expected).map(|((point, level), belief)| Sample {
            short: self.settings.shortness(problem, level),
            prior: self.settings.expected(problem, &point, 1.0),
            point,
            value: belief.mean + PESSIMISM * belief.deviation,
            is_full: level == problem.fidelity.top(),
            has_failed: false,
        });
        let lies: Vec<Sample> = lies.collect();
        let in_full = lies.iter().map(|lie| Sample { short: 0.0, is_full: true, ..lie.clone() });
        let ahead: Vec<Sample> = self.samples.iter().cloned().chain(in_full).collect();
        self.ahead = Process::new(&self.distances, scales, &ahead);
        self.samples.extend(lies);
        self.process = Process::new(&self.distances, scales, &self.samples);
    }

    /// Full runs at these points.
    pub(super) fn at<P: AsRef<[f64]>>(&self, problem: &Problem, points: &[P]) -> Vec<Belief> {
        let with_prior = self.with_prior(problem, points);
        match &self.process {
            Some(process) => process.beliefs(&with_prior),
            None => flat(&with_prior),
        }
    }

    /// How much better than the incumbent full runs may be at these points: a difference, to be minimised below 0.
    pub(super) fn gains<P: AsRef<[f64]>>(&self, problem: &Problem, points: &[P]) -> Vec<Belief> {
        gains(self.process.as_ref(), &self.with_prior(problem, points))
    }

    /// The same if those under way were to run in full: what a new point is worth that can only start now. A neighbour
    /// of one that runs is not.
    pub(super) fn gains_of_new<P: AsRef<[f64]>>(&self, problem: &Problem, points: &[P]) -> Vec<Belief> {
        gains(self.ahead.as_ref().or(self.process.as_ref()), &self.with_prior(problem, points))
    }

    /// How alike full runs at `point` and at the most alike of those that were tried are: a correlation.
    pub(super) fn likeness(&self, point: &[f64]) -> f64 {
        self.process.as_ref().map_or(0.0, |process| process.likeness(point))
    }

    /// How alike two full runs are that differ by so many `deviations` of a run's luck.
    pub(super) fn likeness_within_noise(&self, deviations: f64) -> f64 {
        self.process.as_ref().map_or(1.0, |process| process.correlation_within_noise(deviations))
    }

    /// What a run at each of these points to the level beside it would tell of the gain there; all of it, as long as
    /// there is no incumbent.
    pub(super) fn revelations(&self, problem: &Problem, points: &[&[f64]], levels: &[usize]) -> Vec<Belief> {
        let Some((process, reference)) =
            self.process.as_ref().and_then(|process| Some((process, process.incumbent()?)))
        else {
            return self.gains(problem, points);
        };
        let shorts: Vec<f64> = levels.iter().map(|level| self.settings.shortness(problem, *level)).collect();
        process.revelations(&self.with_prior(problem, points), &shorts, reference)
    }

    /// Each with what is expected there.
    fn with_prior<'p, P: AsRef<[f64]>>(
        &self,
        problem: &Problem,
        points: &'p [P],
    ) -> Vec<(&'p [f64], Expected)> {
        let each = points.iter().map(AsRef::as_ref);
        each.map(|point| (point, self.settings.expected(problem, point, 1.0))).collect()
    }

    /// Whether something is expected beforehand.
    pub(super) fn expects(&self) -> bool {
        self.settings.prior.is_some()
    }

    /// The points of the samples, the best first.
    pub(super) fn best_points(&self, most: usize) -> Vec<&[f64]> {
        let mut order: Vec<&Sample> = self.samples.iter().collect();
        order.sort_by(|a, b| a.value.total_cmp(&b.value));
        order.into_iter().take(most).map(|sample| sample.point.as_slice()).collect()
    }

    /// ln P(no failure) at these points.
    pub(super) fn log_soundness(&self, seen: &Observations, points: &[&[f64]]) -> Vec<f64> {
        feasibility::log_soundness(&self.distances, seen, points)
    }

    /// A warped difference in the units of the objective.
    pub(super) fn in_units(&self, difference: f64) -> Option<f64> {
        self.warp.as_ref().map(|warp| warp.unwarped_difference(difference))
    }
}
