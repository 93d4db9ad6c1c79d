//! y + b in each row. Shapes: y, dy [n, o], b [o].

use candle_core::{DType, Result, Tensor};

use super::compose::add_to;
use super::storage::{for_element, has_kernels, mutate, read};
use crate::model::kernels;

/// y + b.
///
/// On the CPU it is added in place: nobody else may hold `y`.
pub(crate) fn add_bias(y: Tensor, bias: &Tensor) -> Result<Tensor> {
    if !has_kernels(y.device()) {
        return composed(&y, bias);
    }
    for_element!(y.dtype(), T => mutate::<T>(&y, |y| read(bias, |bias| {
        kernels::add_bias(y, bias);
        Ok(())
    })))?;
    Ok(y)
}

/// db += Σ over rows of dy.
pub(crate) fn bias_backward(dy: &Tensor, dbias: &Tensor) -> Result<()> {
    if !has_kernels(dy.device()) {
        return composed_backward(dy, dbias);
    }
    for_element!(dy.dtype(), T => read::<T, _>(dy, |dy| mutate(dbias, |dbias| {
        kernels::bias_backward(dbias, dy);
        Ok(())
    })))
}

pub(super) fn composed(y: &Tensor, bias: &Tensor) -> Result<Tensor> {
    y.to_dtype(DType::F32)?.broadcast_add(bias)?.to_dtype(y.dtype())
}

pub(super) fn composed_backward(dy: &Tensor, dbias: &Tensor) -> Result<()> {
    add_to(dbias, &dy.to_dtype(DType::F32)?.sum(0)?)
}
