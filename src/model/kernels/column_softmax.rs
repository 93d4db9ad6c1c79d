//! The softmax of logits whose columns are positions, some rows at a time.
//!
//! Shapes: logits [v, n], row after row. A block of rows keeps its own maxima and sums; once those of all
//! blocks are known its gradients follow from what it has become (the idea of Milakov and Gimelshein
//! 2018), so that rows may be worked on as soon as they are made.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::exp::exp_with;
use super::sums::larger;
use super::tanh::tanh;
use crate::memory::kernels::SOFTMAX_BLOCK as BLOCK;

/// What is known of each column.
pub(super) struct ColumnSoftmax {
    n: usize,
    cap: Option<f32>,
    /// Largest logit of block b in column j, at b·n + j.
    highest: Vec<f32>,
    /// Sum of exp(logit − highest).
    sums: Vec<f32>,
    /// The same of all blocks together.
    total: (Vec<f32>, Vec<f32>),
}

impl ColumnSoftmax {
    /// For logits of so many rows and at most so many columns, under a soft `cap` if one is given.
    pub(super) fn new(v: usize, most: usize, cap: Option<f32>) -> Self {
        let room = || vec![0.0; v.div_ceil(BLOCK) * most];
        Self { n: most, cap, highest: room(), sums: room(), total: (vec![0.0; most], vec![0.0; most]) }
    }

    /// Begins with other logits, of so many columns.
    pub(super) fn begin(&mut self, n: usize) {
        self.n = n;
    }

    /// Takes the logits from row `first` on, which begins a block; they become weights.
    pub(super) fn weigh(&mut self, first: usize, logits: &mut [f32]) {
        let (n, cap, start) = (self.n, self.cap, first / BLOCK * self.n);
        let of_blocks = self.highest[start..].par_chunks_mut(n).zip(self.sums[start..].par_chunks_mut(n));
        logits.par_chunks_mut(BLOCK * n).zip(of_blocks).for_each(|(rows, (highest, sums))| match cap {
            None => weigh(rows, highest, sums),
            Some(cap) => weigh_capped(rows, highest, sums, cap),
        });
    }

    /// The loss of each column in nats, by the logit of its target; all rows were weighed.
    pub(super) fn losses(&mut self, v: usize, wanted: &[f32]) -> Vec<f32> {
        let (highest, sums) = &mut self.total;
        let (highest, sums) = (&mut highest[..self.n], &mut sums[..self.n]);
        let blocks = v.div_ceil(BLOCK);
        highest.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        for own in self.highest.chunks(self.n).take(blocks) {
            highest.iter_mut().zip(own).for_each(|(total, own)| *total = larger(*total, *own));
        }
        for (own, part) in self.highest.chunks(self.n).zip(self.sums.chunks(self.n)).take(blocks) {
            for (((sum, highest), own), part) in sums.iter_mut().zip(&*highest).zip(own).zip(part) {
                *sum += part * exp_with::<false>(own - highest);
            }
        }
        let capped = |logit: f32| self.cap.map_or(logit, |cap| cap * tanh::<false>(logit / cap));
        let of = |((wanted, highest), sum): ((&f32, &f32), &f32)| sum.ln() + highest - capped(*wanted);
        wanted.iter().zip(&*highest).zip(&*sums).map(of).collect()
    }

    /// Makes scale · softmax of the weights from row `first` on, times the slope of the cap.
    pub(super) fn slopes(&self, first: usize, weights: &mut [f32], scale: f32) {
        let (n, start) = (self.n, first / BLOCK * self.n);
        let (highest, sums) = (&self.total.0[..n], &self.total.1[..n]);
        let blocks = weights.par_chunks_mut(BLOCK * n).zip(self.highest[start..].par_chunks(n));
        blocks.for_each(|(rows, own)| match self.cap {
            None => {
                let columns = own.iter().zip(highest).zip(sums);
                let factor = |((own, highest), sum): ((&f32, &f32), &f32)| {
                    scale / sum * exp_with::<false>(own - highest)
                };
                multiply(rows, &columns.map(factor).collect::<Vec<f32>>());
            }
            Some(cap) => slopes_capped(rows, highest, sums, (scale, cap)),
        });
    }

    /// What a one-hot target takes from its gradient, where the logit was `wanted`.
    pub(super) fn target_slope(&self, scale: f32, wanted: f32) -> f32 {
        let tanh = self.cap.map_or(0.0, |cap| tanh::<false>(wanted / cap));
        scale * (1.0 - tanh * tanh)
    }
}

/// Logits z become exp(z − highest of the block).
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn weigh(rows: &mut [f32], highest: &mut [f32], sums: &mut [f32]) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    find_highest(rows, highest);
    sums.fill(0.0);
    for row in rows.chunks_mut(highest.len()) {
        for ((value, highest), sum) in row.iter_mut().zip(&*highest).zip(&mut *sums) {
            *value = exp_with::<FMA>(*value - highest);
            *sum += *value;
        }
    }
}

/// Logits z, which count as c·tanh(z/c), become tanh(z/c): exponentials are made twice.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn weigh_capped(rows: &mut [f32], highest: &mut [f32], sums: &mut [f32], cap: f32) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    for value in rows.iter_mut() {
        *value = tanh::<FMA>(*value / cap);
    }
    find_highest(rows, highest);
    sums.fill(0.0);
    for row in rows.chunks(highest.len()) {
        for ((value, highest), sum) in row.iter().zip(&*highest).zip(&mut *sums) {
            *sum += exp_with::<FMA>(cap * (*value - highest));
        }
    }
    for highest in highest.iter_mut() {
        *highest *= cap;
    }
}

#[expect(clippy::inline_always, reason = "compiled for the processor of the loop it stands in")]
#[inline(always)]
fn find_highest(rows: &[f32], highest: &mut [f32]) {
    highest.fill(f32::NEG_INFINITY);
    for row in rows.chunks(highest.len()) {
        highest.iter_mut().zip(row).for_each(|(highest, value)| *highest = larger(*highest, *value));
    }
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn multiply(rows: &mut [f32], factors: &[f32]) {
    for row in rows.chunks_mut(factors.len()) {
        row.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
}

/// s = c·t has the slope 1 − t².
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn slopes_capped(rows: &mut [f32], highest: &[f32], sums: &[f32], (scale, cap): (f32, f32)) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    for row in rows.chunks_mut(highest.len()) {
        for ((t, highest), sum) in row.iter_mut().zip(highest).zip(sums) {
            *t = scale / sum * exp_with::<FMA>(cap * *t - highest) * (1.0 - *t * *t);
        }
    }
}
