//! How an activation is kept in memory.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use std::borrow::Cow;

use candle_core::WithDType;
use half::bf16;

/// A number format of activations; arithmetic is always f32.
pub(crate) trait Element: WithDType + Default {
    /// Rows converted to f32 at once around a matrix product. Bounds the scratch memory of a
    /// narrow format; f32 needs none, so one pass takes all rows.
    const ROWS_PER_PASS: usize;

    /// Whether products of this format may be taken in bfloat16 pairs.
    const IS_NARROW: bool;

    /// The value as f32.
    fn widen(self) -> f32;

    /// The bits of the nearest bfloat16.
    fn bf16_bits(self) -> u16;

    /// The nearest value of this format.
    fn narrow(value: f32) -> Self;

    /// The slice itself where it is f32.
    fn as_wide(values: &mut [Self]) -> Option<&mut [f32]>;

    /// The slice as f32, borrowed where it already is.
    fn widen_all(values: &[Self]) -> Cow<'_, [f32]>;

    /// Lets `fill` write f32 values into `out`: in place where the formats agree, else by way of
    /// a scratch buffer.
    fn fill(out: &mut [Self], fill: impl FnOnce(&mut [f32]));
}

impl Element for f32 {
    const ROWS_PER_PASS: usize = usize::MAX;
    const IS_NARROW: bool = false;

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        <bf16 as Element>::narrow(self).to_bits()
    }

    #[inline]
    fn widen(self) -> f32 {
        self
    }

    #[inline]
    fn narrow(value: f32) -> Self {
        value
    }

    fn as_wide(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }

    fn widen_all(values: &[Self]) -> Cow<'_, [f32]> {
        Cow::Borrowed(values)
    }

    fn fill(out: &mut [Self], fill: impl FnOnce(&mut [f32])) {
        fill(out);
    }
}

impl Element for bf16 {
    const ROWS_PER_PASS: usize = 512;
    const IS_NARROW: bool = true;

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        self.to_bits()
    }

    #[inline]
    fn widen(self) -> f32 {
        // bfloat16 is the upper half of an f32; written out so that loops vectorise.
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline]
    fn narrow(value: f32) -> Self {
        // Round to nearest, ties to even. A NaN keeps its upper bits with the quiet bit set.
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        let upper = if value.is_nan() { quiet } else { rounded };
        #[expect(clippy::cast_possible_truncation, reason = "shifted down to 16 bits")]
        Self::from_bits(upper as u16)
    }

    fn as_wide(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn widen_all(values: &[Self]) -> Cow<'_, [f32]> {
        Cow::Owned(values.iter().map(|value| value.widen()).collect())
    }

    fn fill(out: &mut [Self], fill: impl FnOnce(&mut [f32])) {
        let mut wide = vec![0.0; out.len()];
        fill(&mut wide);
        for (narrow, wide) in out.iter_mut().zip(wide) {
            *narrow = Self::narrow(wide);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn narrowing_rounds_as_the_half_crate_does(bits: u32) {
            let value = f32::from_bits(bits);
            let (ours, theirs) = (<bf16 as Element>::narrow(value), bf16::from_f32(value));
            prop_assert!(ours == theirs || (ours.is_nan() && theirs.is_nan()));
            prop_assert!(ours.widen().to_bits() == theirs.to_f32().to_bits() || ours.is_nan());
        }
    }
}
