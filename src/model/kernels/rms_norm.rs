//! Root-mean-square norm (Zhang and Sennrich 2019). Shapes: x [n, d], w [d] (f32).
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use multiversion::multiversion;
use rayon::prelude::*;

use super::Element;
use super::output::{Unwritten, in_parts};
use super::sums::{LANES, Sums, sum};
use crate::memory::kernels::NORM_PARTS as PARTS;

/// Values a thread takes at once: 32 KiB of f32, so that a chunk is read twice from the cache.
const GRAIN: usize = 8192;
/// y = x · w / sqrt(mean(x²) + ε).
pub(crate) fn rms_norm<T: Element>(x: &[T], w: &[f32], epsilon: f32) -> Vec<T> {
    let grain = rows_at_once(w.len()) * w.len();
    in_parts(x.len(), grain, |start, y| rows(y, &x[start..][..y.len()], w, epsilon))
}

/// `residual` += dx; the gradient of the weight is added to `dw`, where it is wanted.
///
/// With r = 1/sqrt(mean(x²) + ε): dx = r·w·dy − x · r³/d · Σ(dy·w·x), dw = Σ over rows of dy·x·r.
pub(crate) fn rms_norm_backward<T: Element>(
    residual: &mut [T],
    dw: Option<&mut [f32]>,
    (x, dy): (&[T], &[T]),
    w: &[f32],
    epsilon: f32,
) {
    let d = w.len();
    let chunks = |residual, grain| zip3(residual, x, dy, grain);
    let Some(dw) = dw else {
        let grain = rows_at_once(d) * d;
        return chunks(residual, grain)
            .for_each(|((dx, x), dy)| backward_rows(dx, &mut [], x, dy, w, epsilon));
    };
    let grain = (x.len() / d).div_ceil(PARTS).max(1) * d;
    let mut partial = vec![0.0; PARTS * d];
    chunks(residual, grain)
        .zip(partial.par_chunks_mut(d))
        .for_each(|(((dx, x), dy), dw)| backward_rows(dx, dw, x, dy, w, epsilon));
    for part in partial.chunks(d) {
        for (dw, part) in dw.iter_mut().zip(part) {
            *dw += part;
        }
    }
}

fn rows_at_once(d: usize) -> usize {
    (GRAIN / d).max(1)
}

fn zip3<'a, T: Element>(
    a: &'a mut [T],
    b: &'a [T],
    c: &'a [T],
    grain: usize,
) -> impl IndexedParallelIterator<Item = ((&'a mut [T], &'a [T]), &'a [T])> {
    a.par_chunks_mut(grain).zip(b.par_chunks(grain)).zip(c.par_chunks(grain))
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn rows<T: Element>(y: &mut Unwritten<'_, T>, x: &[T], w: &[f32], epsilon: f32) {
    for x in x.chunks(w.len()) {
        let r = inverse_root(sum(x, |x| x.widen() * x.widen()), x.len(), epsilon);
        y.extend(x.iter().zip(w).map(|(x, w)| T::narrow(x.widen() * r * w)));
    }
}

/// `dw` is empty where the gradient of the weight is not wanted.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn backward_rows<T: Element>(dx: &mut [T], dw: &mut [f32], x: &[T], dy: &[T], w: &[f32], epsilon: f32) {
    let d = w.len();
    for ((dx, x), dy) in dx.chunks_mut(d).zip(x.chunks(d)).zip(dy.chunks(d)) {
        let (squares, projection) = two_sums(x, dy, w);
        let r = inverse_root(squares, d, epsilon);
        #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
        let scale = projection * r * r * r / d as f32;
        for (((dx, x), dy), w) in dx.iter_mut().zip(x).zip(dy).zip(w) {
            *dx = T::narrow(dx.widen() + (dy.widen() * w * r - x.widen() * scale));
        }
        for ((dw, x), dy) in dw.iter_mut().zip(x).zip(dy) {
            *dw += dy.widen() * x.widen() * r;
        }
    }
}

/// Σ x² and Σ dy·w·x.
#[inline(always)]
fn two_sums<T: Element>(x: &[T], dy: &[T], w: &[f32]) -> (f32, f32) {
    let (mut squares, mut projection) = (Sums::new(), Sums::new());
    let mut add = |lane: usize, x: T, dy: T, w: f32| {
        squares.add(lane, x.widen() * x.widen());
        projection.add(lane, dy.widen() * w * x.widen());
    };
    let ((x, x_rest), (dy, dy_rest), (w, w_rest)) =
        (x.as_chunks::<LANES>(), dy.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    for ((x, dy), w) in x.iter().zip(dy).zip(w) {
        for lane in 0..LANES {
            add(lane, x[lane], dy[lane], w[lane]);
        }
    }
    for (lane, ((x, dy), w)) in x_rest.iter().zip(dy_rest).zip(w_rest).enumerate() {
        add(lane, *x, *dy, *w);
    }
    (squares.total(), projection.total())
}

#[inline(always)]
fn inverse_root(squares: f32, d: usize, epsilon: f32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let mean = squares / d as f32;
    1.0 / (mean + epsilon).sqrt()
}
