//! Causal attention with shared key and value heads. No score matrix outlives one head.
//!
//! Shapes: q, o [b·t, h·k]; keys, values [b·t, g·k] with g key/value heads, each shared by h/g
//! query heads. The backward pass recomputes the scores instead of keeping them (Dao et al. 2022).

use rayon::prelude::*;

use super::Element;
use super::exp::exp;
use super::gemm::{Matrix, Output, Threads, gemm};
use super::rms_norm::lanes;

/// Sizes of one attention call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Sequence length.
    pub t: usize,
    /// Query heads.
    pub h: usize,
    /// Key and value heads.
    pub g: usize,
    /// Width of a head.
    pub k: usize,
}

impl Heads {
    fn per_group(self) -> usize {
        self.h / self.g
    }

    fn query_width(self) -> usize {
        self.h * self.k
    }

    fn key_width(self) -> usize {
        self.g * self.k
    }

    #[expect(clippy::cast_precision_loss, reason = "a head's width is far below 2^24")]
    fn scale(self) -> f32 {
        1.0 / (self.k as f32).sqrt()
    }

    /// Values of one (sequence, key head) pair on the query side.
    fn query_unit(self) -> usize {
        self.per_group() * self.t * self.k
    }

    /// Values of one (sequence, key head) pair on the key side.
    fn key_unit(self) -> usize {
        self.t * self.k
    }
}

/// o = softmax(q·kᵀ/√k, causal)·v.
pub(crate) fn attention<T: Element>(q: &[T], keys: &[T], values: &[T], heads: Heads) -> Vec<T> {
    let mut by_head = vec![T::default(); q.len()];
    by_head.par_chunks_mut(heads.query_unit()).enumerate().for_each(|(unit, out)| {
        let (sequence, group) = (unit / heads.g, unit % heads.g);
        let k = gather(keys, sequence, group, heads.key_width(), heads);
        let v = gather(values, sequence, group, heads.key_width(), heads);
        let mut p = vec![0.0; heads.t * heads.t];
        for (member, out) in out.chunks_mut(heads.key_unit()).enumerate() {
            let head = group * heads.per_group() + member;
            let q = gather(q, sequence, head, heads.query_width(), heads);
            probabilities(&mut p, &q, &k, heads);
            let (p, v) = (Matrix::new(&p, heads.t, heads.t), Matrix::new(&v, heads.t, heads.k));
            T::fill(out, |out| gemm(out, p, v, 1.0, Output::Overwrite, Threads::One));
        }
    });
    scatter(&by_head, heads.h, heads)
}

/// (dq, dkeys, dvalues) for the gradient of the output.
pub(crate) fn attention_backward<T: Element>(
    q: &[T],
    keys: &[T],
    values: &[T],
    dout: &[T],
    heads: Heads,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let mut dq = vec![T::default(); q.len()];
    let mut dk = vec![T::default(); keys.len()];
    let mut dv = vec![T::default(); values.len()];
    dq.par_chunks_mut(heads.query_unit())
        .zip(dk.par_chunks_mut(heads.key_unit()))
        .zip(dv.par_chunks_mut(heads.key_unit()))
        .enumerate()
        .for_each(|(unit, ((dq, dk), dv))| {
            let (sequence, group) = (unit / heads.g, unit % heads.g);
            let mut pass = UnitBackward {
                heads,
                k: gather(keys, sequence, group, heads.key_width(), heads),
                v: gather(values, sequence, group, heads.key_width(), heads),
                p: vec![0.0; heads.t * heads.t],
                dp: vec![0.0; heads.t * heads.t],
                dk: vec![0.0; heads.key_unit()],
                dv: vec![0.0; heads.key_unit()],
            };
            for (member, dq) in dq.chunks_mut(heads.key_unit()).enumerate() {
                let head = group * heads.per_group() + member;
                let q = gather(q, sequence, head, heads.query_width(), heads);
                let dout = gather(dout, sequence, head, heads.query_width(), heads);
                T::fill(dq, |dq| pass.head(dq, &q, &dout));
            }
            T::fill(dk, |dk| dk.copy_from_slice(&pass.dk));
            T::fill(dv, |dv| dv.copy_from_slice(&pass.dv));
        });
    (scatter(&dq, heads.h, heads), scatter(&dk, heads.g, heads), scatter(&dv, heads.g, heads))
}

