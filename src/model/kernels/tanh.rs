//! A hyperbolic tangent the compiler can vectorise.

use super::exp::exp_with;

/// tanh(x) with a relative error below 5e-7.
///
/// Near zero 1 − 2/(e^2x + 1) would lose what the subtraction takes away, so a polynomial stands there
/// (Cephes' `tanhf`, Moshier 1989). Both are computed, which is what makes it vectorise.
#[inline(always)]
pub(super) fn tanh<const FMA: bool>(x: f32) -> f32 {
    const P: [f32; 4] = [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let size = x.abs();
    let square = x * x;
    let mut p = -5.704_988_7e-3;
    for coefficient in P {
        p = p * square + coefficient;
    }
    let near = x + x * square * p;
    let far = (1.0 - 2.0 / (exp_with::<FMA>(2.0 * size) + 1.0)).copysign(x);
    if size < 0.625 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tangent_is_right_to_float_precision_from_zero_to_its_limits() {
        for bits in (0..100.0_f32.to_bits()).step_by(1009) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                for ours in [tanh::<false>(x), tanh::<true>(x)] {
                    let right = f64::from(x).tanh();
                    let off = (f64::from(ours) - right).abs();
                    assert!(off <= 5e-7 * right.abs() + 1e-40, "tanh({x}) is off by {off:e}");
                }
            }
        }
        assert!(tanh::<false>(f32::NAN).is_nan());
    }
}
