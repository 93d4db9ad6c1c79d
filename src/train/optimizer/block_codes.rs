//! What the 8-bit codes of a block of moments mean, and how a value becomes a code.
//!
//! A block of 256 values keeps its largest magnitude in f32, and each value as a share of it
//! (Dettmers et al. 2022): a first moment is ± largest · (k/127)⁴, a second one largest · (k/255)⁴. So
//! codes lie closer together near zero, where most values are, and shares down to 4·10⁻⁹ and 2·10⁻¹⁰
//! are told from zero. Fourth powers and roots are operations every processor and tensor library has.
//!
//! The powers were measured, by how far updates m/√v are from those by f32 moments (norm of the
//! difference over norm; in brackets the largest difference of one value, in learning rates): of
//! SmolLM2-135M after 20 steps, and of the quickstart model after 60.
//!
//! | powers of m, v | `SmolLM2` | quickstart |
//! |---|---|---|
//! | 1, 2 | 21.5 % (1.38) | 3.0 % (0.11) |
//! | 2, 2 | 10.7 % (0.61) | 2.5 % (0.11) |
//! | 2, 4 | 6.5 % (0.48) | 2.5 % (0.06) |
//! | **4, 4** | 5.7 % (0.30) | 3.2 % (0.07) |
//! | 4, 8 | 5.3 % (0.17) | 3.6 % (0.07) |
//! | 2, 8 | 6.9 % (1.78) | 3.1 % (0.07) |
//!
//! Rounded to the nearest code, a moment that decays by less than half a code would stand still: at
//! β₂ = 0.99 each second moment below a third of the largest, once its gradients cease. So a value
//! between two codes becomes the upper one in as many of 256 cases as it is on the way there, by a
//! threshold that differs from place to place and from step to step. The mean is then right, no
//! generator is needed, and a value that is a code stays that code.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use candle_core::{DType, Result, Tensor};

/// Values that share one largest magnitude.
pub(super) use crate::memory::kernels::MOMENT_BLOCK as BLOCK;
/// The code of a first moment that is zero.
pub(super) const ZERO: u8 = 128;
/// Largest k of a first moment.
const SIGNED: f32 = 127.0;
/// Largest k of a second moment.
const UNSIGNED: f32 = 255.0;

/// From which share of the way to the next code on a value is rounded up, for each place of a block.
pub(super) struct Thresholds {
    pub(super) first: [f32; BLOCK],
    pub(super) second: [f32; BLOCK],
}

impl Thresholds {
    /// Those of optimizer step `step`: a function of it, so a resumed run has the same.
    pub(super) fn at(step: usize) -> Self {
        let bits = |place| mixed((step * BLOCK + place) as u64);
        Self {
            first: std::array::from_fn(|place| threshold(bits(place) & 0xff)),
            second: std::array::from_fn(|place| threshold(bits(place) >> 8 & 0xff)),
        }
    }
}

/// Never 0 nor 1: a value that is a code, but for its rounding in f32, stays that code.
#[expect(clippy::cast_precision_loss, reason = "below 256")]
fn threshold(byte: u64) -> f32 {
    (byte as f32 + 0.5) / 256.0
}

