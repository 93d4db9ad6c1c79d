//! Rows of the embedding matrix. Shapes: ids [n] (u32), W [v, d], y [n, d].

use candle_core::{DType, Result, Tensor};

use super::storage::{for_element, has_kernels, mutate, read};
use crate::model::kernels;

/// y[i] = W[ids[i]] in the type of activations.
pub(crate) fn embedding(ids: &Tensor, w: &Tensor, dtype: DType) -> Result<Tensor> {
    let (n, d) = (ids.dim(0)?, w.dim(1)?);
    if !has_kernels(w.device()) {
        return w.index_select(ids, 0)?.to_dtype(dtype);
    }
    for_element!(dtype, T => {
        let y: Vec<T> = read(ids, |ids| read(w, |w| Ok(kernels::embedding(ids, w, d))))?;
        Tensor::from_vec(y, (n, d), w.device())
    })
}

/// dW[ids[i]] += dy[i].
pub(crate) fn embedding_backward(dy: &Tensor, ids: &Tensor, dw: &Tensor) -> Result<()> {
    let d = dw.dim(1)?;
    if !has_kernels(dw.device()) {
        return composed_backward(dy, ids, dw);
    }
    for_element!(dy.dtype(), T => read::<T, _>(dy, |dy| read(ids, |ids| mutate(dw, |dw| {
        kernels::embedding_backward(dw, ids, dy, d);
        Ok(())
    }))))
}

pub(super) fn composed_backward(dy: &Tensor, ids: &Tensor, dw: &Tensor) -> Result<()> {
    let rows = ids.unsqueeze(1)?.broadcast_as(dy.shape())?.contiguous()?;
    dw.scatter_add_set(&rows, &dy.to_dtype(DType::F32)?, 0)
}
