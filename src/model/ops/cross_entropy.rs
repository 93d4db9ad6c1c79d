//! Head and cross-entropy together. Shapes: x [n, d], W [v, d], targets [n].

use candle_core::{D, DType, Device, Result, Tensor};

use super::Output;
use super::compose::{product_into, soft_cap, soft_cap_slopes};
use super::linear;
use super::storage::{for_element, has_kernels, mutate, mutate_wanted, read};
use crate::data::IGNORED;
use crate::model::kernels::{self, HeadGradients, rows_alive, scored_rows};

/// Which gradients of scale · Σ losses are wanted.
#[derive(Clone, Copy)]
pub(crate) struct HeadGradient<'a> {
    /// Factor of the summed loss.
    pub scale: f32,
    /// Where that of W goes, and whether it is added to what is there; `None` where W is frozen.
    pub dw: Option<(&'a Tensor, Output)>,
}

/// What the head gives.
pub(crate) struct HeadLoss {
    /// Negative log-likelihood of each row in nats; 0 where the target is ignored.
    pub losses: Vec<f32>,
    /// Gradient of the input, where gradients were asked for.
    pub dx: Option<Tensor>,
}

/// Loss of each row of x·Wᵀ, under a soft `cap` if one is given, with the gradients that are wanted.
///
/// On the CPU the gradient of `x` is written over it: nobody else may hold it.
pub(crate) fn head_cross_entropy(
    x: Tensor,
    w: &Tensor,
    targets: &[u32],
    cap: Option<f32>,
    gradient: Option<HeadGradient>,
) -> Result<HeadLoss> {
    if !has_kernels(x.device()) {
        return composed(&x, w, targets, cap, gradient);
    }
    let d = x.dim(1)?;
    let mut losses = Vec::new();
    for_element!(x.dtype(), T => for_element!(w.dtype(), W => read::<W, _>(w, |w| mutate::<T>(&x, |x| {
        let (dw, output) = gradient.and_then(|gradient| gradient.dw).unzip();
        mutate_wanted(dw, |dw| {
            let dw = dw.zip(output);
            let gradients = gradient.map(|HeadGradient { scale, .. }| HeadGradients { scale, dw });
            losses = kernels::head_cross_entropy(x, w, targets, d, cap, gradients);
            Ok(())
        })
    }))))?;
    Ok(HeadLoss { losses, dx: gradient.is_some().then_some(x) })
}

pub(super) fn composed(
    x: &Tensor,
    w: &Tensor,
    targets: &[u32],
    cap: Option<f32>,
    gradient: Option<HeadGradient>,
) -> Result<HeadLoss> {
    let ((n, d), device) = (x.dims2()?, x.device());
    let narrow = w.to_dtype(x.dtype())?;
    let scored = scored_rows(targets);
    let mut losses = vec![0.0; targets.len()];
    if let Some((dw, Output::Overwrite)) = gradient.and_then(|gradient| gradient.dw) {
        dw.zero_set()?;
    }
    // One row more than is scored: that of all ignored rows, zero.
    let dx = gradient.map(|_| Tensor::zeros((scored.len() + 1, d), x.dtype(), device)).transpose()?;
    let alive = rows_alive(n).max(1);
    for (pass, rows) in scored.chunks(alive).enumerate() {
        let x = x.index_select(&numbers(rows.iter().copied(), device)?, 0)?;
        let ids = numbers(rows.iter().map(|row| targets[*row] as usize), device)?.unsqueeze(1)?;
        let logits = soft_cap(x.matmul(&narrow.t()?)?.to_dtype(DType::F32)?, cap)?;
        let slopes = match (cap, gradient) {
            (Some(cap), Some(_)) => Some(soft_cap_slopes(&logits, cap)?),
            _ => None,
        };
        let (loss, probabilities) = score(logits, &ids)?;
        for (row, loss) in rows.iter().zip(loss.to_vec1::<f32>()?) {
            losses[*row] = loss;
        }
        if let (Some(HeadGradient { scale, dw }), Some(dx)) = (gradient, &dx) {
            let mut dlogits = dlogits(probabilities, &ids, scale)?;
            if let Some(slopes) = slopes {
                dlogits = (dlogits * slopes)?;
            }
            let dlogits = dlogits.to_dtype(x.dtype())?;
            if let Some((dw, _)) = dw {
                product_into(dw, &dlogits, &x, 1.0, Output::Add)?;
            }
            dx.slice_set(&dlogits.matmul(&narrow)?, 0, pass * alive)?;
        }
    }
    Ok(HeadLoss { losses, dx: dx.map(|dx| spread(&dx, targets)).transpose()? })
}

fn numbers(values: impl ExactSizeIterator<Item = usize>, device: &Device) -> Result<Tensor> {
    #[expect(clippy::cast_possible_truncation, reason = "rows and tokens are numbered by u32")]
    let values: Vec<u32> = values.map(|value| value as u32).collect();
    let n = values.len();
    Tensor::from_vec(values, n, device)
}

/// From the scored rows and one of zeros to a row for each target.
fn spread(dx: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (scored, mut next) = (dx.dim(0)? - 1, 0);
    let sources = targets.iter().map(|target| {
        let is_scored = *target != IGNORED;
        next += usize::from(is_scored);
        if is_scored { next - 1 } else { scored }
    });
    dx.index_select(&numbers(sources, dx.device())?, 0)
}

/// (loss of each row, softmax) for targets `ids` [n, 1]; two tensors of the logits' size at most.
fn score(logits: Tensor, ids: &Tensor) -> Result<(Tensor, Tensor)> {
    let (highest, wanted) = (logits.max_keepdim(D::Minus1)?, logits.gather(ids, 1)?);
    let shifted = logits.broadcast_sub(&highest)?;
    drop(logits);
    let weights = shifted.exp()?;
    drop(shifted);
    let sum = weights.sum_keepdim(D::Minus1)?;
    let loss = ((sum.log()? + highest)? - wanted)?.squeeze(1)?;
    Ok((loss, weights.broadcast_div(&sum)?))
}

fn dlogits(probabilities: Tensor, ids: &Tensor, scale: f32) -> Result<Tensor> {
    let dlogits = (probabilities * f64::from(scale))?;
    dlogits.scatter_add_set(ids, &Tensor::full(-scale, ids.shape(), ids.device())?, 1)?;
    Ok(dlogits)
}

/// The logits x·Wᵀ in f32, under a soft `cap` if one is given.
pub(crate) fn logits(x: &Tensor, w: &Tensor, cap: Option<f32>) -> Result<Tensor> {
    soft_cap(linear(x, w)?.to_dtype(DType::F32)?, cap)
}
