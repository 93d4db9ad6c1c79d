//! The exact Gaussian process: what is believed of values that were not measured.
//!
//! A value of a trial at point x whose run is g short of the full one is
//! z(x, g) = c + (1 + w)·m(x) + f(x) + g·b(x) + noise. The constant c, the weight w of the prior mean, the surface f of
//! full runs and the bias b of short ones are independent Gaussians, so their sum is one Gaussian process:
//! k = σc² + σw²·m·m′ + (σf² + σb²·g·g′)·M(x, x′). A prior mean that the data contradict loses its weight by
//! conditioning alone.
//!
//! Source: Rasmussen and Williams 2006, chapter 2 (algorithm 2.1) and section 2.7 for the weights of explicit
//! functions.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::kernel::{Distances, matern};

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
    /// Prior mean there.
    pub prior: f64,
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

/// What is known of every process of a search.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub distances: Distances,
    /// Standard deviation of the prior mean's weight.
    pub prior_weight: f64,
}

/// A process conditioned on samples.
pub(crate) struct Process<'a> {
    shape: &'a Shape,
    samples: &'a [Sample],
    inverse_squares: Vec<f64>,
    surface: f64,
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

impl Shape {
    /// What the covariance of two samples has beside the two surfaces.
    pub(crate) fn explicit(&self, a: &Sample, b: &Sample) -> f64 {
        self.explicit_of(a.prior, b.prior)
    }

    fn explicit_of(&self, a: f64, b: f64) -> f64 {
        CONSTANT * CONSTANT + self.prior_weight * self.prior_weight * a * b
    }
}

impl Scales {
    /// 1/ℓₖ².
    pub(crate) fn inverse_squares(&self) -> Vec<f64> {
        self.lengths.iter().map(|length| (-2.0 * length).exp()).collect()
    }
}

impl<'a> Process<'a> {
    /// Conditions on `samples`; none if the covariance is not positive definite.
    pub(crate) fn new(shape: &'a Shape, scales: &Scales, samples: &'a [Sample]) -> Option<Self> {
        let inverse_squares = scales.inverse_squares();
        let (surface, bias) = ((2.0 * scales.surface).exp(), (2.0 * scales.bias).exp());
        let noise = (2.0 * scales.noise).exp();
        let covariance = DMatrix::from_fn(samples.len(), samples.len(), |i, j| {
            if i < j {
                return 0.0;
            }
            let (a, b) = (&samples[i], &samples[j]);
            let alike = matern(shape.distances.scaled(&a.point, &b.point, &inverse_squares));
            let own = if i == j { noise } else { 0.0 };
            shape.explicit(a, b) + (surface + bias * a.short * b.short) * alike + own
        });
        let factor = Cholesky::new(covariance)?;
        let residual = DVector::from_iterator(samples.len(), samples.iter().map(|one| one.value - one.prior));
        let weights = factor.solve(&residual);
        Some(Self { shape, samples, inverse_squares, surface, factor, weights })
    }

    /// What is believed of full runs at these points, each with its prior mean.
    pub(crate) fn beliefs(&self, points: &[(&[f64], f64)]) -> Vec<Belief> {
        let (means, solved) = self.means_and_solved(points);
        let explained = solved.column_iter().map(|column| column.norm_squared());
        let each = points.iter().zip(means).zip(explained);
        each.map(|(((_, prior), mean), explained)| {
            let variance = self.shape.explicit_of(*prior, *prior) + self.surface - explained;
            Belief { mean, deviation: variance.max(LEAST_VARIANCE).sqrt() }
        })
        .collect()
    }

    /// The means at `points`, and L⁻¹·k for each.
    fn means_and_solved(&self, points: &[(&[f64], f64)]) -> (Vec<f64>, DMatrix<f64>) {
        let mut cross = DMatrix::from_fn(self.samples.len(), points.len(), |i, j| {
            let (sample, (point, prior)) = (&self.samples[i], points[j]);
            let alike = matern(self.shape.distances.scaled(&sample.point, point, &self.inverse_squares));
            self.shape.explicit_of(sample.prior, prior) + self.surface * alike
        });
        let means = cross.tr_mul(&self.weights);
        self.factor.l_dirty().solve_lower_triangular_mut(&mut cross);
        (points.iter().zip(means.iter()).map(|((_, prior), mean)| prior + mean).collect(), cross)
    }

