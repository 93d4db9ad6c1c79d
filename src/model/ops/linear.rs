//! y = x·Wᵀ and its gradients. Shapes: x [n, i], W [o, i], y [n, o].
//!
//! The functions named `_onto` add to a tensor in place on the CPU: nobody else may hold it.

use candle_core::{Result, Tensor};

use super::compose::{product_into, scaled};
use super::storage::{for_element, has_kernels, mutate, read};
use crate::model::kernels::{self, Output};

/// y = x·Wᵀ.
pub(crate) fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if !has_kernels(x.device()) {
        return composed(x, w);
    }
    let ((o, i), n) = (w.dims2()?, x.dim(0)?);
    for_element!(x.dtype(), T => for_element!(w.dtype(), W => {
        let y = read::<T, _>(x, |x| read::<W, _>(w, |w| Ok(kernels::linear(x, w, (o, i)))))?;
        Tensor::from_vec(y, (n, o), x.device())
    }))
}

/// y = onto + scale · x·Wᵀ.
pub(crate) fn linear_onto(onto: Tensor, x: &Tensor, w: &Tensor, scale: f32) -> Result<Tensor> {
    if !has_kernels(x.device()) {
        return onto + scaled(composed(x, w)?, scale)?;
    }
    let size = w.dims2()?;
    for_element!(x.dtype(), T => for_element!(w.dtype(), W => read::<T, _>(x, |x| {
        read::<W, _>(w, |w| mutate::<T>(&onto, |onto| {
            kernels::linear_onto(onto, x, w, size, scale);
            Ok(())
        }))
    })))?;
    Ok(onto)
}

/// dx = dy·W.
pub(crate) fn linear_backward_input(dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    if !has_kernels(dy.device()) {
        return composed_backward_input(dy, w);
    }
    let ((o, i), n) = (w.dims2()?, dy.dim(0)?);
    for_element!(dy.dtype(), T => for_element!(w.dtype(), W => {
        let dx = read::<T, _>(dy, |dy| {
            read::<W, _>(w, |w| Ok(kernels::linear_backward_input(dy, w, (o, i))))
        })?;
        Tensor::from_vec(dx, (n, i), dy.device())
    }))
}

/// dx = onto + scale · dy·W.
pub(crate) fn linear_backward_input_onto(
    onto: Tensor,
    dy: &Tensor,
    w: &Tensor,
    scale: f32,
) -> Result<Tensor> {
    if !has_kernels(dy.device()) {
        return onto + scaled(composed_backward_input(dy, w)?, scale)?;
    }
    let size = w.dims2()?;
    for_element!(dy.dtype(), T => for_element!(w.dtype(), W => read::<T, _>(dy, |dy| {
        read::<W, _>(w, |w| mutate::<T>(&onto, |onto| {
            kernels::linear_backward_input_onto(onto, dy, w, size, scale);
            Ok(())
        }))
    })))?;
    Ok(onto)
}

/// dw = scale · dyᵀ·x, or added to what is there.
pub(crate) fn linear_backward_weight(
    dw: &Tensor,
    dy: &Tensor,
    x: &Tensor,
    scale: f32,
    output: Output,
) -> Result<()> {
    if !has_kernels(x.device()) {
        return product_into(dw, dy, x, scale, output);
    }
    let size = dw.dims2()?;
    for_element!(x.dtype(), T => read::<T, _>(dy, |dy| read::<T, _>(x, |x| mutate::<f32>(dw, |dw| {
        kernels::linear_backward_weight(dw, dy, x, size, scale, output);
        Ok(())
    }))))
}

pub(super) fn composed(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.matmul(&w.to_dtype(x.dtype())?.t()?)
}

pub(super) fn composed_backward_input(dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    dy.matmul(&w.to_dtype(dy.dtype())?)
}
