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

use super::kernel::{matern, matern_slope};
use super::process::{Process, Sample, Scales, Shape};

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
pub(crate) fn fitted_scales(shape: &Shape, samples: &[Sample], dimensions: usize) -> Scales {
    let problem = Posterior { shape, samples, priors: priors(dimensions), last: RefCell::new(None) };
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
    shape: &'a Shape,
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
        let Some(process) = Process::new(self.shape, &scales, self.samples) else {
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
                let squared = self.shape.distances.scaled(&a.point, &b.point, &inverse_squares);
                let (alike, short) = (matern(squared), a.short * b.short);
                gradient[dimensions] += twice * 2.0 * surface * alike;
                gradient[dimensions + 1] += twice * 2.0 * bias * short * alike;
                let slope = twice * (surface + bias * short) * matern_slope(squared);
                let terms = self.shape.distances.squared(&a.point, &b.point).zip(&inverse_squares);
                for (entry, (square, inverse)) in gradient.iter_mut().zip(terms) {
                    *entry += slope * square * inverse;
                }
            }
        }
    }
}
