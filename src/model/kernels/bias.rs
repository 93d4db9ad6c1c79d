//! y + b in each row, and the gradient of b. Shapes: y, dy [n, o], b [o] (f32).

use multiversion::multiversion;
use rayon::prelude::*;

use super::Element;
use crate::memory::kernels::NORM_PARTS as PARTS;

/// Values a thread takes at once: 32 KiB of f32.
const GRAIN: usize = 8192;
/// y += b in each row.
pub(crate) fn add_bias<T: Element>(y: &mut [T], bias: &[f32]) {
    let rows = (GRAIN / bias.len()).max(1);
    y.par_chunks_mut(rows * bias.len()).for_each(|y| add_rows(y, bias));
}

/// db += Σ over rows of dy.
pub(crate) fn bias_backward<T: Element>(dbias: &mut [f32], dy: &[T]) {
    let o = dbias.len();
    let grain = (dy.len() / o).div_ceil(PARTS).max(1) * o;
    let mut partial = vec![0.0; PARTS * o];
    dy.par_chunks(grain).zip(partial.par_chunks_mut(o)).for_each(|(dy, part)| sum_rows(part, dy));
    for part in partial.chunks(o) {
        for (dbias, part) in dbias.iter_mut().zip(part) {
            *dbias += part;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn add_rows<T: Element>(y: &mut [T], bias: &[f32]) {
    for y in y.chunks_mut(bias.len()) {
        for (y, bias) in y.iter_mut().zip(bias) {
            *y = T::narrow(y.widen() + bias);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn sum_rows<T: Element>(sums: &mut [f32], dy: &[T]) {
    for dy in dy.chunks(sums.len()) {
        for (sum, dy) in sums.iter_mut().zip(dy) {
            *sum += dy.widen();
        }
    }
}
