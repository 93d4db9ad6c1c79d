//! y = x·Wᵀ and its two gradients. Shapes: x [n, i], W [o, i] (f32), y [n, o].

use super::Element;
use super::gemm::{Matrix, Output, Threads, gemm};

/// y = x·Wᵀ.
pub(crate) fn linear<T: Element>(x: &[T], w: &[f32], i: usize, o: usize) -> Vec<T> {
    product(x, Matrix::new(w, o, i).t(), i, o)
}

/// dx = dy·W.
pub(crate) fn linear_backward_input<T: Element>(dy: &[T], w: &[f32], i: usize, o: usize) -> Vec<T> {
    product(dy, Matrix::new(w, o, i), o, i)
}

/// dW += dyᵀ·x, straight into the gradient buffer.
pub(crate) fn linear_backward_weight<T: Element>(dw: &mut [f32], dy: &[T], x: &[T], i: usize, o: usize) {
    let rows = (x.len() / i).clamp(1, T::ROWS_PER_PASS);
    for (dy, x) in dy.chunks(rows * o).zip(x.chunks(rows * i)) {
        let (dy, x) = (T::widen_all(dy), T::widen_all(x));
        let n = x.len() / i;
        gemm(dw, Matrix::new(&dy, n, o).t(), Matrix::new(&x, n, i), 1.0, Output::Add, Threads::All);
    }
}

/// x[n, k]·b[k, m], in passes of so many rows as the format allows.
fn product<T: Element>(x: &[T], b: Matrix, k: usize, m: usize) -> Vec<T> {
    let n = x.len() / k;
    let rows = n.clamp(1, T::ROWS_PER_PASS);
    let mut y = vec![T::default(); n * m];
    for (y, x) in y.chunks_mut(rows * m).zip(x.chunks(rows * k)) {
        let x = T::widen_all(x);
        let a = Matrix::new(&x, x.len() / k, k);
        T::fill(y, |y| gemm(y, a, b, 1.0, Output::Overwrite, Threads::All));
    }
    y
}
