//! Copies a block of a matrix into the order in which the tile kernel reads it.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::Element;
use super::matrix::{Lines, Matrix};

/// Columns of the source transposed together: a cache line of f32.
const STRIP: usize = 16;

/// What a tile kernel multiplies.
pub(super) trait Factor: Copy + Send + Sync {
    /// Neighbours along the inner size in one factor.
    const DEPTH: usize;
    /// The factor of nothing.
    const ZERO: Self;

    /// The factor of the values `at(0)` to `at(DEPTH - 1)`.
    fn of<T: Element>(at: impl Fn(usize) -> T) -> Self;
}

impl Factor for f32 {
    const DEPTH: usize = 1;
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn of<T: Element>(at: impl Fn(usize) -> T) -> Self {
        at(0).widen()
    }
}

/// Two bfloat16, the first in the low half.
impl Factor for u32 {
    const DEPTH: usize = 2;
    const ZERO: Self = 0;

    #[inline(always)]
    fn of<T: Element>(at: impl Fn(usize) -> T) -> Self {
        u32::from(at(0).bf16_bits()) | u32::from(at(1).bf16_bits()) << 16
    }
}

/// Packs `rows` × `depth` of `matrix` as one panel: for each factor of the depth, `width` lanes.
///
/// Lanes past the rows, and what a last factor lacks in depth, are zero. Every value of `panel`
/// (`depth / DEPTH`, rounded up, times `width`) is written.
pub(super) fn pack<T: Element, F: Factor>(
    panel: &mut [MaybeUninit<F>],
    matrix: &Matrix<T>,
    rows: &Range<usize>,
    depth: &Range<usize>,
    width: usize,
) {
    assert_eq!(panel.len(), depth.len().div_ceil(F::DEPTH) * width, "a panel of another size");
    match matrix.lines(rows, depth) {
        Lines::ByRow { data, stride } => pack_rows(panel, data, stride, (rows.len(), depth.len()), width),
        Lines::ByColumn { data, stride } => {
            pack_columns(panel, data, stride, (rows.len(), depth.len()), width);
        }
    }
}

/// The source's rows become lanes: a transposition, a strip at a time so that it stays in cache.
fn pack_rows<T: Element, F: Factor>(
    panel: &mut [MaybeUninit<F>],
    data: &[T],
    stride: usize,
    (rows, depth): (usize, usize),
    width: usize,
) {
    for (strip, panel) in panel.chunks_mut(STRIP * width).enumerate() {
        let start = strip * STRIP * F::DEPTH;
        let length = (STRIP * F::DEPTH).min(depth - start);
        for lane in 0..rows {
            let line = &data[lane * stride + start..][..length];
            let lanes = panel[lane..].iter_mut().step_by(width);
            let whole = line.chunks_exact(F::DEPTH);
            let rest = whole.remainder();
            let factors = whole.map(|values| F::of(|i| values[i]));
            let last = (!rest.is_empty()).then(|| F::of(|i| rest.get(i).copied().unwrap_or_default()));
            for (lane, factor) in lanes.zip(factors.chain(last)) {
                lane.write(factor);
            }
        }
        fill_unused(panel, rows, width);
    }
}

/// The source's columns are the lanes already.
fn pack_columns<T: Element, F: Factor>(
    panel: &mut [MaybeUninit<F>],
    data: &[T],
    stride: usize,
    (rows, depth): (usize, usize),
    width: usize,
) {
    for (factor, lanes) in panel.chunks_mut(width).enumerate() {
        let start = factor * F::DEPTH;
        let line = |i: usize| &data[(start + i) * stride..][..rows];
        let first = line(0);
        // A single line stands in for its missing neighbour, which then counts as zero.
        let (second, present) =
            if F::DEPTH == 2 && start + 1 < depth { (line(1), true) } else { (first, false) };
        for (lane, (first, second)) in lanes.iter_mut().zip(first.iter().zip(second)) {
            let second = if present { *second } else { T::default() };
            lane.write(F::of(|i| if i == 0 { *first } else { second }));
        }
    }
    fill_unused(panel, rows, width);
}

fn fill_unused<F: Factor>(panel: &mut [MaybeUninit<F>], rows: usize, width: usize) {
    if rows < width {
        for lanes in panel.chunks_mut(width) {
            lanes[rows..].fill(MaybeUninit::new(F::ZERO));
        }
    }
}
