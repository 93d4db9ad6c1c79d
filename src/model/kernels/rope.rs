//! Rotary position embedding (Su et al. 2021), half-split as in Hugging Face's Llama.
//!
//! The first w ≤ k values of each head are turned; the others stay.

use multiversion::multiversion;
use rayon::prelude::*;

use super::Element;

/// Values a thread takes at once: 32 KiB of f32.
const GRAIN: usize = 8192;

/// By how much which position is turned.
#[derive(Clone, Copy)]
pub(crate) struct Rotation<'a> {
    /// [positions, w/2]
    pub cos: &'a [f32],
    /// [positions, w/2]
    pub sin: &'a [f32],
    /// The row of the tables for each row.
    pub positions: &'a [u32],
    /// Width of a head.
    pub k: usize,
    /// w/2
    pub half: usize,
    /// −1 turns back, which is the gradient.
    pub sign: f32,
}

/// Rotates every head of x [n, h·k] by its position, in place; `width` is h·k.
pub(crate) fn rope<T: Element>(x: &mut [T], width: usize, rotation: Rotation) {
    let rows = (GRAIN / width).max(1);
    let chunks = x.par_chunks_mut(rows * width).zip(rotation.positions.par_chunks(rows));
    chunks.for_each(|(x, positions)| rotate_rows(x, width, Rotation { positions, ..rotation }));
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn rotate_rows<T: Element>(x: &mut [T], width: usize, rotation: Rotation<'_>) {
    let Rotation { cos, sin, positions, k, half, sign } = rotation;
    for (x, position) in x.chunks_mut(width).zip(positions) {
        let position = *position as usize;
        let cos = &cos[position * half..][..half];
        let sin = &sin[position * half..][..half];
        for x in x.chunks_mut(k) {
            let (a, b) = x[..2 * half].split_at_mut(half);
            for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                let (x, y, sin) = (a.widen(), b.widen(), sin * sign);
                *a = T::narrow(x * cos - y * sin);
                *b = T::narrow(y * cos + x * sin);
            }
        }
    }
}
