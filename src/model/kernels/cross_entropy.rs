//! Head and cross-entropy together, a few rows of logits at a time.
//!
//! Shapes: x [n, d], W [v, d], targets [n]. All logits at once would be n·v values, the
//! largest tensor of a training step; here only those of one pass are ever alive, and the gradients
//! are made while they are (the idea of Hsu et al. 2024, Liger Kernel). Rows whose target is
//! ignored (prompts) take no part.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::Element;
use super::exp::exp_with;
use super::gemm::{Matrix, Operand, Output, Threads, gemm};
use super::sums::{LANES, Sums, highest, sum};
use super::tanh::tanh;
use crate::data::IGNORED;

/// Rows of one pass. Each pass reads W twice and reads and writes dW once: 16 bytes of traffic for 6 ·
/// `ROWS` operations. The products of this many rows take about ten times as long as that traffic on
/// two cores; more would only be felt as memory.
const ROWS: usize = 256;

/// What gradients are wanted of, with respect to x and, where it is not frozen, W.
pub(crate) struct HeadGradients<'a> {
    /// Factor of the summed loss.
    pub scale: f32,
    /// Where that of W goes, and whether it is added to what is there.
    pub dw: Option<(&'a mut [f32], Output)>,
}

/// Rows whose logits are alive at once: at most n.
pub(crate) fn rows_alive(n: usize) -> usize {
    ROWS.min(n)
}

/// The numbers of the rows that are scored.
pub(crate) fn scored_rows(targets: &[u32]) -> Vec<usize> {
    // Never grows: how much memory a step takes must not depend on how the targets lie.
    let mut rows = Vec::with_capacity(targets.len());
    rows.extend((0..targets.len()).filter(|row| targets[*row] != IGNORED));
    rows
}

/// Negative log-likelihood of each row of x·Wᵀ in nats, 0 where the target is ignored. Logits have a
/// soft `cap` if one is given.
///
/// Where `gradients` are wanted, `x` becomes the gradient of scale · Σ losses with respect to it;
/// else it stays.
pub(crate) fn head_cross_entropy<T: Element, W: Element>(
    x: &mut [T],
    w: &[W],
    targets: &[u32],
    d: usize,
    cap: Option<f32>,
    mut gradients: Option<HeadGradients<'_>>,
) -> Vec<f32> {
    let v = w.len() / d;
    let head = Matrix::new(w, v, d).rounded_as::<f32>();
    let scored = scored_rows(targets);
    let alive = rows_alive(targets.len());
    let (mut logits, mut wide) = (vec![0.0; alive * v], vec![0.0; alive * d]);
    let mut losses = vec![0.0; targets.len()];
    let mut scored_losses = vec![0.0; alive];
    for rows in scored.chunks(alive.max(1)) {
        let n = rows.len();
        let (logits, wide) = (&mut logits[..n * v], &mut wide[..n * d]);
        gather(wide, x, rows, d);
        // The loss is what runs are judged by: its logits are never made from rounded weights.
        gemm(logits, Matrix::new(wide, n, d), head.t(), 1.0, Output::Overwrite, Threads::All);
        let scale = gradients.as_ref().map(|gradients| gradients.scale);
        score(logits, (rows, targets), scale, cap, &mut scored_losses);
        for (row, loss) in rows.iter().zip(&scored_losses) {
            losses[*row] = *loss;
        }
        if let Some(gradients) = &mut gradients {
            let dlogits = Matrix::new(logits, n, v).rounded_as::<T>();
            if let Some((dw, output)) = &mut gradients.dw {
                gemm(dw, dlogits.t(), Matrix::new(wide, n, d), 1.0, *output, Threads::All);
                *output = Output::Add;
            }
            gemm(wide, dlogits, head, 1.0, Output::Overwrite, Threads::All);
            scatter(x, wide, rows, d);
        }
    }
    if let Some(HeadGradients { dw, .. }) = gradients {
        if let (true, Some((dw, Output::Overwrite))) = (scored.is_empty(), dw) {
            dw.fill(0.0);
        }
        let ignored = x.chunks_mut(d).zip(targets).filter(|(_, target)| **target == IGNORED);
        ignored.for_each(|(row, _)| row.fill(T::default()));
    }
    losses
}

/// Losses of the rows of one pass; their logits become the gradients where `scale` is given.
fn score(
    logits: &mut [f32],
    (rows, targets): (&[usize], &[u32]),
    scale: Option<f32>,
    cap: Option<f32>,
    losses: &mut [f32],
) {
    let v = logits.len() / rows.len();
    logits.par_chunks_mut(v).zip(rows).zip(losses).for_each(|((logits, row), loss)| {
        let target = targets[*row] as usize;
        *loss = match cap {
            None => score_row(logits, target, scale),
            Some(cap) => score_capped_row(logits, target, scale, cap),
        };
    });
}

fn gather<T: Element>(wide: &mut [f32], x: &[T], rows: &[usize], d: usize) {
    for (wide, row) in wide.chunks_mut(d).zip(rows) {
        T::widen_into(wide, &x[row * d..][..d]);
    }
}

fn scatter<T: Element>(x: &mut [T], wide: &[f32], rows: &[usize], d: usize) {
    for (wide, row) in wide.chunks(d).zip(rows) {
        T::narrow_into(&mut x[row * d..][..d], wide);
    }
}

/// Loss of one row; with a `scale` its logits become scale · (softmax − one-hot).
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
pub(super) fn score_row(logits: &mut [f32], target: usize, scale: Option<f32>) -> f32 {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    let (highest, wanted) = (highest(logits), logits[target]);
    let mut sums = Sums::new();
    let mut weigh = |lane: usize, logit: &mut f32| {
        *logit = exp_with::<FMA>(*logit - highest);
        sums.add(lane, *logit);
    };
    let (blocks, rest) = logits.as_chunks_mut::<LANES>();
    for block in blocks {
        block.iter_mut().enumerate().for_each(|(lane, logit)| weigh(lane, logit));
    }
    rest.iter_mut().enumerate().for_each(|(lane, logit)| weigh(lane, logit));
    let sum = sums.total();
    if let Some(scale) = scale {
        let factor = scale / sum;
        for logit in logits.iter_mut() {
            *logit *= factor;
        }
        logits[target] -= scale;
    }
    sum.ln() + highest - wanted
}

/// The same of logits z that count as s = c·tanh(z/c): ds/dz = 1 − (s/c)².
///
/// The row holds the tanh until the end and exponentials are made twice, so that it needs no second
/// row beside it.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn score_capped_row(logits: &mut [f32], target: usize, scale: Option<f32>, cap: f32) -> f32 {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    let inverse = 1.0 / cap;
    for logit in logits.iter_mut() {
        *logit = tanh::<FMA>(*logit * inverse);
    }
    let (highest, wanted) = (highest(logits), logits[target]);
    let sum = sum(logits, |t| exp_with::<FMA>(cap * (t - highest)));
    if let Some(scale) = scale {
        let factor = scale / sum;
        for t in logits.iter_mut() {
            *t = factor * exp_with::<FMA>(cap * (*t - highest)) * (1.0 - *t * *t);
        }
        logits[target] -= scale * (1.0 - wanted * wanted);
    }
    sum.ln() + cap * (highest - wanted)
}
