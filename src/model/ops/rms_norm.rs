//! Root-mean-square norm. Shapes: x, y [n, d], w [d].

use candle_core::{D, DType, Result, Tensor};

use super::storage::{add_to, for_element, mutate, read};
use crate::model::kernels;

/// y = x · w / sqrt(mean(x²) + ε).
pub(crate) fn rms_norm(x: &Tensor, w: &Tensor, epsilon: f32) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed(x, w, epsilon);
    }
    for_element!(x.dtype(), T => {
        let y = read::<T, _>(x, |x| read(w, |w| Ok(kernels::rms_norm(x, w, epsilon))))?;
        Tensor::from_vec(y, x.shape(), x.device())
    })
}

/// dx; the gradient of the weight is added to `dw`.
pub(crate) fn rms_norm_backward(
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    epsilon: f32,
    dw: &Tensor,
) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed_backward(dy, x, w, epsilon, dw);
    }
    for_element!(x.dtype(), T => {
        let mut dx = Vec::new();
        read::<T, _>(x, |x| read::<T, _>(dy, |dy| read(w, |w| mutate(dw, |dw| {
            dx = kernels::rms_norm_backward(dw, x, w, dy, epsilon);
            Ok(())
        }))))?;
        Tensor::from_vec(dx, x.shape(), x.device())
    })
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
    dw: &Tensor,
) -> Result<Tensor> {
    let (wide, dy) = (x.to_dtype(DType::F32)?, dy.to_dtype(DType::F32)?);
    let r = inverse_rms(&wide, epsilon)?;
    add_to(dw, &(&dy * wide.broadcast_mul(&r)?)?.sum(0)?)?;
    let scaled = dy.broadcast_mul(w)?;
    let projection = (&scaled * &wide)?.mean_keepdim(D::Minus1)?;
    let scale = (projection * r.powf(3.0)?)?;
    (scaled.broadcast_mul(&r)? - wide.broadcast_mul(&scale)?)?.to_dtype(x.dtype())
}
