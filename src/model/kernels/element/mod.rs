//! How an activation is kept in memory.

mod bfloat;
mod half_precision;
mod single;

use candle_core::{CpuStorage, WithDType};
use multiversion::multiversion;

use crate::memory::kernels::ROWS_PER_PASS;

/// A number format of activations; arithmetic is always f32.
pub(crate) trait Element: WithDType + Default {
    /// Rows converted to f32 at once around a matrix product: bounds the scratch memory of a format that
    /// is not f32.
    const ROWS_PER_PASS: usize = ROWS_PER_PASS;

    /// Whether products of this format may be taken in bfloat16 pairs.
    const IS_NARROW: bool;

    /// The value as f32.
    fn widen(self) -> f32;

    /// The bits of the nearest bfloat16.
    fn bf16_bits(self) -> u16;

    /// The nearest value of this format.
    fn narrow(value: f32) -> Self;

    /// What `make` makes, where the format is f32.
    fn from_wide(_make: impl FnOnce() -> Vec<f32>) -> Option<Vec<Self>> {
        None
    }

    /// The slice itself where it is f32.
    fn wide(_values: &[Self]) -> Option<&[f32]> {
        None
    }

    /// The same, to be changed.
    fn wide_mut(_values: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    /// Writes the values as f32.
    fn widen_into(out: &mut [f32], values: &[Self]) {
        widen(out, values);
    }

    /// Writes the nearest values of this format.
    fn narrow_into(out: &mut [Self], values: &[f32]) {
        narrow(out, values);
    }

    /// The values of a CPU tensor of this format.
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn widen<T: Element>(out: &mut [f32], values: &[T]) {
    for (wide, value) in out.iter_mut().zip(values) {
        *wide = value.widen();
    }
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn narrow<T: Element>(out: &mut [T], values: &[f32]) {
    for (narrow, value) in out.iter_mut().zip(values) {
        *narrow = T::narrow(*value);
    }
}
