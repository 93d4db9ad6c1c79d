//! An exponential the compiler can vectorise.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

/// e^x with a relative error below 2.5e-7 for x in [-87, 88]; clamped outside, NaN stays NaN.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by a polynomial; 2ⁿ by the exponent bits. `FMA` says
/// that the processor fuses a product and a sum: without that instruction it is a slow library call.
#[inline(always)]
pub(super) fn exp_with<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5·2²³ leaves x/ln 2, rounded to an integer, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first exact in few bits (Cody and Waite).
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // 1 + r + r²·q(r) with the least largest relative error for |r| ≤ ln 2 / 2, found by reweighted
    // least squares: 1.1e-7, below the 1.2e-7 of a Taylor polynomial of one degree more.
    const P: [f32; 5] = [4.189_033e-2, 0.166_671_16, 0.499_992_3, 1.0, 1.0];
    let multiply_add = |a: f32, b: f32, c: f32| if FMA { a.mul_add(b, c) } else { a * b + c };
    let x = x.clamp(-87.0, 88.0);
    let shifted = multiply_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add(n, -LN2_LOW, multiply_add(n, -LN2_HIGH, x));
    let mut p = 8.312_501e-3;
    for coefficient in P {
        p = multiply_add(p, r, coefficient);
    }
    // The bits of ROUND above the lowest nine are shifted out; those are n, moved by the bias.
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp_with::<FMA>(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bits between two floats are walked in steps of a prime, so that all binades are met.
    #[test]
    fn the_exponential_is_right_to_float_precision() {
        let check = |x: f32| {
            for ours in [exp_with::<false>(x), exp_with::<true>(x)] {
                let relative = (f64::from(ours) / f64::from(x).exp() - 1.0).abs();
                assert!(relative < 2.5e-7, "exp({x}) is off by {relative:e}");
            }
        };
        for bits in (0..88.0_f32.to_bits()).step_by(1009) {
            check(f32::from_bits(bits));
            check(-f32::from_bits(bits).min(87.0));
        }
    }

    #[test]
    fn the_ends_are_clamped_and_what_is_no_number_stays_so() {
        assert!(exp_with::<false>(-1000.0) < 1e-37 && exp_with::<false>(f32::NEG_INFINITY) > 0.0);
        assert!(exp_with::<false>(1000.0) > 1e38 && exp_with::<false>(f32::INFINITY).is_finite());
        assert!(exp_with::<false>(f32::NAN).is_nan() && sigmoid::<true>(f32::NAN).is_nan());
        assert_eq!(exp_with::<false>(0.0).to_bits(), 1.0_f32.to_bits());
    }
}
