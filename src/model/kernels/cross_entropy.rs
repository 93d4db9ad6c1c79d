//! Head and cross-entropy together, a few rows of logits at a time.
//!
//! Shapes: x [n, d], W [v, d] (f32), targets [n]. All logits at once would be n·v values, the
//! largest tensor of a training step; here only `ROWS · v` are ever alive, and the gradients are
//! made while they are (the idea of Hsu et al. 2024, Liger Kernel).

use rayon::prelude::*;

use super::Element;
use super::exp::exp;
use super::gemm::{Matrix, Output, Threads, gemm};
use super::rms_norm::lanes;
use crate::data::IGNORED;

/// Rows of logits alive at once.
const ROWS: usize = 256;

/// Where gradients go when they are wanted: d(`scale` · Σ losses).
pub(crate) struct HeadGradients<'a, T> {
    /// Factor of the summed loss.
    pub scale: f32,
    /// Overwritten.
    pub dx: &'a mut [T],
    /// Added to.
    pub dw: &'a mut [f32],
}

/// Negative log-likelihood of each row of x·Wᵀ in nats, 0 where the target is ignored; and the
/// gradients if wanted.
pub(crate) fn head_cross_entropy<T: Element>(
    x: &[T],
    w: &[f32],
    targets: &[u32],
    d: usize,
    mut gradients: Option<HeadGradients<'_, T>>,
) -> Vec<f32> {
    let v = w.len() / d;
    let head = Matrix::new(w, v, d);
    let mut logits = vec![0.0; ROWS.min(targets.len()) * v];
    let mut losses = vec![0.0; targets.len()];
    for (pass, (targets, losses)) in targets.chunks(ROWS).zip(losses.chunks_mut(ROWS)).enumerate() {
        let rows = pass * ROWS * d..(pass * ROWS + targets.len()) * d;
        let x = T::widen_all(&x[rows.clone()]);
        let x = Matrix::new(&x, targets.len(), d);
        let logits = &mut logits[..targets.len() * v];
        gemm(logits, x, head.t(), 1.0, Output::Overwrite, Threads::All);
        let scale = gradients.as_ref().map_or(1.0, |gradients| gradients.scale);
        logits.par_chunks_mut(v).zip(targets).zip(losses).for_each(|((logits, target), loss)| {
            *loss = score_row(logits, *target, scale);
        });
        if let Some(gradients) = &mut gradients {
            let dlogits = Matrix::new(logits, targets.len(), v);
            T::fill(&mut gradients.dx[rows], |dx| {
                gemm(dx, dlogits, head, 1.0, Output::Overwrite, Threads::All);
            });
            gemm(gradients.dw, dlogits.t(), x, 1.0, Output::Add, Threads::All);
        }
    }
    losses
}

/// Loss of one row; its logits become scale · (softmax − one-hot), or zero where it is ignored.
fn score_row(logits: &mut [f32], target: u32, scale: f32) -> f32 {
    if target == IGNORED {
        logits.fill(0.0);
        return 0.0;
    }
    let target = target as usize;
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let wanted = logits[target];
    for logit in logits.iter_mut() {
        *logit = exp(*logit - highest);
    }
    let sum = lanes(logits.len(), |i| logits[i]);
    let factor = scale / sum;
    for logit in logits.iter_mut() {
        *logit *= factor;
    }
    logits[target] -= scale;
    sum.ln() + highest - wanted
}