    /// How much better or worse than at `reference` full runs are believed to be at these points.
    ///
    /// What both have in common, such as the noise of the run at the reference, is no uncertainty of the difference:
    /// a point beside the reference promises nothing.
    pub(crate) fn differences(&self, points: &[(&[f64], f64)], reference: (&[f64], f64)) -> Vec<Belief> {
        let all: Vec<(&[f64], f64)> = points.iter().copied().chain([reference]).collect();
        let (means, solved) = self.means_and_solved(&all);
        let last = points.len();
        let own = self.shape.explicit_of(reference.1, reference.1) + self.surface
            - solved.column(last).norm_squared();
        let each = points.iter().enumerate().map(|(index, (point, prior))| {
            let alike = matern(self.shape.distances.scaled(point, reference.0, &self.inverse_squares));
            let shared = self.shape.explicit_of(*prior, reference.1) + self.surface * alike
                - solved.column(index).dot(&solved.column(last));
            let variance =
                self.shape.explicit_of(*prior, *prior) + self.surface - solved.column(index).norm_squared();
            let difference = (variance + own - 2.0 * shared).max(LEAST_VARIANCE);
            Belief { mean: means[index] - means[last], deviation: difference.sqrt() }
        });
        each.collect()
    }

    /// −ln p(z) without its constant.
    pub(crate) fn surprise(&self) -> f64 {
        let residual = self.samples.iter().map(|one| one.value - one.prior);
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
mod tests {
    use super::super::testing::{sample, shape};
    use super::*;

    const POINTS: [[f64; 2]; 4] = [[0.1, 0.2], [0.4, 0.9], [0.8, 0.3], [0.6, 0.6]];
    const VALUES: [f64; 4] = [0.5, -0.2, -1.0, 0.3];
    const SHORT: [f64; 4] = [0.0, 1.0, 0.0, 0.5];
    const PRIOR: [f64; 4] = [0.3, -0.4, -0.9, 0.1];
    const ASKED: [[f64; 2]; 2] = [[0.3, 0.3], [0.8, 0.35]];

    fn scales() -> Scales {
        let [surface, bias, noise] = [0.8f64, 0.3, 0.1].map(f64::ln);
        Scales { lengths: vec![0.5f64.ln(), 1.5f64.ln()], surface, bias, noise }
    }

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-11, "{actual} is not {expected}");
    }

    fn check(actual: &[Belief], means: [f64; 2], deviations: [f64; 2]) {
        for ((actual, mean), deviation) in actual.iter().zip(means).zip(deviations) {
            close(actual.mean, mean);
            close(actual.deviation, deviation);
        }
    }

    /// ```python
    /// from sklearn.gaussian_process import GaussianProcessRegressor as R
    /// from sklearn.gaussian_process.kernels import ConstantKernel as C, Matern as M
    /// x = [[.1, .2], [.4, .9], [.8, .3], [.6, .6]]; z = [.5, -.2, -1., .3]; q = [[.3, .3], [.8, .35]]
    /// gp = R(C(1) + C(.8**2) * M([.5, 1.5], nu=2.5), alpha=.1**2, optimizer=None).fit(x, z)
    /// print(gp.predict(q, return_std=True), -gp.log_marginal_likelihood_value_ - 2 * np.log(2 * np.pi))
    /// ```
    #[test]
    fn full_runs_without_a_prior_mean_are_those_of_scikit_learn() {
        let samples: Vec<Sample> =
            POINTS.iter().zip(VALUES).map(|(point, value)| sample(point, 0.0, 0.0, value)).collect();
        let shape = shape(2, 0.4);
        let process = Process::new(&shape, &scales(), &samples).unwrap();
        let beliefs = process.beliefs(&ASKED.each_ref().map(|point| (&point[..], 0.0)));
        let means = [0.369_639_818_223_120_64, -0.872_937_731_739_250_8];
        check(&beliefs, means, [0.242_237_966_622_773, 0.099_136_084_340_814_3]);
        close(process.surprise(), 6.877_888_049_153_618);
    }

    fn mixed() -> Vec<Sample> {
        let of = |index: usize| sample(&POINTS[index], SHORT[index], PRIOR[index], VALUES[index]);
        (0..4).map(of).collect()
    }

