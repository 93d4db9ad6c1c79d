//! Rows of the embedding matrix. Shapes: ids [n] (u32), W [v, d], y [n, d].

use candle_core::{DType, Result, Tensor};

use super::compose::scaled;
use super::storage::{for_element, has_kernels, mutate, read};
use crate::model::kernels;

/// y[i] = scale · W[ids[i]] in the type of activations.
pub(crate) fn embedding(ids: &Tensor, w: &Tensor, dtype: DType, scale: f32) -> Result<Tensor> {
    let (n, d) = (ids.dim(0)?, w.dim(1)?);
    if !has_kernels(w.device()) {
        return scaled(w.index_select(ids, 0)?.to_dtype(DType::F32)?, scale)?.to_dtype(dtype);
    }
    for_element!(dtype, T => for_element!(w.dtype(), W => {
        let y: Vec<T> = read(ids, |ids| read::<W, _>(w, |w| Ok(kernels::embedding(ids, w, d, scale))))?;
        Tensor::from_vec(y, (n, d), w.device())
    }))
}

/// dW[ids[i]] += scale · dy[i].
pub(crate) fn embedding_backward(dy: &Tensor, ids: &Tensor, dw: &Tensor, scale: f32) -> Result<()> {
    let d = dw.dim(1)?;
    if !has_kernels(dw.device()) {
        return composed_backward(dy, ids, dw, scale);
    }
    for_element!(dy.dtype(), T => read::<T, _>(dy, |dy| read(ids, |ids| mutate(dw, |dw| {
        kernels::embedding_backward(dw, ids, dy, d, scale);
        Ok(())
    }))))
}

pub(super) fn composed_backward(dy: &Tensor, ids: &Tensor, dw: &Tensor, scale: f32) -> Result<()> {
    let rows = ids.unsqueeze(1)?.broadcast_as(dy.shape())?.contiguous()?;
    dw.scatter_add_set(&rows, &scaled(dy.to_dtype(DType::F32)?, scale)?, 0)
}
