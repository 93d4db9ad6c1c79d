//! The exact Gaussian process: what is believed of values that were not measured.
//!
//! A value of a trial at point x whose run is g short of the full one is
//! z(x, g) = c + m(x) + Σ wᵢ·dᵢ(x) + f(x) + g·b(x) + noise. The constant c, the weights w of the doubts d about the prior
//! mean m, the surface f of full runs and the bias b of short ones are independent Gaussians, so their sum is one
//! Gaussian process: k = σc² + Σ dᵢ·dᵢ′ + (σf² + σb²·g·g′)·M(x, x′). A prior mean that the data contradict is corrected,
//! or loses its weight, by conditioning alone.
//!
//! Source: Rasmussen and Williams 2006, chapter 2 (algorithm 2.1) and section 2.7 for the weights of explicit
//! functions.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::kernel::{Distances, matern};
use super::prior::Expected;

/// Standard deviation of the constant: values are scaled to about one.
const CONSTANT: f64 = 1.0;
/// Rounding may leave less.
const LEAST_VARIANCE: f64 = 1e-12;

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Where.
    pub point: Vec<f64>,
    /// How short of the full run: 0 for a full run, 1 for the shortest.
    pub short: f64,
    /// What was expected of it.
    pub prior: Expected,
    /// The value, warped.
    pub value: f64,
    /// Whether it is of a full run.
    pub is_full: bool,
    /// Whether the value stands for a run that diverged.
    pub has_failed: bool,
}

/// Hyperparameters of the process, as natural logarithms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scales {
    /// Length scale of each dimension.
    pub lengths: Vec<f64>,
    /// Standard deviation of f.
    pub surface: f64,
    /// Standard deviation of b.
    pub bias: f64,
    /// Standard deviation of the noise.
    pub noise: f64,
}

/// A process conditioned on samples.
pub(crate) struct Process {
    distances: Distances,
    samples: Vec<Sample>,
    inverse_squares: Vec<f64>,
    surface: f64,
    bias: f64,
    noise: f64,
    factor: Cholesky<f64, Dyn>,
    /// K⁻¹·(z − m).
    weights: DVector<f64>,
}

/// Mean and standard deviation of full runs without noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Belief {
    pub mean: f64,
    pub deviation: f64,
}

/// What the covariance of two runs has beside the two surfaces.
fn explicit(a: Expected, b: Expected) -> f64 {
    let doubts: f64 = a.doubts.iter().zip(&b.doubts).map(|(a, b)| a * b).sum();
    CONSTANT * CONSTANT + doubts
}

impl Scales {
    /// 1/ℓₖ².
    pub(crate) fn inverse_squares(&self) -> Vec<f64> {
        self.lengths.iter().map(|length| (-2.0 * length).exp()).collect()
    }
}

impl Process {
    /// Conditions on `samples`; none if the covariance is not positive definite.
    pub(crate) fn new(distances: &Distances, scales: &Scales, samples: &[Sample]) -> Option<Self> {
        let inverse_squares = scales.inverse_squares();
        let (surface, bias) = ((2.0 * scales.surface).exp(), (2.0 * scales.bias).exp());
        let noise = (2.0 * scales.noise).exp();
        let covariance = DMatrix::from_fn(samples.len(), samples.len(), |i, j| {
            if i < j {
                return 0.0;
            }
            let (a, b) = (&samples[i], &samples[j]);
            let alike = matern(distances.scaled(&a.point, &b.point, &inverse_squares));
            let own = if i == j { noise } else { 0.0 };
            explicit(a.prior, b.prior) + (surface + bias * a.short * b.short) * alike + own
        });
        let factor = Cholesky::new(covariance)?;
        let residual =
            DVector::from_iterator(samples.len(), samples.iter().map(|one| one.value - one.prior.mean));
        let weights = factor.solve(&residual);
        let (distances, samples) = (distances.clone(), samples.to_vec());
        Some(Self { distances, samples, inverse_squares, surface, bias, noise, factor, weights })
    }

    /// What is believed of full runs at these points, each with what is expected there.
    pub(crate) fn beliefs(&self, points: &[(&[f64], Expected)]) -> Vec<Belief> {
        let (means, solved) = self.means_and_solved(points);
        let explained = solved.column_iter().map(|column| column.norm_squared());
        let each = points.iter().zip(means).zip(explained);
        each.map(|(((_, prior), mean), explained)| {
            let variance = explicit(*prior, *prior) + self.surface - explained;
            Belief { mean, deviation: variance.max(LEAST_VARIANCE).sqrt() }
        })
        .collect()
    }

