//! Which scales explain the samples? Maximum a posteriori, by L-BFGS.
//!
//! Minimises −ln p(z | θ) − ln p(θ) over the logarithms θ of length scales and standard deviations, each with a
//! normal prior: with few samples the scales stay near what is usual, with many the samples decide.
//!
//! Source: Rasmussen and Williams 2006, equation 5.9 for the gradient; Nocedal and Wright 2006, algorithm 7.5.

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use super::kernel::{Distances, matern, matern_slope};
use super::process::{Process, Sample, Scales};

/// A length scale is usually near this, times the root of the number of dimensions.
const USUAL_LENGTH: f64 = 0.3;
/// Standard deviation of its logarithm.
const LENGTH_SPREAD: f64 = 1.0;
/// Usual standard deviations of surface, bias and noise where values are scaled to one, and spreads of their logarithms.
const USUAL: [(f64, f64); 3] = [(1.0, 0.6), (0.25, 0.6), (0.1, 1.0)];
/// Where the surprise can't be computed.
const IMPOSSIBLE: f64 = 1e10;
const MOST_ITERATIONS: u64 = 20;
/// Updates that L-BFGS remembers.
const MEMORY: usize = 7;

/// The scales most usual in a space of so many dimensions.
pub(crate) fn usual_scales(dimensions: usize) -> Scales {
    let prior: Vec<f64> = priors(dimensions).iter().map(|(mean, _)| *mean).collect();
    scales_of(&prior)
}

/// The scales that explain `samples` best.
pub(crate) fn fitted_scales(distances: &Distances, samples: &[Sample], dimensions: usize) -> Scales {
    let problem = Posterior { distances, samples, priors: priors(dimensions), last: RefCell::new(None) };
    let start: Vec<f64> = problem.priors.iter().map(|(mean, _)| *mean).collect();
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY);
    let Ok(solver) = solver.with_tolerance_grad(1e-2).and_then(|solver| solver.with_tolerance_cost(1e-3))
    else {
        return scales_of(&start);
    };
    let executor = Executor::new(problem, solver);
    let run = executor.configure(|state| state.param(start.clone()).max_iters(MOST_ITERATIONS)).run();
    // A line search that finds no better point ends the run with an error: then the usual scales are as good.
    let found = run.ok().and_then(|result| result.state().get_best_param().cloned());
    scales_of(found.as_ref().filter(|found| found.iter().all(|one| one.is_finite())).unwrap_or(&start))
}

/// Mean and standard deviation of the logarithm of each scale.
fn priors(dimensions: usize) -> Vec<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "dimensions are few")]
    let length = (USUAL_LENGTH * (dimensions as f64).sqrt()).ln();
    let lengths = std::iter::repeat_n((length, LENGTH_SPREAD), dimensions);
    lengths.chain(USUAL.map(|(usual, spread): (f64, f64)| (usual.ln(), spread))).collect()
}

fn scales_of(parameters: &[f64]) -> Scales {
    let (lengths, rest) = parameters.split_at(parameters.len() - USUAL.len());
    Scales { lengths: lengths.to_vec(), surface: rest[0], bias: rest[1], noise: rest[2] }
}

/// Parameters, value, gradient.
type Evaluated = (Vec<f64>, f64, Vec<f64>);

/// −ln p(z | θ) − ln p(θ).
struct Posterior<'a> {
    distances: &'a Distances,
    samples: &'a [Sample],
    priors: Vec<(f64, f64)>,
    /// The last parameters with their value and gradient: a line search asks for both, one after the other.
    last: RefCell<Option<Evaluated>>,
}

impl CostFunction for Posterior<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Vec<f64>) -> Result<f64, Error> {
        Ok(self.both(parameters).0)
    }
}

impl Gradient for Posterior<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Vec<f64>) -> Result<Vec<f64>, Error> {
        Ok(self.both(parameters).1)
    }
}

