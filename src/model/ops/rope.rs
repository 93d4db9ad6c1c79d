//! Rotary position embedding. Shapes: x [n, heads·k], tables [positions, w/2], where
//! the first w values of a head are turned.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::storage::{for_element, has_kernels, mutate, read};
use crate::arch::Rope;
use crate::model::kernels::{self, Rotation};

/// Cosines and sines of every position of a pass and every frequency.
pub(crate) struct RopeTable {
    cos: Tensor,
    sin: Tensor,
    k: usize,
    half: usize,
}

impl RopeTable {
    /// For the rows that `positions` speaks of, and heads of width `k`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "angles are computed in f64 and kept in f32"
    )]
    pub(crate) fn new(rope: &Rope, k: usize, positions: &Positions, device: &Device) -> Result<Self> {
        let half = rope.frequencies.len();
        let angles = |count: usize, frequencies: &[f64]| -> Vec<f64> {
            let row = |position| frequencies.iter().map(move |frequency| position as f64 * frequency);
            (0..count).flat_map(row).collect()
        };
        let mut all = angles(positions.short, &rope.frequencies);
        if let Some((_, frequencies)) = &rope.long {
            all.extend(angles(positions.long, frequencies));
        }
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = all.iter().map(|angle| (f(*angle) * rope.factor) as f32).collect();
            Tensor::from_vec(values, (all.len() / half, half), device)
        };
        Ok(Self { cos: table(f64::cos)?, sin: table(f64::sin)?, k, half })
    }
}

/// The position of each row in its sequence, as a row of a [`RopeTable`].
pub(crate) struct Positions {
    values: Vec<u32>,
    /// The same on a device without kernels.
    tensor: Option<Tensor>,
    /// Length of the longest sequence, and of the longest of those that have rows of their own, which
    /// lie behind the others.
    short: usize,
    long: usize,
}

impl Positions {
    /// Of the rows of `sequences`, which follow one another. Those longer than `long_from` take other
    /// frequencies; which a sequence takes does not depend on its neighbors.
    pub(crate) fn new(sequences: &[Range<usize>], long_from: Option<usize>, device: &Device) -> Result<Self> {
        let is_long = |sequence: &Range<usize>| long_from.is_some_and(|from| sequence.len() > from);
        let longest = |long| {
            let lengths = sequences.iter().filter(|sequence| is_long(sequence) == long).map(Range::len);
            lengths.max().unwrap_or(0)
        };
        let (short, long) = (longest(false), longest(true));
        let count = sequences.iter().map(Range::len).sum();
        let mut values = Vec::with_capacity(count);
        for sequence in sequences {
            #[expect(clippy::cast_possible_truncation, reason = "rows are numbered by u32")]
            let first = if is_long(sequence) { short as u32 } else { 0 };
            values.extend((first..).take(sequence.len()));
        }
        let tensor = if has_kernels(device) { None } else { Some(Tensor::new(values.as_slice(), device)?) };
        Ok(Self { values, tensor, short, long })
    }

    fn tensor(&self, device: &Device) -> Result<Tensor> {
        self.tensor.clone().map_or_else(|| Tensor::new(self.values.as_slice(), device), Ok)
    }
}

/// Rotates each head by its position; `sign` −1 is the inverse and gradient.
///
/// On the CPU the storage of `x` itself is rotated: nobody else may hold it.
pub(crate) fn rope(x: Tensor, table: &RopeTable, positions: &Positions, sign: f32) -> Result<Tensor> {
    if !has_kernels(x.device()) {
        return composed(&x, table, positions, sign);
    }
    let (width, k, half) = (x.dim(1)?, table.k, table.half);
    for_element!(x.dtype(), T => read(&table.cos, |cos| read(&table.sin, |sin| mutate::<T>(&x, |x| {
        kernels::rope(x, width, Rotation { cos, sin, positions: &positions.values, k, half, sign });
        Ok(())
    }))))?;
    Ok(x)
}

pub(super) fn composed(x: &Tensor, table: &RopeTable, positions: &Positions, sign: f32) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let (k, half) = (table.k, table.half);
    let wide = x.to_dtype(DType::F32)?.reshape((n, width / k, k))?;
    let positions = positions.tensor(x.device())?;
    let rows = |table: &Tensor| table.index_select(&positions, 0)?.unsqueeze(1);
    let (cos, sin) = (rows(&table.cos)?, (rows(&table.sin)? * f64::from(sign))?);
    let (a, b) = (wide.narrow(2, 0, half)?, wide.narrow(2, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let rest = wide.narrow(2, 2 * half, k - 2 * half)?;
    Tensor::cat(&[first, second, rest], D::Minus1)?.reshape((n, width))?.to_dtype(x.dtype())
}
