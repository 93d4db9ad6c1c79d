//! An exponential the compiler can vectorise.

/// e^x with a relative error below 2e-7 for x in [-87, 88]; clamped outside.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by a Taylor polynomial of degree 6 (the remainder is
/// below r⁷/5040 ≈ 1.2e-7); 2ⁿ by the exponent bits.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5·2²³ rounds to an integer without a library call.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first exact in few bits (Cody and Waite).
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + coefficient;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "n lies in [-126, 127]")]
    let power = f32::from_bits(((n as i32 + 127) << 23) as u32);
    p * power
}

/// 1 / (1 + e^-x).
#[inline]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_float_precision() {
        for i in -8_700..8_800_i16 {
            let x = f32::from(i) / 100.0;
            let relative = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
            assert!(relative < 2.5e-7, "exp({x}) is off by {relative:e}");
        }
        assert!(exp(-1000.0) < 1e-37 && exp(1000.0).is_finite());
    }
}
