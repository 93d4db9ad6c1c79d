//! Root-mean-square norm (Zhang and Sennrich 2019). Shapes: x [n, d], w [d] (f32).

use rayon::prelude::*;

use super::Element;

/// Rows a thread takes at once; also the fixed grain in which weight gradients are summed.
const ROWS: usize = 64;

/// y = x · w / sqrt(mean(x²) + ε).
pub(crate) fn rms_norm<T: Element>(x: &[T], w: &[f32], epsilon: f32) -> Vec<T> {
    let d = w.len();
    let mut y = vec![T::default(); x.len()];
    y.par_chunks_mut(d * ROWS).zip(x.par_chunks(d * ROWS)).for_each(|(y, x)| {
        for (y, x) in y.chunks_mut(d).zip(x.chunks(d)) {
            let r = inverse_rms(x, epsilon);
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = T::narrow(x.widen() * r * w);
            }
        }
    });
    y
}

/// dx, and dw added to the gradient buffer.
///
/// With r = 1/sqrt(mean(x²) + ε): dx = r·w·dy − x · r³/d · Σ(dy·w·x), dw = Σ over rows of dy·x·r.
pub(crate) fn rms_norm_backward<T: Element>(
    dw: &mut [f32],
    x: &[T],
    w: &[f32],
    dy: &[T],
    epsilon: f32,
) -> Vec<T> {
    let d = w.len();
    let mut dx = vec![T::default(); x.len()];
    let partial: Vec<Vec<f32>> = dx
        .par_chunks_mut(d * ROWS)
        .zip(x.par_chunks(d * ROWS))
        .zip(dy.par_chunks(d * ROWS))
        .map(|((dx, x), dy)| {
            let mut dw = vec![0.0; d];
            for ((dx, x), dy) in dx.chunks_mut(d).zip(x.chunks(d)).zip(dy.chunks(d)) {
                backward_row(dx, &mut dw, x, w, dy, epsilon);
            }
            dw
        })
        .collect();
    for part in partial {
        for (dw, part) in dw.iter_mut().zip(part) {
            *dw += part;
        }
    }
    dx
}

#[inline]
fn backward_row<T: Element>(dx: &mut [T], dw: &mut [f32], x: &[T], w: &[f32], dy: &[T], epsilon: f32) {
    let r = inverse_rms(x, epsilon);
    let projection: f32 = lanes(x.len(), |i| dy[i].widen() * w[i] * x[i].widen());
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let scale = projection * r * r * r / x.len() as f32;
    for i in 0..x.len() {
        let (x, dy) = (x[i].widen(), dy[i].widen());
        dx[i] = T::narrow(dy * w[i] * r - x * scale);
        dw[i] += dy * x * r;
    }
}

#[inline]
fn inverse_rms<T: Element>(x: &[T], epsilon: f32) -> f32 {
    let sum = lanes(x.len(), |i| x[i].widen() * x[i].widen());
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let mean = sum / x.len() as f32;
    1.0 / (mean + epsilon).sqrt()
}

/// Σ of `term(i)` for i < n, in sixteen running sums so that it vectorises.
#[inline]
pub(super) fn lanes(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    let tail: f32 = (whole..n).map(&term).sum();
    sums.iter().sum::<f32>() + tail
}
