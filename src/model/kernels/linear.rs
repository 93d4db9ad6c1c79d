//! y = x·Wᵀ and its two gradients. Shapes: x [n, i], W [o, i], y [n, o].

use rayon::prelude::*;

use super::Element;
use super::gemm::{Matrix, Output, Threads, gemm};

/// Values a thread narrows at once.
const GRAIN: usize = 1 << 14;

/// y (+)= x·Wᵀ.
pub(crate) fn linear<T: Element>(y: &mut [T], x: &[T], w: &[f32], (o, i): (usize, usize), output: Output) {
    product(y, x, Matrix::new(w, o, i).t(), output);
}

/// dx (+)= dy·W.
pub(crate) fn linear_backward_input<T: Element>(
    dx: &mut [T],
    dy: &[T],
    w: &[f32],
    (o, i): (usize, usize),
    output: Output,
) {
    product(dx, dy, Matrix::new(w, o, i), output);
}

/// dW (+)= dyᵀ·x, straight into the gradient buffer.
pub(crate) fn linear_backward_weight<T: Element>(
    dw: &mut [f32],
    dy: &[T],
    x: &[T],
    (o, i): (usize, usize),
    output: Output,
) {
    let n = x.len() / i;
    gemm(dw, Matrix::new(dy, n, o).t(), Matrix::new(x, n, i), 1.0, output, Threads::All);
}

/// out (+)= x·b. A narrow output is made from f32 sums, so many rows at a time as its format allows.
fn product<T: Element>(out: &mut [T], x: &[T], b: Matrix<f32>, output: Output) {
    let (k, m) = b.size();
    if let Some(out) = T::as_wide(out) {
        return gemm(out, Matrix::new(x, x.len() / k, k), b, 1.0, output, Threads::All);
    }
    let rows = (x.len() / k).clamp(1, T::ROWS_PER_PASS);
    let mut sums = vec![0.0; rows * m];
    for (out, x) in out.chunks_mut(rows * m).zip(x.chunks(rows * k)) {
        let sums = &mut sums[..out.len()];
        gemm(sums, Matrix::new(x, x.len() / k, k), b, 1.0, Output::Overwrite, Threads::All);
        out.par_chunks_mut(GRAIN).zip(sums.par_chunks(GRAIN)).for_each(|(out, sums)| match output {
            Output::Overwrite => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::narrow(*sum)),
            Output::Add => {
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::narrow(out.widen() + sum));
            }
        });
    }
}
