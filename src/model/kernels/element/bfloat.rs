//! bfloat16: the upper half of an f32.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use candle_core::CpuStorage;
use half::bf16;

use super::Element;

impl Element for bf16 {
    const IS_NARROW: bool = true;

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        self.to_bits()
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        // bfloat16 is the upper half of an f32; written out so that loops vectorise.
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        // Round to nearest, ties to even. A NaN keeps its upper bits with the quiet bit set.
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        let upper = if value.is_nan() { quiet } else { rounded };
        #[expect(clippy::cast_possible_truncation, reason = "shifted down to 16 bits")]
        Self::from_bits(upper as u16)
    }

    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::BF16(values) = storage { Some(values) } else { None }
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