impl Posterior<'_> {
    fn both(&self, parameters: &[f64]) -> (f64, Vec<f64>) {
        if let Some((known, cost, gradient)) = &*self.last.borrow()
            && known == parameters
        {
            return (*cost, gradient.clone());
        }
        let (cost, gradient) = self.computed(parameters);
        *self.last.borrow_mut() = Some((parameters.to_vec(), cost, gradient.clone()));
        (cost, gradient)
    }

    fn computed(&self, parameters: &[f64]) -> (f64, Vec<f64>) {
        let off = |(one, (mean, spread)): (&f64, &(f64, f64))| (one - mean) / spread;
        let offs = || parameters.iter().zip(&self.priors).map(off);
        let unusual = offs().map(|off| off * off).sum::<f64>() / 2.0;
        let mut gradient: Vec<f64> =
            offs().zip(&self.priors).map(|(off, (_, spread))| off / spread).collect();
        let scales = scales_of(parameters);
        let Some(process) = Process::new(self.distances, &scales, self.samples) else {
            return (IMPOSSIBLE + unusual, gradient);
        };
        let sensitivity = process.sensitivity();
        self.add_surprise(&scales, |i, j| sensitivity[(i, j)], &mut gradient);
        (process.surprise() + unusual, gradient)
    }

    /// Adds ½·tr((K⁻¹ − ααᵀ)·dK/dθ) for every θ.
    fn add_surprise(&self, scales: &Scales, sensitivity: impl Fn(usize, usize) -> f64, gradient: &mut [f64]) {
        let inverse_squares = scales.inverse_squares();
        let dimensions = inverse_squares.len();
        let (surface, bias) = ((2.0 * scales.surface).exp(), (2.0 * scales.bias).exp());
        for i in 0..self.samples.len() {
            gradient[dimensions + 2] += sensitivity(i, i) * (2.0 * scales.noise).exp();
            for j in 0..=i {
                // Each pair off the diagonal stands for two entries, and the half is taken here.
                let twice = if i == j { 0.5 } else { 1.0 } * sensitivity(i, j);
                let (a, b) = (&self.samples[i], &self.samples[j]);
                let squared = self.distances.scaled(&a.point, &b.point, &inverse_squares);
                let (alike, short) = (matern(squared), a.short * b.short);
                gradient[dimensions] += twice * 2.0 * surface * alike;
                gradient[dimensions + 1] += twice * 2.0 * bias * short * alike;
                let slope = twice * (surface + bias * short) * matern_slope(squared);
                let terms = self.distances.squared(&a.point, &b.point).zip(&inverse_squares);
                for (entry, (square, inverse)) in gradient.iter_mut().zip(terms) {
                    *entry += slope * square * inverse;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::random::Stream;
    use super::super::testing::{continua, dimension, distances, sample};
    use super::*;
    use crate::space::Domain;
    use nalgebra::{Cholesky, DMatrix, DVector};
    use proptest::prelude::*;

    /// Samples anywhere, full and short.
    fn random_samples(count: usize, dimensions: usize, stream: &mut Stream) -> Vec<Sample> {
        let mut one = || {
            let short = [0.0, 0.5, 1.0][stream.below(3)];
            sample(&stream.point(dimensions), short, stream.normal(), stream.normal())
        };
        (0..count).map(|_| one()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_gradient_is_that_of_central_differences(seed: u64, count in 1usize..15, weight in 0.0f64..1.0) {
            let mut stream = Stream::new(seed, 0);
            let mut space = continua(2);
            let kinds = Domain::Categorical((0..3).map(serde_json::Value::from).collect());
            space.dimensions.push(dimension("kind", kinds));
            let distances = Distances::of(&space);
            let mut samples = random_samples(count, 3, &mut stream);
            for sample in &mut samples {
                sample.point = space.snapped(&sample.point);
                sample.prior.doubts[0] *= weight;
            }
            let posterior =
                Posterior { distances: &distances, samples: &samples, priors: priors(3), last: RefCell::new(None) };
            let at: Vec<f64> = posterior.priors.iter().map(|(mean, _)| mean + 0.5 * stream.normal()).collect();
            let (_, gradient) = posterior.computed(&at);
            for index in 0..at.len() {
                let moved = |step: f64| {
                    let mut moved = at.clone();
                    moved[index] += step;
                    posterior.computed(&moved).0
                };
                let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let tolerance = 1e-5 * (1.0 + difference.abs());
                prop_assert!(
                    (gradient[index] - difference).abs() < tolerance,
                    "{index}: {} is not {difference}", gradient[index]
                );
            }
        }
    }

    /// A draw from a process with these length scales, without bias, with a little noise.
    fn drawn(lengths: [f64; 2], count: usize, stream: &mut Stream) -> Vec<Sample> {
        let points: Vec<Vec<f64>> = (0..count).map(|_| stream.point(2)).collect();
        let distances = distances(2);
        let inverse = lengths.map(|length| 1.0 / (length * length));
        let alike = |i: usize, j: usize| matern(distances.scaled(&points[i], &points[j], &inverse));
        let own = |i, j| if i == j { 1e-4 } else { 0.0 };
        let factor = Cholesky::new(DMatrix::from_fn(count, count, |i, j| alike(i, j) + own(i, j))).unwrap();
        let values = factor.l() * DVector::from_fn(count, |_, _| stream.normal());
        points.iter().zip(values.iter()).map(|(point, value)| sample(point, 0.0, 0.0, *value)).collect()
    }

    #[test]
    fn the_length_scales_of_a_process_are_found_again() {
        let mut logarithms = [0.0; 2];
        for seed in 0..6 {
            let samples = drawn([0.15, 3.0], 50, &mut Stream::new(seed, 1));
            let scales = fitted_scales(&distances(2), &samples, 2);
            assert!(scales.lengths[0] < scales.lengths[1], "{scales:?}");
            logarithms[0] += scales.lengths[0] / 6.0;
            logarithms[1] += scales.lengths[1] / 6.0;
        }
        let [short, long] = logarithms.map(f64::exp);
        assert!((0.08..0.3).contains(&short), "{short}");
        assert!((1.0..10.0).contains(&long), "{long}");
    }

    #[test]
    fn samples_that_tell_little_leave_finite_scales() {
        let same = vec![sample(&[0.5, 0.5], 0.0, 0.0, 1.0); 12];
        let constant: Vec<Sample> =
            (0..12).map(|index| sample(&[f64::from(index) / 12.0, 0.5], 0.0, 0.0, 0.0)).collect();
        let opposed: Vec<Sample> =
            (0..12).map(|index| sample(&[0.5, 0.5], 0.0, 0.0, f64::from(index % 2) * 1e3)).collect();
        for samples in [&same[..], &constant, &opposed, &same[..1], &[]] {
            let scales = fitted_scales(&distances(2), samples, 2);
            let rest = [scales.surface, scales.bias, scales.noise];
            assert!(scales.lengths.iter().chain(&rest).all(|one| one.is_finite()), "{scales:?}");
        }
        assert_eq!(fitted_scales(&distances(2), &[], 2), usual_scales(2));
    }

    #[test]
    fn what_can_not_be_computed_is_as_bad_as_can_be() {
        let samples = [sample(&[f64::NAN, 0.5], 0.0, 0.0, 1.0)];
        assert_eq!(fitted_scales(&distances(2), &samples, 2), usual_scales(2));
    }
}
