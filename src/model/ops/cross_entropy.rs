//! Head and cross-entropy together. Shapes: x [n, d], W [v, d], targets [n].

use candle_core::{D, DType, Result, Tensor};

use super::storage::{add_to, for_element, mutate, read};
use crate::data::IGNORED;
use crate::model::kernels;

/// Rows of logits alive at once where the loss is composed of tensor operations.
const ROWS: usize = 1024;

/// What the head gives.
pub(crate) struct HeadLoss {
    /// Negative log-likelihood of each row in nats; 0 where the target is ignored.
    pub losses: Vec<f32>,
    /// Gradient of the input, where gradients were asked for.
    pub dx: Option<Tensor>,
}

/// Loss of each row of x·Wᵀ; with `gradient` = (scale, dw) also the gradients of scale · Σ losses.
pub(crate) fn head_cross_entropy(
    x: &Tensor,
    w: &Tensor,
    targets: &[u32],
    gradient: Option<(f32, &Tensor)>,
) -> Result<HeadLoss> {
    if !x.device().is_cpu() {
        return composed(x, w, targets, gradient);
    }
    let d = x.dim(1)?;
    for_element!(x.dtype(), T => read::<T, _>(x, |values| read(w, |w| {
        let Some((scale, dw)) = gradient else {
            let losses = kernels::head_cross_entropy::<T>(values, w, targets, d, None);
            return Ok(HeadLoss { losses, dx: None });
        };
        let mut dx = vec![T::default(); values.len()];
        let mut losses = Vec::new();
        mutate(dw, |dw| {
            let gradients = kernels::HeadGradients { scale, dx: &mut dx, dw };
            losses = kernels::head_cross_entropy(values, w, targets, d, Some(gradients));
            Ok(())
        })?;
        Ok(HeadLoss { losses, dx: Some(Tensor::from_vec(dx, x.shape(), x.device())?) })
    })))
}

pub(super) fn composed(
    x: &Tensor,
    w: &Tensor,
    targets: &[u32],
    gradient: Option<(f32, &Tensor)>,
) -> Result<HeadLoss> {
    let narrow = w.to_dtype(x.dtype())?;
    let mut losses = Vec::with_capacity(targets.len());
    let mut parts = Vec::new();
    for (pass, targets) in targets.chunks(ROWS).enumerate() {
        let x = x.narrow(0, pass * ROWS, targets.len())?;
        let logits = x.matmul(&narrow.t()?)?.to_dtype(DType::F32)?;
        let (loss, probabilities) = score(&logits, targets)?;
        losses.extend(loss.to_vec1::<f32>()?);
        if let Some((scale, dw)) = gradient {
            let dlogits = dlogits(&probabilities, targets, scale)?.to_dtype(x.dtype())?;
            add_to(dw, &dlogits.t()?.matmul(&x)?)?;
            parts.push(dlogits.matmul(&narrow)?);
        }
    }
    let dx = if parts.is_empty() { None } else { Some(Tensor::cat(&parts, 0)?) };
    Ok(HeadLoss { losses, dx })
}

/// 1 where a target counts, 0 where it is ignored; and the targets with ignored ones as 0.
fn split_ignored(targets: &[u32]) -> (Vec<f32>, Vec<u32>) {
    targets.iter().map(|t| if *t == IGNORED { (0.0, 0) } else { (1.0, *t) }).unzip()
}

/// (loss of each row, softmax).
fn score(logits: &Tensor, targets: &[u32]) -> Result<(Tensor, Tensor)> {
    let (counts, ids) = split_ignored(targets);
    let (n, device) = (targets.len(), logits.device());
    let (counts, ids) = (Tensor::from_vec(counts, n, device)?, Tensor::from_vec(ids, (n, 1), device)?);
    let highest = logits.max_keepdim(D::Minus1)?;
    let weights = logits.broadcast_sub(&highest)?.exp()?;
    let sum = weights.sum_keepdim(D::Minus1)?;
    let loss = ((sum.log()? + highest)? - logits.gather(&ids, 1)?)?.squeeze(1)?;
    Ok(((loss * counts)?, weights.broadcast_div(&sum)?))
}

fn dlogits(probabilities: &Tensor, targets: &[u32], scale: f32) -> Result<Tensor> {
    let (counts, ids) = split_ignored(targets);
    let (n, device) = (targets.len(), probabilities.device());
    let counts = (Tensor::from_vec(counts, (n, 1), device)? * f64::from(scale))?;
    let ids = Tensor::from_vec(ids, (n, 1), device)?;
    probabilities.broadcast_mul(&counts)?.scatter_add(&ids, &counts.neg()?, 1)
}
