//! How an activation is kept in memory.

mod bfloat;
mod half_precision;
mod single;

use candle_core::{CpuStorage, WithDType};

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

    /// What `make` makes, where the format is f32.
    fn from_wide(make: impl FnOnce() -> Vec<f32>) -> Option<Vec<Self>>;

    /// The slice itself where it is f32.
    fn wide(values: &[Self]) -> Option<&[f32]>;

    /// The same, to be changed.
    fn wide_mut(values: &mut [Self]) -> Option<&mut [f32]>;

    /// Writes the values as f32.
    fn widen_into(out: &mut [f32], values: &[Self]);

    /// Writes the nearest values of this format.
    fn narrow_into(out: &mut [Self], values: &[f32]);

    /// The values of a CPU tensor of this format.
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}
