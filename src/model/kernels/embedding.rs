//! Rows of the embedding matrix. Shapes: ids [n], W [v, d], y [n, d].

use multiversion::multiversion;
use rayon::prelude::*;

use super::Element;
use super::output::{Unwritten, in_parts};

/// Values a thread takes at once: 32 KiB of f32.
const GRAIN: usize = 8192;
/// Parts of the vocabulary for each thread when gradients are added. More than one, because frequent
/// tokens stand together; few, because each part walks all ids.
const PARTS_PER_THREAD: usize = 4;

/// y[i] = scale · W[ids[i]].
pub(crate) fn embedding<T: Element, W: Element>(ids: &[u32], w: &[W], d: usize, scale: f32) -> Vec<T> {
    let rows = (GRAIN / d).max(1);
    in_parts(ids.len() * d, rows * d, |start, y| {
        copy_rows(y, &ids[start / d..][..y.len() / d], w, d, scale);
    })
}

/// dW[ids[i]] += scale · dy[i], for each row of dW in the order of i however many threads there are.
pub(crate) fn embedding_backward<T: Element>(dw: &mut [f32], ids: &[u32], dy: &[T], d: usize, scale: f32) {
    let parts = PARTS_PER_THREAD * rayon::current_num_threads();
    let rows = (dw.len() / d).div_ceil(parts).max(1);
    let chunks = dw.par_chunks_mut(rows * d).enumerate();
    chunks.for_each(|(part, dw)| add_rows(dw, part * rows, (ids, dy), d, scale));
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn copy_rows<T: Element, W: Element>(y: &mut Unwritten<'_, T>, ids: &[u32], w: &[W], d: usize, scale: f32) {
    for id in ids {
        y.extend(w[*id as usize * d..][..d].iter().map(|w| T::narrow(w.widen() * scale)));
    }
}

/// `dw` holds the rows of the vocabulary from `first` on.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn add_rows<T: Element>(dw: &mut [f32], first: usize, (ids, dy): (&[u32], &[T]), d: usize, scale: f32) {
    let rows = dw.len() / d;
    for (id, dy) in ids.iter().zip(dy.chunks(d)) {
        let row = (*id as usize).wrapping_sub(first);
        if row < rows {
            for (dw, dy) in dw[row * d..][..d].iter_mut().zip(dy) {
                *dw += dy.widen() * scale;
            }
        }
    }
}