/// Bits that depend on all bits of `x` (the finalizer of `SplitMix64`, Steele et al. 2014).
///
/// A plain rotation would not do: what is rounded depends on how it was rounded a step before.
const fn mixed(x: u64) -> u64 {
    let x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 1 / largest; finite where a block is zero.
#[inline(always)]
pub(super) fn inverse(largest: f32) -> f32 {
    1.0 / largest.max(f32::MIN_POSITIVE)
}

/// The first moment a code stands for.
#[inline(always)]
pub(super) fn first_value(code: u8, largest: f32) -> f32 {
    let k = (f32::from(code) - f32::from(ZERO)) * (1.0 / SIGNED);
    let square = k * k.abs();
    square * square.abs() * largest
}

/// The second moment a code stands for.
#[inline(always)]
pub(super) fn second_value(code: u8, largest: f32) -> f32 {
    let k = f32::from(code) * (1.0 / UNSIGNED);
    let square = k * k;
    square * square * largest
}

/// The code of a first moment; `inverse` is that of the block's largest magnitude.
#[inline(always)]
pub(super) fn first_code(value: f32, inverse: f32, threshold: f32) -> u8 {
    whole(f32::from(ZERO) + level(value.abs() * inverse, SIGNED, threshold).copysign(value))
}

/// The code of a second moment: never that of zero where it is not, or its update would explode.
#[inline(always)]
pub(super) fn second_code(value: f32, inverse: f32, threshold: f32) -> u8 {
    whole(level(value * inverse, UNSIGNED, threshold)).max(u8::from(value > 0.0))
}

/// The k of a share of the largest magnitude, whose k is `top`.
#[inline(always)]
fn level(share: f32, top: f32, threshold: f32) -> f32 {
    let root = share.sqrt() * (top * top);
    let k = root.sqrt().floor();
    let (square, next) = (k * k, (k + 1.0) * (k + 1.0));
    let (low, high) = (square * square, next * next);
    let is_beyond = root * root - low > threshold * (high - low);
    if is_beyond { k + 1.0 } else { k }
}

/// A whole number between 0 and 255 as a byte, in a way that vectorises.
#[inline(always)]
fn whole(value: f32) -> u8 {
    // From here on f32 has no fraction, and the lowest byte of its bits is that of the number.
    const NO_FRACTION: f32 = 8_388_608.0;
    (value + NO_FRACTION).to_bits().to_le_bytes()[0]
}

/// [`first_value`] of whole blocks. Shapes: codes [blocks, 256], largest [blocks].
pub(super) fn first_values(codes: &Tensor, largest: &Tensor) -> Result<Tensor> {
    let k = ((codes.to_dtype(DType::F32)? - f64::from(ZERO))? * f64::from(1.0 / SIGNED))?;
    let square = (&k * k.abs()?)?;
    (&square * square.abs()?)?.broadcast_mul(&largest.unsqueeze(1)?)
}

/// [`second_value`] of whole blocks. Shapes: codes [blocks, 256], largest [blocks].
pub(super) fn second_values(codes: &Tensor, largest: &Tensor) -> Result<Tensor> {
    let k = (codes.to_dtype(DType::F32)? * f64::from(1.0 / UNSIGNED))?;
    k.sqr()?.sqr()?.broadcast_mul(&largest.unsqueeze(1)?)
}

/// [`first_code`] of whole blocks. Shapes: values [blocks, 256], largest [blocks].
pub(super) fn first_codes(values: &Tensor, largest: &Tensor, thresholds: &[f32; BLOCK]) -> Result<Tensor> {
    let k = levels(&values.abs()?, largest, SIGNED, thresholds)?;
    ((k * values.sign()?)? + f64::from(ZERO))?.to_dtype(DType::U8)
}

/// [`second_code`] of whole blocks. Shapes: values [blocks, 256], largest [blocks].
pub(super) fn second_codes(values: &Tensor, largest: &Tensor, thresholds: &[f32; BLOCK]) -> Result<Tensor> {
    let k = levels(values, largest, UNSIGNED, thresholds)?;
    k.maximum(&values.gt(0.0)?.to_dtype(DType::F32)?)?.to_dtype(DType::U8)
}

/// [`level`] of whole blocks.
fn levels(magnitudes: &Tensor, largest: &Tensor, top: f32, thresholds: &[f32; BLOCK]) -> Result<Tensor> {
    let inverse = largest.maximum(f64::from(f32::MIN_POSITIVE))?.recip()?;
    let root = (magnitudes.broadcast_mul(&inverse.unsqueeze(1)?)?.sqrt()? * f64::from(top * top))?;
    let k = root.sqrt()?.floor()?;
    let (low, high) = (k.sqr()?.sqr()?, (&k + 1.0)?.sqr()?.sqr()?);
    let thresholds = Tensor::from_slice(thresholds, (1, BLOCK), k.device())?;
    let (excess, step) = ((root.sqr()? - &low)?, (high - low)?);
    k + excess.gt(&step.broadcast_mul(&thresholds)?)?.to_dtype(DType::F32)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_code_that_is_decoded_and_encoded_again_is_the_same_in_every_step() {
        for step in [1, 2, 77, 256, 1000] {
            let thresholds = Thresholds::at(step);
            for largest in [1e-20, 3.7e-12, 1.0, 6.02e23] {
                for (place, code) in (0..BLOCK).flat_map(|place| (0..=u8::MAX).map(move |code| (place, code)))
                {
                    let (first, second) = (thresholds.first[place], thresholds.second[place]);
                    let again = second_code(second_value(code, largest), inverse(largest), second);
                    assert_eq!(again, code, "second moment, {largest}, step {step}");
                    if code > 0 {
                        let again = first_code(first_value(code, largest), inverse(largest), first);
                        assert_eq!(again, code, "first moment, {largest}, step {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_block_of_zeros_has_the_codes_of_zero() {
        assert_eq!(first_code(0.0, inverse(0.0), 0.01), ZERO);
        assert_eq!(first_code(-0.0, inverse(0.0), 0.99), ZERO);
        assert_eq!(second_code(0.0, inverse(0.0), 0.01), 0);
        assert!(first_value(ZERO, 1.0) == 0.0 && second_value(0, 1.0) == 0.0);
    }

    #[test]
    fn a_second_moment_that_is_not_zero_never_becomes_zero() {
        for value in [1e-44, 1e-30, 1e-12, 0.9] {
            assert!(second_code(value, inverse(1.0), 0.99) >= 1, "{value}");
        }
    }

    /// Beside a moment that stays the largest; rounded to the nearest code each would stand still.
    #[test]
    fn moments_without_gradients_decay_as_they_would_in_f32() {
        let (first, second) = (0.004, 0.3);
        let mut firsts = [first_code(first, 1.0, 0.5); BLOCK];
        let mut seconds = [second_code(second, 1.0, 0.5); BLOCK];
        for step in 1..=100 {
            let thresholds = Thresholds::at(step);
            for place in 0..BLOCK {
                let (code, threshold) = (&mut firsts[place], thresholds.first[place]);
                *code = first_code(0.98 * first_value(*code, 1.0), 1.0, threshold);
                let (code, threshold) = (&mut seconds[place], thresholds.second[place]);
                *code = second_code(0.98 * second_value(*code, 1.0), 1.0, threshold);
            }
        }
        let mean = |values: &mut dyn Iterator<Item = f32>| values.sum::<f32>() / 256.0 / 0.98_f32.powi(100);
        let decayed_first = mean(&mut firsts.iter().map(|code| first_value(*code, 1.0))) / first;
        let decayed_second = mean(&mut seconds.iter().map(|code| second_value(*code, 1.0))) / second;
        assert!(
            (decayed_first - 1.0).abs() < 0.1 && (decayed_second - 1.0).abs() < 0.1,
            "{decayed_first} {decayed_second}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(64)))]

        /// A code is off by less than one.
        #[test]
        fn a_decoded_value_is_near_the_one_encoded(share in 1e-4..1.0_f32, step in 1..600_usize, place in 0..BLOCK) {
            let thresholds = Thresholds::at(step);
            let largest = 3e-5;
            let value = share * largest;
            let first = first_value(first_code(-value, inverse(largest), thresholds.first[place]), largest);
            let second = second_value(second_code(value, inverse(largest), thresholds.second[place]), largest);
            for (decoded, top) in [(-first, 127.0), (second, 255.0)] {
                let k = top * share.sqrt().sqrt();
                prop_assert!((decoded / value - 1.0).abs() <= (1.0 + 1.0 / k).powi(4) - 1.0 + 1e-5);
            }
        }
    }
}
