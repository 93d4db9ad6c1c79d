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
/// Beyond this, erfc underflows and two terms of its asymptotic series are exact to the last digit.
const FAR: f64 = 25.0;

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
    // h = φ·(1 − |u|·Φ/φ), and Φ/φ = √(π/2)·erfcx(|u|/√2).
    let mills = (PI / 2.0).sqrt() * scaled_erfc(-u / SQRT_2);
    let rest = 1.0 + u * mills;
    if u < -FAR * SQRT_2 { log_density - 2.0 * (-u).ln() } else { log_density + rest.ln() }
}

/// exp(x²)·erfc(x) for x > 0.
fn scaled_erfc(x: f64) -> f64 {
    if x < FAR { (x * x).exp() * libm::erfc(x) } else { (1.0 - 0.5 / (x * x)) / (x * PI.sqrt()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mpmath.mp.dps = 50; log(npdf(u) + u * ncdf(u))` for each u.
    #[test]
    fn the_logarithm_of_h_is_exact_from_the_best_to_the_hopeless() {
        let known = [
            (3.0, 1.098_739_665_327_707),
            (0.0, -0.918_938_533_204_67),
            (-1.0, -2.485_121_025_712_641),
            (-5.0, -16.744_301_162_660_99),
            (-20.0, -206.917_838_509_427_85),
            (-30.0, -457.724_653_760_798),
            (-100.0, -5_010.129_578_800_25),
        ];
        for (u, expected) in known {
            assert!((log_h(u) - expected).abs() < 1e-9 * expected.abs(), "{u}: {} {expected}", log_h(u));
        }
    }
}
