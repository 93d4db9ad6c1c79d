//! Rows of the embedding matrix. Shapes: ids [n], W [v, d] (f32), y [n, d].

use super::Element;

/// y[i] = W[ids[i]].
pub(crate) fn embedding<T: Element>(ids: &[u32], w: &[f32], d: usize) -> Vec<T> {
    // Allocated once: a vector that grows as it is filled holds up to three times its size.
    let mut y = vec![T::default(); ids.len() * d];
    for (id, y) in ids.iter().zip(y.chunks_mut(d)) {
        for (y, w) in y.iter_mut().zip(&w[*id as usize * d..][..d]) {
            *y = T::narrow(*w);
        }
    }
    y
}

/// dW[ids[i]] += dy[i].
pub(crate) fn embedding_backward<T: Element>(dw: &mut [f32], ids: &[u32], dy: &[T], d: usize) {
    for (id, dy) in ids.iter().zip(dy.chunks(d)) {
        for (dw, dy) in dw[*id as usize * d..][..d].iter_mut().zip(dy) {
            *dw += dy.widen();
        }
    }
}
