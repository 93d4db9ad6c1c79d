//! How much better than the best may a point be? The logarithm of the expected improvement.
//!
//! EI = σ·h(u) with u = (best − μ)/σ and h(u) = φ(u) + u·Φ(u). Far from the best, h underflows; its logarithm, computed
//! directly, still tells which of two hopeless points is less so.
//!
//! Source: Jones et al. 1998; Ament et al. 2023, Unexpected Improvements to Expected Improvement, equation 9.

use std::f64::consts::{PI, SQRT_2};

use super::process::Belief;

/// Below this, h is the difference of two nearly equal numbers.
const NEAR: f64 = -1.0;
/// Beyond this, erfc underflows, and four terms of the asymptotic series of h are exact to 10⁻¹⁰.
const FAR: f64 = -35.0;

/// ln EI of minimising below `best`.
pub(crate) fn log_improvement(belief: Belief, best: f64) -> f64 {
    log_h((best - belief.mean) / belief.deviation) + belief.deviation.ln()
}

/// Probability of a value below `best`.
pub(crate) fn probability_below(belief: Belief, best: f64) -> f64 {
    libm::erfc((belief.mean - best) / belief.deviation / SQRT_2) / 2.0
}

fn log_h(u: f64) -> f64 {
    let log_density = -u * u / 2.0 - (2.0 * PI).ln() / 2.0;
    if u > NEAR {
        return (log_density.exp() + u * libm::erfc(-u / SQRT_2) / 2.0).ln();
    }
    if u < FAR {
        // h = φ·(1/u² − 3/u⁴ + 15/u⁶ − 105/u⁸ + …).
        let square = 1.0 / (u * u);
        return log_density + square.ln() + (square * (-3.0 + square * (15.0 - square * 105.0))).ln_1p();
    }
    // h = φ·(1 − |u|·Φ/φ), and Φ/φ = √(π/2)·erfcx(|u|/√2).
    let mills = (PI / 2.0).sqrt() * scaled_erfc(-u / SQRT_2);
    log_density + (1.0 + u * mills).ln()
}

/// exp(x²)·erfc(x), for 0 < x < 26.
fn scaled_erfc(x: f64) -> f64 {
    (x * x).exp() * libm::erfc(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `mpmath.mp.dps = 50; log(npdf(u) + u * ncdf(u))` for each u.
    #[test]
    fn the_logarithm_of_h_is_exact_from_the_best_to_the_hopeless() {
        let known = [
            (3.0, 1.098_739_665_327_707),
            (0.0, -0.918_938_533_204_67),
            (-1.0, -2.485_121_025_712_641),
            (-5.0, -16.744_301_162_660_99),
            (-20.0, -206.917_838_509_427_85),
            (-34.0, -585.974_246_925_156_3),
            (-40.0, -808.298_568_356_62),
            (-100.0, -5_010.129_578_800_25),
            (-1000.0, -500_014.734_452_091_16),
        ];
        for (u, expected) in known {
            assert!((log_h(u) - expected).abs() < 1e-9 * expected.abs(), "{u}: {} {expected}", log_h(u));
        }
    }
    /// Known answers: EI by its textbook formula, σ·(u·Φ(u) + φ(u)), and Φ(u).
    #[test]
    fn the_improvement_is_in_the_units_of_the_belief() {
        let belief = Belief { mean: 3.0, deviation: 2.0 };
        // u = −1: 2·(φ(1) − Φ(−1)) = 2·(0.241970724519 − 0.158655253931).
        assert!((log_improvement(belief, 1.0).exp() - 0.166_630_941_176).abs() < 1e-11);
        assert!((probability_below(belief, 1.0) - 0.158_655_253_931).abs() < 1e-11);
        assert!((probability_below(belief, 3.0) - 0.5).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn it_rises_with_the_best_and_with_the_deviation_and_never_breaks(
            mean in -1e3f64..1e3, deviation in 1e-6f64..1e3, best in -1e3f64..1e3, more in 0.01f64..10.0
        ) {
            let at = |deviation, best| log_improvement(Belief { mean, deviation }, best);
            let here = at(deviation, best);
            prop_assert!(here.is_finite());
            // Its two formulas agree to about 10⁻⁹ where they meet.
            let rounding = 1e-8 * here.abs();
            prop_assert!(at(deviation, best + more) >= here - rounding);
            prop_assert!(at(deviation * (1.0 + more), best) >= here - rounding);
        }
    }
}
