//! Root-mean-square norm. Shapes: x, y [n, d], w [d].

use candle_core::{D, DType, Result, Tensor};

use super::compose::add_to;
use super::storage::{for_element, has_kernels, mutate, mutate_wanted, read};
use crate::model::kernels;

/// y = x · w / sqrt(mean(x²) + ε).
pub(crate) fn rms_norm(x: &Tensor, w: &Tensor, epsilon: f32) -> Result<Tensor> {
    if !has_kernels(x.device()) {
        return composed(x, w, epsilon);
    }
    for_element!(x.dtype(), T => {
        let y = read::<T, _>(x, |x| read(w, |w| Ok(kernels::rms_norm(x, w, epsilon))))?;
        Tensor::from_vec(y, x.shape(), x.device())
    })
}

/// `residual` + dx; the gradient of the weight is added to `dw`, where it is wanted.
///
/// On the CPU the storage of `residual` itself is added to: nobody else may hold it.
pub(crate) fn rms_norm_backward(
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    epsilon: f32,
    dw: Option<&Tensor>,
    residual: Tensor,
) -> Result<Tensor> {
    if !has_kernels(x.device()) {
        return composed_backward(dy, x, w, epsilon, dw, &residual);
    }
    for_element!(x.dtype(), T => read::<T, _>(x, |x| read(dy, |dy| read(w, |w| {
        mutate(&residual, |residual| mutate_wanted(dw, |dw| {
            kernels::rms_norm_backward(residual, dw, (x, dy), w, epsilon);
            Ok(())
        }))
    }))))?;
    Ok(residual)
}

fn inverse_rms(x: &Tensor, epsilon: f32) -> Result<Tensor> {
    (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?.recip()
}

pub(super) fn composed(x: &Tensor, w: &Tensor, epsilon: f32) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let normal = wide.broadcast_mul(&inverse_rms(&wide, epsilon)?)?;
    normal.broadcast_mul(w)?.to_dtype(x.dtype())
}

pub(super) fn composed_backward(
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    epsilon: f32,
    dw: Option<&Tensor>,
    residual: &Tensor,
) -> Result<Tensor> {
    let (wide, dy) = (x.to_dtype(DType::F32)?, dy.to_dtype(DType::F32)?);
    let r = inverse_rms(&wide, epsilon)?;
    if let Some(dw) = dw {
        add_to(dw, &(&dy * wide.broadcast_mul(&r)?)?.sum(0)?)?;
    }
    let scaled = dy.broadcast_mul(w)?;
    let projection = (&scaled * &wide)?.mean_keepdim(D::Minus1)?;
    let scale = (projection * r.powf(3.0)?)?;
    let dx = (scaled.broadcast_mul(&r)? - wide.broadcast_mul(&scale)?)?;
    (residual.to_dtype(DType::F32)? + dx)?.to_dtype(x.dtype())
}
