//! f32: the format of arithmetic itself.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use candle_core::CpuStorage;
use half::bf16;

use super::Element;

impl Element for f32 {
    /// No conversion, so one pass takes all.
    const ROWS_PER_PASS: usize = usize::MAX;
    const IS_NARROW: bool = false;

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        <bf16 as Element>::narrow(self).to_bits()
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }

    fn from_wide(make: impl FnOnce() -> Vec<f32>) -> Option<Vec<Self>> {
        Some(make())
    }

    fn wide(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn wide_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }

    fn widen_into(out: &mut [f32], values: &[Self]) {
        out.copy_from_slice(values);
    }

    fn narrow_into(out: &mut [Self], values: &[f32]) {
        out.copy_from_slice(values);
    }

    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F32(values) = storage { Some(values) } else { None }
    }
}
