//! SwiGLU (Shazeer 2020): silu(gate) · up. Shapes: all [n, f].

use rayon::prelude::*;

use super::Element;
use super::exp::sigmoid;

const GRAIN: usize = 16_384;

/// silu(gate) · up.
pub(crate) fn swiglu<T: Element>(gate: &[T], up: &[T]) -> Vec<T> {
    let mut y = vec![T::default(); gate.len()];
    y.par_chunks_mut(GRAIN).zip(gate.par_chunks(GRAIN)).zip(up.par_chunks(GRAIN)).for_each(
        |((y, gate), up)| {
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                let gate = gate.widen();
                *y = T::narrow(gate * sigmoid(gate) * up.widen());
            }
        },
    );
    y
}

/// (dgate, dup) for dy. With s = σ(gate): d silu = s + gate·s·(1 − s).
pub(crate) fn swiglu_backward<T: Element>(gate: &[T], up: &[T], dy: &[T]) -> (Vec<T>, Vec<T>) {
    let mut dgate = vec![T::default(); gate.len()];
    let mut dup = vec![T::default(); gate.len()];
    let inputs = gate.par_chunks(GRAIN).zip(up.par_chunks(GRAIN)).zip(dy.par_chunks(GRAIN));
    dgate.par_chunks_mut(GRAIN).zip(dup.par_chunks_mut(GRAIN)).zip(inputs).for_each(
        |((dgate, dup), ((gate, up), dy))| {
            for i in 0..gate.len() {
                let (gate, up, dy) = (gate[i].widen(), up[i].widen(), dy[i].widen());
                let s = sigmoid(gate);
                let silu = gate * s;
                dup[i] = T::narrow(dy * silu);
                dgate[i] = T::narrow(dy * up * (s + silu * (1.0 - s)));
            }
        },
    );
    (dgate, dup)
}
