//! y = x·Wᵀ and its gradients. Shapes: x [n, i], W [o, i], y [n, o].
//!
//! The functions named `_onto` add to a tensor in place on the CPU: nobody else may hold it.

use candle_core::{DType, Result, Tensor};

use super::compose::{pieces, product_into, scaled};
use super::storage::{for_element, has_kernels, mutate, read, with_operand};
use crate::model::kernels::{self, Output};
use crate::model::stored::MatrixRef;

/// y = x·Wᵀ.
pub(crate) fn linear<'w>(x: &Tensor, w: impl Into<MatrixRef<'w>>) -> Result<Tensor> {
    let w = w.into();
    if !has_kernels(x.device()) {
        return composed(x, w);
    }
    let ((o, _), n) = (w.size()?, x.dim(0)?);
    for_element!(x.dtype(), T => {
        let y = read::<T, _>(x, |x| with_operand!(w, w => Ok(kernels::linear(x, w))))?;
        Tensor::from_vec(y, (n, o), x.device())
    })
}

/// y = onto + scale · x·Wᵀ.
pub(crate) fn linear_onto<'w>(
    onto: Tensor,
    x: &Tensor,
    w: impl Into<MatrixRef<'w>>,
    scale: f32,
) -> Result<Tensor> {
    let w = w.into();
    if !has_kernels(x.device()) {
        return onto + scaled(composed(x, w)?, scale)?;
    }
    for_element!(x.dtype(), T => read::<T, _>(x, |x| with_operand!(w, w => mutate::<T>(&onto, |onto| {
        kernels::linear_onto(onto, x, w, scale);
        Ok(())
    }))))?;
    Ok(onto)
}

/// dx = dy·W.
pub(crate) fn linear_backward_input<'w>(dy: &Tensor, w: impl Into<MatrixRef<'w>>) -> Result<Tensor> {
    let w = w.into();
    if !has_kernels(dy.device()) {
        return composed_backward_input(dy, w);
    }
    let ((_, i), n) = (w.size()?, dy.dim(0)?);
    for_element!(dy.dtype(), T => {
        let dx = read::<T, _>(dy, |dy| with_operand!(w, w => Ok(kernels::linear_backward_input(dy, w))))?;
        Tensor::from_vec(dx, (n, i), dy.device())
    })
}

/// dx = onto + scale · dy·W.
pub(crate) fn linear_backward_input_onto<'w>(
    onto: Tensor,
    dy: &Tensor,
    w: impl Into<MatrixRef<'w>>,
    scale: f32,
) -> Result<Tensor> {
    let w = w.into();
    if !has_kernels(dy.device()) {
        return onto + scaled(composed_backward_input(dy, w)?, scale)?;
    }
    for_element!(dy.dtype(), T => read::<T, _>(dy, |dy| with_operand!(w, w => mutate::<T>(&onto, |onto| {
        kernels::linear_backward_input_onto(onto, dy, w, scale);
        Ok(())
    }))))?;
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

/// x·Wᵀ; what is in blocks is made values a piece at a time.
pub(super) fn composed<'w>(x: &Tensor, w: impl Into<MatrixRef<'w>>) -> Result<Tensor> {
    match w.into() {
        MatrixRef::Plain(w) => x.matmul(&w.to_dtype(x.dtype())?.t()?),
        MatrixRef::Blocks(w) => {
            let (o, i) = w.size();
            let y = Tensor::zeros((x.dim(0)?, o), x.dtype(), x.device())?;
            for rows in pieces(o, i) {
                let start = rows.start;
                y.slice_set(&x.matmul(&w.values(rows)?.to_dtype(x.dtype())?.t()?)?, 1, start)?;
            }
            Ok(y)
        }
    }
}

/// dy·W; the sums over pieces of what is in blocks are f32.
pub(super) fn composed_backward_input<'w>(dy: &Tensor, w: impl Into<MatrixRef<'w>>) -> Result<Tensor> {
    match w.into() {
        MatrixRef::Plain(w) => dy.matmul(&w.to_dtype(dy.dtype())?),
        MatrixRef::Blocks(w) => {
            let (o, i) = w.size();
            let mut dx = Tensor::zeros((dy.dim(0)?, i), DType::F32, dy.device())?;
            for rows in pieces(o, i) {
                let dy = dy.narrow(1, rows.start, rows.len())?.contiguous()?;
                dx = (dx + dy.matmul(&w.values(rows)?.to_dtype(dy.dtype())?)?.to_dtype(DType::F32)?)?;
            }
            dx.to_dtype(dy.dtype())
        }
    }
}
