//! IEEE half precision: ten bits of fraction, but exponents from −14 to 15 only.
//!
//! Conversions take no branch and ask no processor what it has, so that they vectorise in the loops they
//! stand in (the ways of Giesen, "Half to float done quick", 2010).
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use candle_core::CpuStorage;
use half::{bf16, f16};

use super::Element;

/// Bits of an f32's fraction that an f16 has not.
const SHIFT: u32 = 13;
/// Bits of an f32's fraction.
const FRACTION: u32 = 23;
/// From the exponent of an f16 to that of an f32 of the same value.
const REBIAS: u32 = (127 - 15) << FRACTION;
/// 2⁻¹⁴ as f32: the smallest f16 that is not subnormal.
const SMALLEST_NORMAL: u32 = (127 - 14) << FRACTION;
/// 2¹⁶ as f32: the smallest power of two that is no f16.
const TOO_LARGE: u32 = (127 + 16) << FRACTION;
/// 0.5 as f32: its last bit is worth 2⁻²⁴, as the last bit of every subnormal f16 is.
const HALF: u32 = (127 - 1) << FRACTION;
/// An infinite f16.
const INFINITE: u32 = 0x7c00;
/// A quiet NaN as f16.
const QUIET: u32 = 0x7e00;

impl Element for f16 {
    const IS_NARROW: bool = false;

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        <bf16 as Element>::narrow(self.widen()).to_bits()
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let magnitude = (bits & 0x7fff) << SHIFT;
        let normal = magnitude + REBIAS;
        // Infinities and NaN have the largest exponent there and here.
        let rest = if magnitude >= INFINITE << SHIFT { normal + REBIAS } else { normal };
        // A subnormal is the fraction of 2⁻¹⁴ + itself. Made so, no operand is a subnormal f32, for which
        // some processors stop.
        let above = f32::from_bits(magnitude + SMALLEST_NORMAL);
        let subnormal = (above - f32::from_bits(SMALLEST_NORMAL)).to_bits();
        let value = if magnitude < 1 << FRACTION { subnormal } else { rest };
        f32::from_bits(value | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        // Each way rounds to nearest, ties to even.
        let magnitude = value.abs().to_bits();
        let odd = (magnitude >> SHIFT) & 1;
        let normal = magnitude.wrapping_sub(REBIAS).wrapping_add(0xfff + odd) >> SHIFT;
        // Added to 0.5, a small value is rounded to multiples of 2⁻²⁴ by the addition itself.
        let subnormal = (value.abs() + f32::from_bits(HALF)).to_bits().wrapping_sub(HALF);
        let finite = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
        let special = if value.is_nan() { QUIET } else { INFINITE };
        let bits = if magnitude >= TOO_LARGE { special } else { finite };
        #[expect(clippy::cast_possible_truncation, reason = "every way ends below 2^15, the sign above it")]
        Self::from_bits((bits | (value.to_bits() & 0x8000_0000) >> 16) as u16)
    }

    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F16(values) = storage { Some(values) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_value_is_widened_exactly_alone_and_in_a_loop() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut wide = vec![0.0; all.len()];
        f16::widen_into(&mut wide, &all);
        for (value, wide) in all.iter().zip(wide) {
            assert_eq!(value.widen().to_bits(), wide.to_bits());
            let theirs = value.to_f32();
            assert!(wide.to_bits() == theirs.to_bits() || (wide.is_nan() && theirs.is_nan()), "{value:?}");
        }
    }

    #[track_caller]
    fn assert_narrowed(value: f32) {
        let (ours, theirs) = (<f16 as Element>::narrow(value), f16::from_f32(value));
        assert!(
            ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
            "{value:e}: {ours:e}"
        );
        let mut many = [f16::ZERO; 37];
        f16::narrow_into(&mut many, &[value; 37]);
        assert!(many.iter().all(|one| one.to_bits() == ours.to_bits()), "{value:e}");
    }

    /// The halfway points and their neighbors: where rounding is decided.
    #[test]
    fn between_two_neighbors_the_nearer_is_taken_and_of_two_equally_near_the_even_one() {
        for bits in 0..f16::INFINITY.to_bits() {
            let [low, high] = [bits, bits + 1].map(|bits| f64::from(f16::from_bits(bits).to_f32()));
            let high = if high.is_infinite() { 65536.0 } else { high };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "exact: a halfway point has one bit more than f16"
            )]
            let halfway = f64::midpoint(low, high) as f32;
            for value in [halfway, halfway.next_down(), halfway.next_up()] {
                assert_narrowed(value);
                assert_narrowed(-value);
            }
        }
    }

    proptest! {
        #[test]
        fn narrowing_rounds_as_the_half_crate_does(bits: u32) {
            assert_narrowed(f32::from_bits(bits));
        }

        #[test]
        fn what_bfloat16_pairs_are_made_of_is_the_nearest_bfloat16(bits: u16) {
            let value = f16::from_bits(bits);
            let right = bf16::from_f32(value.to_f32());
            prop_assert!(value.bf16_bits() == right.to_bits() || right.is_nan());
        }
    }
}