    /// ```python
    /// x, z, q = map(np.array, (x, z, q)); g = np.array([0, 1, 0, .5]); m = np.array([.3, -.4, -.9, .1])
    /// def k(a, b):
    ///     r = np.sqrt(5 * (((a[:, None] - b) / [.5, 1.5]) ** 2).sum(2)); return (1 + r + r * r / 3) * np.exp(-r)
    /// def cov(a, g, m, b, h, n):
    ///     return 1 + .4**2 * np.outer(m, n) + (.8**2 + .3**2 * np.outer(g, h)) * k(a, b)
    /// p, o, r = np.array([-.2, -.8]), np.zeros(2), z - m
    /// K = cov(x, g, m, x, g, m) + .1**2 * np.eye(4); c = cov(q, o, p, x, g, m)
    /// mean = p + c @ np.linalg.solve(K, r); S = cov(q, o, p, q, o, p) - c @ np.linalg.solve(K, c.T)
    /// d = np.array([1, -1])
    /// print(mean, np.sqrt(np.diag(S)), .5 * r @ np.linalg.solve(K, r) + .5 * np.linalg.slogdet(K)[1])
    /// print(d @ mean, np.sqrt(d @ S @ d))
    /// ```
    #[test]
    fn short_runs_and_a_prior_mean_count_as_numpy_says() {
        let (shape, samples) = (shape(2, 0.4), mixed());
        let process = Process::new(&shape, &scales(), &samples).unwrap();
        let asked = [(&ASKED[0][..], -0.2), (&ASKED[1][..], -0.8)];
        let means = [-0.032_154_802_975_193_96, -0.875_651_752_541_266_8];
        check(&process.beliefs(&asked), means, [0.278_134_161_708_507, 0.099_694_995_124_594_93]);
        close(process.surprise(), -1.099_091_165_197_865);
        let difference = process.differences(&asked[..1], asked[1])[0];
        close(difference.mean, 0.843_496_949_566_072_9);
        close(difference.deviation, 0.304_416_141_262_736_53);
    }

    #[test]
    fn nothing_is_uncertain_of_the_difference_to_oneself() {
        let (shape, samples) = (shape(2, 0.4), mixed());
        let process = Process::new(&shape, &scales(), &samples).unwrap();
        let beside: &[f64] = &[0.800_1, 0.3];
        let asked = [(&POINTS[2][..], -0.9), (beside, -0.9)];
        let differences = process.differences(&asked, asked[0]);
        close(differences[0].mean, 0.0);
        assert!(differences[0].deviation <= 1e-6);
        assert!(differences[1].deviation < 1e-3, "{:?}", differences[1]);
        assert!(process.beliefs(&asked)[1].deviation > 0.05, "its own value is uncertain all the same");
    }

    /// What a run where much is expected is believed to be better than one where little is.
    fn believed_worth_of_the_prior(value_of: impl Fn(f64) -> f64) -> f64 {
        let (shape, mut scales) = (shape(2, 0.4), scales());
        // Samples that tell of the prior mean only, and not of each other.
        scales.lengths = vec![0.01f64.ln(); 2];
        scales.surface = 0.2f64.ln();
        let at = |index: u32| {
            let prior = f64::from(index % 5) / 2.0 - 1.0;
            sample(&[f64::from(index) / 50.0, 0.1], 0.0, prior, value_of(prior))
        };
        let samples: Vec<Sample> = (0..40).map(at).collect();
        let process = Process::new(&shape, &scales, &samples).unwrap();
        let far: &[f64] = &[0.5, 0.9];
        let beliefs = process.beliefs(&[(far, 0.0), (far, -1.0)]);
        beliefs[0].mean - beliefs[1].mean
    }

    #[test]
    fn a_prior_mean_that_the_data_contradict_loses_its_weight() {
        let kept = believed_worth_of_the_prior(|prior| prior);
        assert!((kept - 1.0).abs() < 0.01, "{kept}");
        let unrelated = believed_worth_of_the_prior(|_| 0.3);
        assert!(unrelated.abs() < 0.1, "{unrelated}");
        let opposite = believed_worth_of_the_prior(|prior| -prior);
        assert!(opposite < -0.8, "{opposite}");
    }

    #[test]
    fn a_covariance_that_is_not_positive_definite_gives_no_process() {
        let samples = [sample(&[f64::NAN, 0.0], 0.0, 0.0, 1.0)];
        assert!(Process::new(&shape(2, 0.0), &scales(), &samples).is_none());
    }
}
