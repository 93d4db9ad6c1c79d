//! y = x·Wᵀ and its two gradients. Shapes: x [n, i], W [o, i], y [n, o].
//!
//! A frozen W may be narrow or in blocks; it is widened as it is packed, and rounds nothing else.

use rayon::prelude::*;

use super::Element;
use super::gemm::{self, Matrix, Operand, Output, Threads, gemm};

/// Values a thread narrows at once.
const GRAIN: usize = 1 << 14;

/// x·Wᵀ.
pub(crate) fn linear<T: Element>(x: &[T], w: impl Operand) -> Vec<T> {
    fresh(x, w.t())
}

/// y += scale · x·Wᵀ.
pub(crate) fn linear_onto<T: Element>(y: &mut [T], x: &[T], w: impl Operand, scale: f32) {
    product(y, x, w.t(), scale, Output::Add);
}

/// dy·W.
pub(crate) fn linear_backward_input<T: Element>(dy: &[T], w: impl Operand) -> Vec<T> {
    fresh(dy, w)
}

/// dx += scale · dy·W.
pub(crate) fn linear_backward_input_onto<T: Element>(dx: &mut [T], dy: &[T], w: impl Operand, scale: f32) {
    product(dx, dy, w, scale, Output::Add);
}

/// dW (+)= scale · dyᵀ·x, straight into the gradient buffer.
pub(crate) fn linear_backward_weight<T: Element>(
    dw: &mut [f32],
    dy: &[T],
    x: &[T],
    (o, i): (usize, usize),
    scale: f32,
    output: Output,
) {
    let n = x.len() / i;
    gemm(dw, Matrix::new(dy, n, o).t(), Matrix::new(x, n, i), scale, output, Threads::All);
}

/// x·b.
fn fresh<T: Element>(x: &[T], b: impl Operand) -> Vec<T> {
    let (k, m) = b.size();
    let rows = x.len() / k;
    T::from_wide(|| gemm::product(Matrix::new(x, rows, k), b.rounded_as::<T>(), 1.0)).unwrap_or_else(|| {
        let mut y = vec![T::default(); rows * m];
        product(&mut y, x, b, 1.0, Output::Overwrite);
        y
    })
}

/// out (+)= scale · x·b. A narrow output is made from f32 sums, as many rows at a time as its format
/// allows.
fn product<T: Element>(out: &mut [T], x: &[T], b: impl Operand, scale: f32, output: Output) {
    let (b, (k, m)) = (b.rounded_as::<T>(), b.size());
    if let Some(out) = T::wide_mut(out) {
        return gemm(out, Matrix::new(x, x.len() / k, k), b, scale, output, Threads::All);
    }
    let rows = (x.len() / k).clamp(1, T::ROWS_PER_PASS);
    for (out, x) in out.chunks_mut(rows * m).zip(x.chunks(rows * k)) {
        let mut sums = gemm::product(Matrix::new(x, x.len() / k, k), b, scale);
        out.par_chunks_mut(GRAIN).zip(sums.par_chunks_mut(GRAIN)).for_each(|(out, sums)| {
            if output == Output::Add {
                sums.iter_mut().zip(&*out).for_each(|(sum, out)| *sum += out.widen());
            }
            T::narrow_into(out, sums);
        });
    }
}
