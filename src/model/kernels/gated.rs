//! Gated activations (Shazeer 2020): act(gate) · up. Shapes: all [n, f].
//!
//! Both activations are x·σ(z) with z = x (`SiLU`) or 2·√(2/π)·(x + 0.044715·x³) (GELU by tanh, as
//! (1 + tanh u)/2 = σ(2u)), so one loop serves both: d act = s + x·s·(1 − s)·dz/dx with s = σ(z).
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::Element;
use super::exp::sigmoid;
use super::output::{Unwritten, in_parts};
use crate::arch::Activation;

/// Values a thread takes at once: 32 KiB of f32.
const GRAIN: usize = 8192;

/// What stands in the sigmoid.
trait Inner {
    /// z
    fn value(x: f32) -> f32;
    /// dz/dx
    fn slope(x: f32) -> f32;
}

struct Silu;

impl Inner for Silu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn slope(_: f32) -> f32 {
        1.0
    }
}

struct GeluTanh;

impl GeluTanh {
    /// 2·√(2/π)
    const A: f32 = 1.595_769;
    const B: f32 = 0.044_715;
}

impl Inner for GeluTanh {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        Self::A * x * (1.0 + Self::B * x * x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        Self::A * (1.0 + 3.0 * Self::B * x * x)
    }
}

/// act(gate) · up.
pub(crate) fn gated<T: Element>(gate: &[T], up: &[T], activation: Activation) -> Vec<T> {
    let part = match activation {
        Activation::Silu => product::<T, Silu>,
        Activation::GeluTanh => product::<T, GeluTanh>,
    };
    in_parts(gate.len(), GRAIN, |start, y| {
        let n = y.len();
        part(y, &gate[start..][..n], &up[start..][..n]);
    })
}

/// `gate` becomes dgate and `up` becomes dup.
pub(crate) fn gated_backward<T: Element>(dy: &[T], gate: &mut [T], up: &mut [T], activation: Activation) {
    let part = match activation {
        Activation::Silu => backward::<T, Silu>,
        Activation::GeluTanh => backward::<T, GeluTanh>,
    };
    gate.par_chunks_mut(GRAIN)
        .zip(up.par_chunks_mut(GRAIN))
        .zip(dy.par_chunks(GRAIN))
        .for_each(|((gate, up), dy)| part(dy, gate, up));
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn product<T: Element, I: Inner>(y: &mut Unwritten<'_, T>, gate: &[T], up: &[T]) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    y.extend(gate.iter().zip(up).map(|(gate, up)| {
        let gate = gate.widen();
        T::narrow(gate * sigmoid::<FMA>(I::value(gate)) * up.widen())
    }));
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn backward<T: Element, I: Inner>(dy: &[T], gate: &mut [T], up: &mut [T]) {
    const FMA: bool = target_cfg_f!(target_feature = "fma");
    for ((dy, gate), up) in dy.iter().zip(gate).zip(up) {
        let (dy, g) = (dy.widen(), gate.widen());
        let s = sigmoid::<FMA>(I::value(g));
        let active = g * s;
        *gate = T::narrow(dy * up.widen() * (s + active * (1.0 - s) * I::slope(g)));
        *up = T::narrow(dy * active);
    }
}
