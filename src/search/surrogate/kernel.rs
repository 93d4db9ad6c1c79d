//! How alike are two points? Matérn 5/2 with a length scale for each hyperparameter.
//!
//! With r² = Σ ((xₖ − x′ₖ)/ℓₖ)², M(r) = (1 + √5·r + 5r²/3)·exp(−√5·r). Two different values without an order are
//! one unit apart.
//!
//! Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, equation 4.17.

use crate::space::SearchSpace;

/// What the kernel knows of each dimension.
#[derive(Clone, Debug)]
pub(crate) struct Distances {
    is_ordered: Vec<bool>,
}

impl Distances {
    pub(crate) fn of(space: &SearchSpace) -> Self {
        Self { is_ordered: space.dimensions.iter().map(|one| one.domain.is_ordered()).collect() }
    }

    /// Squared distance along each dimension, unscaled.
    pub(crate) fn squared<'a>(&'a self, a: &'a [f64], b: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let pairs = a.iter().zip(b).zip(&self.is_ordered);
        pairs.map(|((a, b), is_ordered)| match is_ordered {
            true => (a - b) * (a - b),
            false if a.to_bits() == b.to_bits() => 0.0,
            false => 1.0,
        })
    }

    /// r² under these inverse squared length scales.
    pub(crate) fn scaled(&self, a: &[f64], b: &[f64], inverse_squares: &[f64]) -> f64 {
        self.squared(a, b).zip(inverse_squares).map(|(square, inverse)| square * inverse).sum()
    }
}

/// M(r) for r².
pub(crate) fn matern(squared: f64) -> f64 {
    let scaled = (5.0 * squared).sqrt();
    (1.0 + scaled + scaled * scaled / 3.0) * (-scaled).exp()
}

/// −2·dM/d(r²), so that dM/d(ln ℓₖ) is this times the k-th term of r².
pub(crate) fn matern_slope(squared: f64) -> f64 {
    let scaled = (5.0 * squared).sqrt();
    5.0 / 3.0 * (1.0 + scaled) * (-scaled).exp()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is exact by construction is compared exactly")]
mod tests {
    use super::*;
    use crate::space::{Dimension, Domain};

    /// `sklearn.gaussian_process.kernels.Matern(1.0, nu=2.5)([[0.0]], [[r]])` for r = 0, 0.5, 1, 2.
    #[test]
    fn the_kernel_is_that_of_scikit_learn() {
        for (r, expected) in [
            (0.0, 1.0),
            (0.5, 0.828_649_142_418_125_3),
            (1.0, 0.523_994_108_831_820_3),
            (2.0, 0.138_660_219_138_504_26),
        ] {
            assert!((matern(r * r) - expected).abs() < 1e-12, "{r}");
        }
    }

    #[test]
    fn the_slope_is_that_of_a_finite_difference() {
        for squared in [0.01, 0.3, 1.0, 4.0] {
            let step = 1e-6;
            let difference = (matern(squared + step) - matern(squared - step)) / (2.0 * step);
            assert!((matern_slope(squared) + 2.0 * difference).abs() < 1e-6);
        }
    }

    #[test]
    fn values_without_an_order_are_equally_far_from_each_other() {
        let domain = Domain::Categorical((0..3).map(serde_json::Value::from).collect());
        let dimensions = vec![Dimension { name: "kind".to_owned(), domain, condition: None }];
        let distances = Distances::of(&SearchSpace { dimensions, constraints: vec![] });
        let units = [1.0 / 6.0, 0.5, 5.0 / 6.0];
        assert_eq!(distances.scaled(&units[..1], &units[1..2], &[1.0]), 1.0);
        assert_eq!(distances.scaled(&units[..1], &units[2..], &[1.0]), 1.0);
        assert_eq!(distances.scaled(&units[..1], &units[..1], &[1.0]), 0.0);
    }
}