/// The backward pass of the query heads that share one key head, in one sequence.
struct UnitBackward {
    heads: Heads,
    k: Vec<f32>,
    v: Vec<f32>,
    p: Vec<f32>,
    dp: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl UnitBackward {
    /// Adds one query head to dk and dv and writes its dq.
    ///
    /// dv += pᵀ·do; dp = do·vᵀ; ds = p∘(dp − Σ p∘dp); dq = ds·k/√k; dk += dsᵀ·q/√k.
    fn head(&mut self, dq: &mut [f32], q: &[f32], dout: &[f32]) {
        let Heads { t, k: width, .. } = self.heads;
        let scale = self.heads.scale();
        let rows = |data| Matrix::new(data, t, width);
        let square = |data| Matrix::new(data, t, t);
        probabilities(&mut self.p, q, &self.k, self.heads);
        gemm(&mut self.dv, square(&self.p).t(), rows(dout), 1.0, Output::Add, Threads::One);
        gemm(&mut self.dp, rows(dout), rows(&self.v).t(), 1.0, Output::Overwrite, Threads::One);
        for (row, (dp, p)) in self.dp.chunks_mut(t).zip(self.p.chunks(t)).enumerate() {
            let mean = lanes(row + 1, |i| p[i] * dp[i]);
            for (dp, p) in dp.iter_mut().zip(p) {
                *dp = p * (*dp - mean);
            }
        }
        gemm(dq, square(&self.dp), rows(&self.k), scale, Output::Overwrite, Threads::One);
        gemm(&mut self.dk, square(&self.dp).t(), rows(q), scale, Output::Add, Threads::One);
    }
}

/// p = softmax of the scaled scores, zero above the diagonal.
fn probabilities(p: &mut [f32], q: &[f32], k: &[f32], heads: Heads) {
    let (q, k) = (Matrix::new(q, heads.t, heads.k), Matrix::new(k, heads.t, heads.k));
    gemm(p, q, k.t(), heads.scale(), Output::Overwrite, Threads::One);
    for (row, scores) in p.chunks_mut(heads.t).enumerate() {
        let (past, future) = scores.split_at_mut(row + 1);
        let highest = past.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for score in past.iter_mut() {
            *score = exp(*score - highest);
        }
        let inverse = 1.0 / lanes(past.len(), |i| past[i]);
        for score in past.iter_mut() {
            *score *= inverse;
        }
        future.fill(0.0);
    }
}

/// One head of one sequence as f32 [t, k].
fn gather<T: Element>(x: &[T], sequence: usize, head: usize, width: usize, heads: Heads) -> Vec<f32> {
    let rows = x[sequence * heads.t * width..].chunks(width);
    let mut out = vec![0.0; heads.key_unit()];
    for (out, row) in out.chunks_mut(heads.k).zip(rows) {
        for (out, value) in out.iter_mut().zip(&row[head * heads.k..][..heads.k]) {
            *out = value.widen();
        }
    }
    out
}

/// From [b, heads, t, k] to [b·t, heads·k].
fn scatter<T: Element>(by_head: &[T], count: usize, heads: Heads) -> Vec<T> {
    let Heads { t, k, .. } = heads;
    let mut out = vec![T::default(); by_head.len()];
    out.par_chunks_mut(t * count * k).zip(by_head.par_chunks(t * count * k)).for_each(|(out, by_head)| {
        for (head, rows) in by_head.chunks(t * k).enumerate() {
            for (row, values) in rows.chunks(k).enumerate() {
                out[row * count * k + head * k..][..k].copy_from_slice(values);
            }
        }
    });
    out
}
