//! Causal attention with shared key and value heads; the scores of few rows are alive at once.
//!
//! Shapes: q, o [n, h·k]; keys, values [n, g·k] with g key/value heads, each shared by h/g query
//! heads; sequences lie one after another in the n rows. Scores are made for `ROWS` positions of
//! one key head at a time, against the keys up to the last of them and no further. The backward
//! pass makes them again instead of keeping them (Dao et al. 2022).

use std::ops::Range;

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::Element;
use super::columns::{Block, blocks};
use super::exp::exp_with;
use super::gemm::{Matrix, Operand, Output, Threads, gemm};
use super::soft_cap::{multiply, slopes, soft_cap};
use super::sums::{highest, lanes, sum};
use crate::memory::kernels::ATTENTION_ROWS as ROWS;

/// Sizes of the heads, and how they look at what came before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Query heads.
    pub h: usize,
    /// Key and value heads.
    pub g: usize,
    /// Width of a head.
    pub k: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Soft cap c: a score z counts as c·tanh(z/c).
    pub cap: Option<f32>,
    /// Positions a query sees, its own among them; none: all before it.
    pub window: Option<usize>,
}

impl Heads {
    /// Query heads that share a key head.
    pub(crate) fn members(self) -> usize {
        self.h / self.g
    }

    /// The first row that the one at `row` sees, not before `start`.
    pub(crate) fn first_seen(self, row: usize, start: usize) -> usize {
        self.window.map_or(start, |window| (row + 1).saturating_sub(window).max(start))
    }
}

/// o = softmax(cap(scale·q·kᵀ), causal)·v, each sequence for itself.
pub(crate) fn attention<T: Element>(
    q: &[T],
    keys: &[T],
    values: &[T],
    sequences: &[Range<usize>],
    heads: Heads,
) -> Vec<T> {
    let mut out = vec![T::default(); q.len()];
    let mut rest = out.as_mut_slice();
    let mut units = Vec::new();
    for sequence in sequences {
        for rows in pieces(sequence.clone()) {
            let (own, after) = rest.split_at_mut(rows.len() * heads.h * heads.k);
            rest = after;
            units.push((sequence.start, rows, own));
        }
    }
    units.into_par_iter().for_each(|(start, rows, out)| {
        for group in 0..heads.g {
            let own = heads.members() * heads.k;
            let queries = stacked(q, &rows, group, heads);
            let seen = heads.first_seen(rows.start, start)..rows.end;
            let mut p = scores(&queries, head(keys, &seen, group, heads), heads);
            if let Some(cap) = heads.cap {
                soft_cap(&mut p, cap);
            }
            softmax_rows(&mut p, &rows, &seen, heads);
            let mut o = vec![0.0; queries.len()];
            let p = Matrix::new(&p, queries.len() / heads.k, seen.len());
            gemm(&mut o, p, head(values, &seen, group, heads), 1.0, Output::Overwrite, Threads::One);
            for (row, out) in out.chunks_mut(heads.h * heads.k).enumerate() {
                unstack(&mut out[group * own..][..own], &o, row, rows.len(), heads.k);
            }
        }
    });
    out
}

/// The gradients, written over q, keys and values. The output is made again, over its gradient `dout`:
/// a layer then need not keep it.
pub(crate) fn attention_backward<T: Element>(
    dout: &mut [T],
    q: &mut [T],
    keys: &mut [T],
    values: &mut [T],
    sequences: &[Range<usize>],
    heads: Heads,
) {
    let own = heads.members() * heads.k;
    let queries =
        blocks(dout, sequences, heads.g, own).into_par_iter().zip(blocks(q, sequences, heads.g, own));
    let keys = blocks(keys, sequences, heads.g, heads.k);
    let values = blocks(values, sequences, heads.g, heads.k);
    queries.zip(keys).zip(values).enumerate().for_each(
        |(unit, (((mut dout, mut q), mut keys), mut values))| {
            let t = sequences[unit / heads.g].len();
            let mut unit = Unit {
                heads,
                k: copied(&mut keys, t, heads.k),
                v: copied(&mut values, t, heads.k),
                dk: vec![0.0; t * heads.k],
                dv: vec![0.0; t * heads.k],
            };
            for rows in pieces(0..t) {
                unit.rows(&mut q, &mut dout, rows);
            }
            written(&mut keys, &unit.dk, heads.k);
            written(&mut values, &unit.dv, heads.k);
        },
    );
}

