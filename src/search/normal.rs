//! The standard normal distribution.

use std::f64::consts::TAU;

/// Beyond this a tail is below 10⁻¹⁵.
const FAR: f64 = 8.0;

/// Its density.
pub(super) fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / TAU.sqrt()
}

/// The share below `x`, to an absolute error of about 10⁻¹⁵.
///
/// Source: the Taylor series of Marsaglia 2004, "Evaluating the Normal Distribution".
pub(super) fn cumulative(x: f64) -> f64 {
    if x.abs() > FAR {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut sum, mut term, mut odd) = (x, x, 1.0);
    while term.abs() > f64::EPSILON * 0.1 * sum.abs() {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    0.5 + sum * density(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// from scipy.stats import norm
    /// for x in (-6.5, -3, -1, -.25, 0, .1, 1.96, 5): print(repr(float(norm.cdf(x))))
    /// ```
    #[test]
    fn shares_are_those_of_scipy() {
        let known = [
            (-6.5, 4.016_000_583_859_088e-11),
            (-3.0, 0.001_349_898_031_630_093_3),
            (-1.0, 0.158_655_253_931_457_07),
            (-0.25, 0.401_293_674_317_076_3),
            (0.0, 0.5),
            (0.1, 0.539_827_837_277_029),
            (1.96, 0.975_002_104_851_779_5),
            (5.0, 0.999_999_713_348_428_1),
        ];
        for (x, share) in known {
            assert!((cumulative(x) - share).abs() < 2e-15, "{x}: {} is not {share}", cumulative(x));
        }
        assert!(cumulative(-9.0) < 1e-15 && cumulative(9.0) > 1.0 - 1e-15);
    }
}
