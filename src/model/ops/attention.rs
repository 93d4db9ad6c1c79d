//! Causal attention with shared key heads. Shapes: q, o [b·t, h·k]; keys, values [b·t, g·k].

use candle_core::{D, DType, Result, Tensor};

use super::Heads;
use super::storage::{for_element, read};
use crate::model::kernels;

/// o = softmax(q·kᵀ/√k, causal)·v.
pub(crate) fn attention(q: &Tensor, keys: &Tensor, values: &Tensor, heads: Heads) -> Result<Tensor> {
    if !q.device().is_cpu() {
        return composed(q, keys, values, heads);
    }
    for_element!(q.dtype(), T => {
        let out = read::<T, _>(q, |q| read(keys, |keys| read(values, |values| {
            Ok(kernels::attention(q, keys, values, heads))
        })))?;
        Tensor::from_vec(out, q.shape(), q.device())
    })
}

/// (dq, dkeys, dvalues); the scores are computed again.
pub(crate) fn attention_backward(
    dout: &Tensor,
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    heads: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    if !q.device().is_cpu() {
        return composed_backward(dout, q, keys, values, heads);
    }
    for_element!(q.dtype(), T => {
        let (dq, dk, dv) = read::<T, _>(q, |q| read(keys, |keys| read(values, |values| read(dout, |dout| {
            Ok(kernels::attention_backward(q, keys, values, dout, heads))
        }))))?;
        let like = |values, of: &Tensor| Tensor::from_vec(values, of.shape(), of.device());
        Ok((like(dq, q)?, like(dk, keys)?, like(dv, values)?))
    })
}

/// Query heads that share a key head are stacked in time: [b·g, (h/g)·t, k] against [b·g, t, k].
struct Grouped {
    b: usize,
    members: usize,
    heads: Heads,
}

impl Grouped {
    fn new(q: &Tensor, heads: Heads) -> Result<Self> {
        Ok(Self { b: q.dim(0)? / heads.t, members: heads.h / heads.g, heads })
    }

    fn queries(&self, q: &Tensor) -> Result<Tensor> {
        let Heads { t, g, k, .. } = self.heads;
        let split = q.reshape((self.b, t, g, self.members, k))?.permute((0, 2, 3, 1, 4))?;
        split.contiguous()?.reshape((self.b * g, self.members * t, k))
    }

    fn queries_back(&self, q: &Tensor) -> Result<Tensor> {
        let Heads { t, g, k, .. } = self.heads;
        let split = q.reshape((self.b, g, self.members, t, k))?.permute((0, 3, 1, 2, 4))?;
        split.contiguous()?.reshape((self.b * t, self.heads.h * k))
    }

    fn keys(&self, x: &Tensor) -> Result<Tensor> {
        let Heads { t, g, k, .. } = self.heads;
        x.reshape((self.b, t, g, k))?.transpose(1, 2)?.contiguous()?.reshape((self.b * g, t, k))
    }

    fn keys_back(&self, x: &Tensor) -> Result<Tensor> {
        let Heads { t, g, k, .. } = self.heads;
        x.reshape((self.b, g, t, k))?.transpose(1, 2)?.contiguous()?.reshape((self.b * t, g * k))
    }

    #[expect(clippy::cast_precision_loss, reason = "a head's width is far below 2^52")]
    fn scale(&self) -> f64 {
        1.0 / (self.heads.k as f64).sqrt()
    }

    /// Softmax of the scaled scores in f32, [b·g, members·t, t].
    fn probabilities(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        let t = self.heads.t;
        let scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? * self.scale())?;
        let mask: Vec<f32> = (0..self.members * t)
            .flat_map(|row| (0..t).map(move |column| if column > row % t { f32::NEG_INFINITY } else { 0.0 }))
            .collect();
        let mask = Tensor::from_vec(mask, (1, self.members * t, t), q.device())?;
        let scores = scores.broadcast_add(&mask)?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
    }
}

pub(super) fn composed(q: &Tensor, keys: &Tensor, values: &Tensor, heads: Heads) -> Result<Tensor> {
    let grouped = Grouped::new(q, heads)?;
    let (queries, k, v) = (grouped.queries(q)?, grouped.keys(keys)?, grouped.keys(values)?);
    let p = grouped.probabilities(&queries, &k)?.to_dtype(q.dtype())?;
    grouped.queries_back(&p.matmul(&v)?)
}

pub(super) fn composed_backward(
    dout: &Tensor,
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    heads: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    let dtype = q.dtype();
    let grouped = Grouped::new(q, heads)?;
    let (q, dout) = (grouped.queries(q)?, grouped.queries(dout)?);
    let (k, v) = (grouped.keys(keys)?, grouped.keys(values)?);
    let p = grouped.probabilities(&q, &k)?;
    let dv = p.to_dtype(dtype)?.t()?.contiguous()?.matmul(&dout)?;
    let dp = dout.matmul(&v.t()?)?.to_dtype(DType::F32)?;
    let mean = (&p * &dp)?.sum_keepdim(D::Minus1)?;
    let ds = ((p * dp.broadcast_sub(&mean)?)? * grouped.scale())?.to_dtype(dtype)?;
    let dq = ds.matmul(&k)?;
    let dk = ds.t()?.contiguous()?.matmul(&q)?;
    Ok((grouped.queries_back(&dq)?, grouped.keys_back(&dk)?, grouped.keys_back(&dv)?))
}
