//! SwiGLU (Shazeer 2020): silu(gate) · up. Shapes: all [n, f].

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::Element;
use super::exp::sigmoid;
use super::output::{Unwritten, in_parts};

/// Values a thread takes at once: 32 KiB of f32.
const GRAIN: usize = 8192;

/// silu(gate) · up.
pub(crate) fn swiglu<T: Element>(gate: &[T], up: &[T]) -> Vec<T> {
    in_parts(gate.len(), GRAIN, |start, y| product(y, &gate[start..][..y.len()], &up[start..][..y.len()]))
}

/// `gate` becomes dgate and `up` becomes dup. With s = σ(gate): d silu = s + gate·s·(1 − s).
pub(crate) fn swiglu_backward<T: Element>(dy: &[T], gate: &mut [T], up: &mut [T]) {
    gate.par_chunks_mut(GRAIN)
        .zip(up.par_chunks_mut(GRAIN))
        .zip(dy.par_chunks(GRAIN))
        .for_each(|((gate, up), dy)| backward(dy, gate, up));
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn product<T: Element>(y: &mut Unwritten<'_, T>, gate: &[T], up: &[T]) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    y.extend(gate.iter().zip(up).map(|(gate, up)| {
        let gate = gate.widen();
        T::narrow(gate * sigmoid::<FMA>(gate) * up.widen())
    }));
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn backward<T: Element>(dy: &[T], gate: &mut [T], up: &mut [T]) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    for ((dy, gate), up) in dy.iter().zip(gate).zip(up) {
        let (dy, g) = (dy.widen(), gate.widen());
        let s = sigmoid::<FMA>(g);
        let silu = g * s;
        *gate = T::narrow(dy * up.widen() * (s + silu * (1.0 - s)));
        *up = T::narrow(dy * silu);
    }
}