/// The backward pass of the query heads that share one key head, in one sequence of t positions.
struct Unit {
    heads: Heads,
    /// [t, k] each.
    k: Vec<f32>,
    v: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl Unit {
    /// Adds some positions to dk and dv, and writes their dq over their q and their o over their do.
    ///
    /// dv += pᵀ·do; dp = do·vᵀ; ds = p∘(dp − Σ p∘dp), times the slope of the cap; dq = scale·ds·k;
    /// dk += scale·dsᵀ·q; o = p·v.
    fn rows<T: Element>(&mut self, q: &mut Block<T>, dout: &mut Block<T>, rows: Range<usize>) {
        let Heads { k: width, scale, .. } = self.heads;
        let seen = self.heads.first_seen(rows.start, 0)..rows.end;
        let (m, columns) = (rows.len() * self.heads.members(), seen.len());
        let (mut queries, mut out) = (gathered(q, &rows, m, width), gathered(dout, &rows, m, width));
        let own = seen.start * width..seen.end * width;
        let k = Matrix::new(&self.k[own.clone()], columns, width);
        let v = Matrix::new(&self.v[own.clone()], columns, width);
        let (p, slopes) = self.probabilities(&queries, k, &rows, &seen);
        let (p_matrix, dout_matrix) = (Matrix::new(&p, m, columns), Matrix::new(&out, m, width));
        gemm(&mut self.dv[own.clone()], p_matrix.t(), dout_matrix, 1.0, Output::Add, Threads::One);
        let mut ds = vec![0.0; p.len()];
        gemm(&mut ds, dout_matrix, v.t(), 1.0, Output::Overwrite, Threads::One);
        gemm(&mut out, p_matrix, v, 1.0, Output::Overwrite, Threads::One);
        spread(dout, &rows, &out, width);
        for (ds, p) in ds.chunks_mut(columns).zip(p.chunks(columns)) {
            softmax_backward(ds, p);
        }
        if let Some(slopes) = slopes {
            multiply(&mut ds, &slopes);
        }
        let (ds, query_matrix) = (Matrix::new(&ds, m, columns), Matrix::new(&queries, m, width));
        gemm(&mut self.dk[own], ds.t(), query_matrix, scale, Output::Add, Threads::One);
        gemm(&mut queries, ds, k, scale, Output::Overwrite, Threads::One);
        spread(q, &rows, &queries, width);
    }

    /// p, and the slopes of the soft cap where there is one.
    fn probabilities(
        &self,
        queries: &[f32],
        k: Matrix<f32>,
        rows: &Range<usize>,
        seen: &Range<usize>,
    ) -> (Vec<f32>, Option<Vec<f32>>) {
        let mut p = scores(queries, k, self.heads);
        let slopes = self.heads.cap.map(|cap| {
            soft_cap(&mut p, cap);
            slopes(&p, cap)
        });
        softmax_rows(&mut p, rows, seen, self.heads);
        (p, slopes)
    }
}

/// The scaled scores. Shapes: queries [members · rows, k], keys [seen, k], scores [members · rows, seen].
fn scores<T: Element>(queries: &[f32], keys: Matrix<T>, heads: Heads) -> Vec<f32> {
    let m = queries.len() / heads.k;
    let mut scores = vec![0.0; m * keys.size().0];
    let queries = Matrix::new(queries, m, heads.k);
    gemm(&mut scores, queries, keys.t(), heads.scale, Output::Overwrite, Threads::One);
    scores
}

/// Softmax of what each of `rows` sees of the rows `seen`; zero elsewhere.
fn softmax_rows(scores: &mut [f32], rows: &Range<usize>, seen: &Range<usize>, heads: Heads) {
    for (index, scores) in scores.chunks_mut(seen.len()).enumerate() {
        let row = rows.start + index % rows.len();
        let first = heads.first_seen(row, seen.start);
        let (before, scores) = scores.split_at_mut(first - seen.start);
        before.fill(0.0);
        softmax(scores, row + 1 - first);
    }
}

/// Softmax of the first `visible` scores; the others become zero.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn softmax(scores: &mut [f32], visible: usize) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    let (past, future) = scores.split_at_mut(visible);
    let highest = highest(past);
    for score in past.iter_mut() {
        *score = exp_with::<FMA>(*score - highest);
    }
    let inverse = 1.0 / sum(past, |score| score);
    for score in past.iter_mut() {
        *score *= inverse;
    }
    future.fill(0.0);
}

