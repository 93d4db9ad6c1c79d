//! Rotary position embedding (Su et al. 2021), half-split as in Hugging Face's Llama.

use rayon::prelude::*;

use super::Element;

/// Rotates every head of x [b·t, h·k] by its position; `sign` −1 undoes it, which is the gradient.
///
/// Shapes: cos, sin [≥ t, k/2].
pub(crate) fn rope<T: Element>(
    x: &[T],
    cos: &[f32],
    sin: &[f32],
    t: usize,
    k: usize,
    width: usize,
    sign: f32,
) -> Vec<T> {
    let half = k / 2;
    let mut y = vec![T::default(); x.len()];
    y.par_chunks_mut(width).zip(x.par_chunks(width)).enumerate().with_min_len(32).for_each(
        |(row, (y, x))| {
            let position = row % t;
            let cos = &cos[position * half..][..half];
            let sin = &sin[position * half..][..half];
            for (y, x) in y.chunks_mut(k).zip(x.chunks(k)) {
                let ((y0, y1), (x0, x1)) = (y.split_at_mut(half), x.split_at(half));
                for i in 0..half {
                    let (a, b, s) = (x0[i].widen(), x1[i].widen(), sin[i] * sign);
                    y0[i] = T::narrow(a * cos[i] - b * s);
                    y1[i] = T::narrow(b * cos[i] + a * s);
                }
            }
        },
    );
    y
}
