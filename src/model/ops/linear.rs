//! y = x·Wᵀ. Shapes: x [n, i], W [o, i], y [n, o].

use candle_core::{Result, Tensor};

use super::storage::{add_to, for_element, mutate, read};
use crate::model::kernels;

/// y = x·Wᵀ.
pub(crate) fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed(x, w);
    }
    let ((o, i), n) = (w.dims2()?, x.dim(0)?);
    for_element!(x.dtype(), T => {
        let mut y = vec![T::default(); n * o];
        read::<T, _>(x, |x| read(w, |w| { kernels::linear(&mut y, x, w, (o, i), kernels::Output::Overwrite); Ok(()) }))?;
        Tensor::from_vec(y, (n, o), x.device())
    })
}

/// dx = dy·W; dyᵀ·x is added to `dw`.
pub(crate) fn linear_backward(dy: &Tensor, x: &Tensor, w: &Tensor, dw: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed_backward(dy, x, w, dw);
    }
    let ((o, i), n) = (w.dims2()?, x.dim(0)?);
    for_element!(x.dtype(), T => {
        let dx = read::<T, _>(dy, |dy| {
            read::<T, _>(x, |x| mutate(dw, |dw| {
                kernels::linear_backward_weight(dw, dy, x, (o, i), kernels::Output::Add);
                Ok(())
            }))?;
            let mut dx = vec![T::default(); n * i];
            read(w, |w| { kernels::linear_backward_input(&mut dx, dy, w, (o, i), kernels::Output::Overwrite); Ok(()) })?;
            Ok(dx)
        })?;
        Tensor::from_vec(dx, (n, i), x.device())
    })
}

pub(super) fn composed(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.matmul(&w.to_dtype(x.dtype())?.t()?)
}

pub(super) fn composed_backward(dy: &Tensor, x: &Tensor, w: &Tensor, dw: &Tensor) -> Result<Tensor> {
    add_to(dw, &dy.t()?.matmul(x)?)?;
    dy.matmul(&w.to_dtype(dy.dtype())?)
}
