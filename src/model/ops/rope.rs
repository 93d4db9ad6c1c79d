//! Rotary position embedding. Shapes: x [b·t, heads·k], tables [positions, k/2].

use candle_core::{D, DType, Device, Result, Tensor};

use super::storage::{for_element, read};
use crate::model::kernels;

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

/// Rotates each head by its position in a sequence of `t`; `sign` −1 is the inverse and gradient.
pub(crate) fn rope(x: &Tensor, table: &RopeTable, t: usize, sign: f32) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed(x, table, t, sign);
    }
    let width = x.dim(1)?;
    for_element!(x.dtype(), T => {
        let y = read::<T, _>(x, |x| read(&table.cos, |cos| read(&table.sin, |sin| {
            Ok(kernels::rope(x, cos, sin, t, table.k, width, sign))
        })))?;
        Tensor::from_vec(y, x.shape(), x.device())
    })
}

pub(super) fn composed(x: &Tensor, table: &RopeTable, t: usize, sign: f32) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let half = table.k / 2;
    let wide = x.to_dtype(DType::F32)?.reshape((n / t, t, width / table.k, table.k))?;
    let positions = |table: &Tensor| table.narrow(0, 0, t)?.reshape((1, t, 1, half));
    let (cos, sin) = (positions(&table.cos)?, (positions(&table.sin)? * f64::from(sign))?);
    let (a, b) = (wide.narrow(3, 0, half)?, wide.narrow(3, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)?.reshape((n, width))?.to_dtype(x.dtype())
}