/// From the gradient of p to that of the scores.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn softmax_backward(dp: &mut [f32], p: &[f32]) {
    let mean = lanes(p.len(), |i| p[i] * dp[i]);
    for (dp, p) in dp.iter_mut().zip(p) {
        *dp = p * (*dp - mean);
    }
}

/// Ranges of at most [`ROWS`].
fn pieces(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    rows.clone().step_by(ROWS).map(move |start| start..(start + ROWS).min(rows.end))
}

/// Rows of one key head, where they are.
fn head<'a, T: Element>(x: &'a [T], rows: &Range<usize>, group: usize, heads: Heads) -> Matrix<'a, T> {
    let stride = heads.g * heads.k;
    Matrix::strided(&x[rows.start * stride + group * heads.k..], rows.len(), heads.k, stride)
}

/// The query heads of one key head, one below the other: [members · rows, k].
fn stacked<T: Element>(x: &[T], rows: &Range<usize>, group: usize, heads: Heads) -> Vec<f32> {
    let (width, own) = (heads.h * heads.k, heads.members() * heads.k);
    let mut out = vec![0.0; rows.len() * own];
    for (index, row) in rows.clone().enumerate() {
        stack(&mut out, &x[row * width + group * own..][..own], index, rows.len(), heads.k);
    }
    out
}

fn stack<T: Element>(out: &mut [f32], own: &[T], row: usize, rows: usize, k: usize) {
    for (member, values) in own.chunks(k).enumerate() {
        T::widen_into(&mut out[(member * rows + row) * k..][..k], values);
    }
}

fn unstack<T: Element>(own: &mut [T], stacked: &[f32], row: usize, rows: usize, k: usize) {
    for (member, values) in own.chunks_mut(k).enumerate() {
        T::narrow_into(values, &stacked[(member * rows + row) * k..][..k]);
    }
}

/// The query heads of some rows of a block, one below the other: [m, k].
fn gathered<T: Element>(block: &mut Block<T>, rows: &Range<usize>, m: usize, k: usize) -> Vec<f32> {
    let mut out = vec![0.0; m * k];
    for row in rows.clone() {
        stack(&mut out, block.row(row), row - rows.start, rows.len(), k);
    }
    out
}

/// The reverse of [`gathered`].
fn spread<T: Element>(block: &mut Block<T>, rows: &Range<usize>, stacked: &[f32], k: usize) {
    for row in rows.clone() {
        unstack(block.row(row), stacked, row - rows.start, rows.len(), k);
    }
}

fn copied<T: Element>(block: &mut Block<T>, rows: usize, k: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * k];
    for (row, out) in out.chunks_mut(k).enumerate() {
        T::widen_into(out, block.row(row));
    }
    out
}

fn written<T: Element>(block: &mut Block<T>, values: &[f32], k: usize) {
    for (row, values) in values.chunks(k).enumerate() {
        T::narrow_into(block.row(row), values);
    }
}
