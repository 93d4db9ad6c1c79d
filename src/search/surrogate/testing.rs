//! Small spaces, samples and trials for the tests of the surrogate.

use super::super::{Fidelity, Observations, Problem, State};
use super::kernel::Distances;
use super::prior::{Expected, Term};
use super::process::Sample;
use crate::space::{Dimension, Domain, SearchSpace};

/// A dimension that always takes part.
pub(crate) fn dimension(name: &str, domain: Domain) -> Dimension {
    Dimension { name: name.to_owned(), domain, condition: None }
}

/// So many linear continua.
pub(crate) fn continua(count: usize) -> SearchSpace {
    let domain = || Domain::Float { low: 0.0, high: 1.0, log: false };
    let dimensions = (0..count).map(|index| dimension(&format!("h{index}"), domain())).collect();
    SearchSpace { dimensions, constraints: vec![] }
}

/// Distances in so many continua.
pub(crate) fn distances(dimensions: usize) -> Distances {
    Distances::of(&continua(dimensions))
}

/// This mean, with doubts about its weight and about something that goes by its square.
pub(crate) fn expected(mean: f64) -> Expected {
    Expected { mean, doubts: [0.4 * mean, 0.2 * mean * mean] }
}

/// A best value, a decade from which a run is as good as the median.
pub(crate) fn term(dimension: usize, best: f64) -> Term {
    Term { dimension, best, spread: 0.0, below: 1.0, above: 1.0, drift: 0.0, tilts: vec![] }
}

/// A value of a run.
pub(crate) fn sample(point: &[f64], short: f64, prior: f64, value: f64) -> Sample {
    let (point, prior) = (point.to_vec(), expected(prior));
    Sample { point, short, prior, value, is_full: short == 0.0, has_failed: false }
}

/// A search over so many continua with these levels.
pub(crate) fn problem(dimensions: usize, levels: &[f64]) -> Problem {
    let fidelity = Fidelity { levels: levels.to_vec(), resume: true };
    Problem { space: continua(dimensions), fidelity, seed: 1, first: vec![] }
}

/// Adds a trial that rests where its curve ends.
pub(crate) fn add(seen: &mut Observations, point: &[f64], curve: &[(f64, f64)], state: State) {
    let id = seen.start(point.to_vec(), 0);
    let trial = seen.trial_mut(id).unwrap();
    trial.curve = curve.to_vec();
    trial.state = state;
}