    /// The sound full run with the lowest mean: its point and what was expected of it.
    pub(crate) fn incumbent(&self) -> Option<(&[f64], Expected)> {
        let full = self.samples.iter().filter(|sample| sample.is_full && !sample.has_failed);
        let full: Vec<(&[f64], Expected)> =
            full.map(|sample| (sample.point.as_slice(), sample.prior)).collect();
        let means = self.means(&full, &self.cross(&full));
        full.into_iter().zip(means).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(point, _)| point)
    }

    /// The largest correlation of f at `point` and at a sample; 0 without samples.
    pub(crate) fn likeness(&self, point: &[f64]) -> f64 {
        let squared = |sample: &Sample| self.distances.scaled(&sample.point, point, &self.inverse_squares);
        self.samples.iter().map(squared).reduce(f64::min).map_or(0.0, matern)
    }

    /// The correlation at which f differs by `deviations` times the noise of a run.
    ///
    /// The difference has the variance 2·σf²·(1 − ρ).
    pub(crate) fn correlation_within_noise(&self, deviations: f64) -> f64 {
        1.0 - deviations * deviations * self.noise / (2.0 * self.surface)
    }

    /// The means at `points`, and L⁻¹·k for each.
    fn means_and_solved(&self, points: &[(&[f64], Expected)]) -> (Vec<f64>, DMatrix<f64>) {
        let mut cross = self.cross(points);
        let means = self.means(points, &cross);
        self.factor.l_dirty().solve_lower_triangular_mut(&mut cross);
        (means, cross)
    }

    /// Covariances of the samples, one a row, with full runs at `points`.
    fn cross(&self, points: &[(&[f64], Expected)]) -> DMatrix<f64> {
        self.cross_with(points, &vec![0.0; points.len()])
    }

    /// Covariances of the samples, one a row, with runs at `points` that are so `shorts`.
    fn cross_with(&self, points: &[(&[f64], Expected)], shorts: &[f64]) -> DMatrix<f64> {
        DMatrix::from_fn(self.samples.len(), points.len(), |i, j| {
            let (sample, (point, prior)) = (&self.samples[i], points[j]);
            let alike = matern(self.distances.scaled(&sample.point, point, &self.inverse_squares));
            let bias = self.bias * sample.short * shorts[j];
            explicit(sample.prior, prior) + (self.surface + bias) * alike
        })
    }

    fn means(&self, points: &[(&[f64], Expected)], cross: &DMatrix<f64>) -> Vec<f64> {
        let means = cross.tr_mul(&self.weights);
        points.iter().zip(means.iter()).map(|((_, prior), mean)| prior.mean + mean).collect()
    }

    /// How much better or worse than at `reference` full runs are believed to be at these points.
    ///
    /// What both have in common, such as the noise of the run at the reference, is no uncertainty of the difference:
    /// a point beside the reference promises nothing.
    pub(crate) fn differences(
        &self,
        points: &[(&[f64], Expected)],
        reference: (&[f64], Expected),
    ) -> Vec<Belief> {
        let all: Vec<(&[f64], Expected)> = points.iter().copied().chain([reference]).collect();
        let (means, solved) = self.means_and_solved(&all);
        let last = points.len();
        let own = explicit(reference.1, reference.1) + self.surface - solved.column(last).norm_squared();
        let each = points.iter().enumerate().map(|(index, (point, prior))| {
            let alike = matern(self.distances.scaled(point, reference.0, &self.inverse_squares));
            let shared = explicit(*prior, reference.1) + self.surface * alike
                - solved.column(index).dot(&solved.column(last));
            let variance = explicit(*prior, *prior) + self.surface - solved.column(index).norm_squared();
            let difference = (variance + own - 2.0 * shared).max(LEAST_VARIANCE);
            Belief { mean: means[index] - means[last], deviation: difference.sqrt() }
        });
        each.collect()
    }

    /// As [`Self::differences`], with the deviation of what one more run at each of these points would tell: so far
    /// short of the full one.
    ///
    /// The observation y moves the mean of the difference d by a Gaussian with variance cov(d, y)²/var(y). Source:
    /// Frazier et al. 2009, The Knowledge-Gradient Policy for Correlated Normal Beliefs, equation 12.
    pub(crate) fn revelations(
        &self,
        points: &[(&[f64], Expected)],
        shorts: &[f64],
        reference: (&[f64], Expected),
    ) -> Vec<Belief> {
        let mut observed = self.cross_with(points, shorts);
        self.factor.l_dirty().solve_lower_triangular_mut(&mut observed);
        let all: Vec<(&[f64], Expected)> = points.iter().copied().chain([reference]).collect();
        let (means, full) = self.means_and_solved(&all);
        let last = points.len();
        let each = points.iter().zip(shorts).enumerate().map(|(index, ((point, prior), short))| {
            let own = observed.column(index);
            let with = |other: (&[f64], Expected), column: usize| {
                let alike = matern(self.distances.scaled(point, other.0, &self.inverse_squares));
                explicit(*prior, other.1) + self.surface * alike - full.column(column).dot(&own)
            };
            let shared = with((point, *prior), index) - with(reference, last);
            let variance = explicit(*prior, *prior) + self.surface + self.bias * short * short + self.noise
                - own.norm_squared();
            let told = shared * shared / variance.max(LEAST_VARIANCE);
            Belief { mean: means[index] - means[last], deviation: told.max(LEAST_VARIANCE).sqrt() }
        });
        each.collect()
    }

    /// −ln p(z) without its constant.
    pub(crate) fn surprise(&self) -> f64 {
        let residual = self.samples.iter().map(|one| one.value - one.prior.mean);
        let misfit: f64 = residual.zip(self.weights.iter()).map(|(residual, weight)| residual * weight).sum();
        let diagonal = self.factor.l_dirty().diagonal();
        misfit / 2.0 + diagonal.iter().map(|entry| entry.ln()).sum::<f64>()
    }

    /// What the gradient of the surprise needs: K⁻¹ − α·αᵀ.
    pub(crate) fn sensitivity(&self) -> DMatrix<f64> {
        self.factor.inverse() - &self.weights * self.weights.transpose()
    }
}

#[cfg(test)]
mod tests;
