//! Rotary position embedding. Shapes: x [n, heads·k], tables [positions, k/2].

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::storage::{for_element, has_kernels, mutate, read};
use crate::model::kernels::{self, Rotation};

/// Cosines and sines of every position and frequency.
pub(crate) struct RopeTable {
    cos: Tensor,
    sin: Tensor,
    k: usize,
}

impl RopeTable {
    /// Frequencies θ^(−2i/k) (Su et al. 2021, eq. 15) for positions below `positions`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "angles are computed in f64 and kept in f32"
    )]
    pub(crate) fn new(theta: f64, k: usize, positions: usize, device: &Device) -> Result<Self> {
        let angles: Vec<f64> = (0..positions)
            .flat_map(|p| (0..k / 2).map(move |i| p as f64 * theta.powf(-2.0 * i as f64 / k as f64)))
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_vec(values, (positions, k / 2), device)
        };
        Ok(Self { cos: table(f64::cos)?, sin: table(f64::sin)?, k })
    }
}

/// The position of each row in its sequence.
pub(crate) struct Positions {
    values: Vec<u32>,
    /// The same on a device without kernels.
    tensor: Option<Tensor>,
}

impl Positions {
    /// Of the rows of `sequences`, which follow one another.
    pub(crate) fn new(sequences: &[Range<usize>], device: &Device) -> Result<Self> {
        let count = sequences.iter().map(ExactSizeIterator::len).sum();
        let mut values = Vec::with_capacity(count);
        for sequence in sequences {
            values.extend((0_u32..).take(sequence.len()));
        }
        let tensor = if has_kernels(device) { None } else { Some(Tensor::new(values.as_slice(), device)?) };
        Ok(Self { values, tensor })
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
    let width = x.dim(1)?;
    for_element!(x.dtype(), T => read(&table.cos, |cos| read(&table.sin, |sin| mutate::<T>(&x, |x| {
        kernels::rope(x, width, Rotation { cos, sin, positions: &positions.values, k: table.k, sign });
        Ok(())
    }))))?;
    Ok(x)
}

pub(super) fn composed(x: &Tensor, table: &RopeTable, positions: &Positions, sign: f32) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let half = table.k / 2;
    let wide = x.to_dtype(DType::F32)?.reshape((n, width / table.k, table.k))?;
    let positions = positions.tensor(x.device())?;
    let rows = |table: &Tensor| table.index_select(&positions, 0)?.unsqueeze(1);
    let (cos, sin) = (rows(&table.cos)?, (rows(&table.sin)? * f64::from(sign))?);
    let (a, b) = (wide.narrow(2, 0, half)?, wide.narrow(2, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)?.reshape((n, width))?.to_dtype(x.dtype())
}
