//! Copies a block of a matrix into the order in which the tile kernel reads it.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]

use std::mem::MaybeUninit;

use multiversion::multiversion;

use super::super::Element;
use super::matrix::Lines;
use super::transpose::{SIDE, transpose};

/// Bytes that come from memory together.
const LINE_BYTES: usize = 64;
/// Lines of the source that are asked for before they are packed.
const LINES_AHEAD: usize = 16;

/// What a tile kernel multiplies: 32 bits.
pub(super) trait Factor: Copy + Default + Send + Sync {
    /// Neighbours along the inner size in one factor.
    const DEPTH: usize;

    /// The factor of one value, or of two.
    fn of<T: Element>(first: T, second: T) -> Self;

    /// The values themselves, where they are factors already.
    fn in_place<T: Element>(values: &[T]) -> Option<&[Self]>;
}

impl Factor for f32 {
    const DEPTH: usize = 1;

    #[inline(always)]
    fn of<T: Element>(first: T, _: T) -> Self {
        first.widen()
    }

    fn in_place<T: Element>(values: &[T]) -> Option<&[Self]> {
        T::wide(values)
    }
}

/// Two bfloat16, the first in the low half.
impl Factor for u32 {
    const DEPTH: usize = 2;

    #[inline(always)]
    fn of<T: Element>(first: T, second: T) -> Self {
        u32::from(first.bf16_bits()) | u32::from(second.bf16_bits()) << 16
    }

    fn in_place<T: Element>(_: &[T]) -> Option<&[Self]> {
        None
    }
}

/// Packs so many `lines`, each `depth` long, into panels of `width` lanes: one lane per line, and for
/// each panel one group of lanes after the other along the depth.
///
/// Lanes past the lines, and what a last factor lacks in depth, are zero. Every value of `panels`
/// (the panels times `depth / DEPTH`, rounded up, times `width`) is written.
pub(super) fn pack<T: Element, F: Factor>(
    panels: &mut [MaybeUninit<F>],
    lines: &Lines<T>,
    (count, depth): (usize, usize),
    width: usize,
) {
    match width {
        4 => pack_panels::<T, F, 4>(panels, lines, count, depth),
        6 => pack_panels::<T, F, 6>(panels, lines, count, depth),
        8 => pack_panels::<T, F, 8>(panels, lines, count, depth),
        16 => pack_panels::<T, F, 16>(panels, lines, count, depth),
        32 => pack_panels::<T, F, 32>(panels, lines, count, depth),
        other => unreachable!("no kernel has tiles of {other} lanes"),
    }
}

/// Copies lines of so many values, `stride` apart, one after the other: for a tile that reads them along the depth.
///
/// Every factor of `out` is written; what a last one lacks is zero.
pub(super) fn copy<T: Element, F: Factor>(
    out: &mut [MaybeUninit<F>],
    (data, stride): (&[T], usize),
    (count, depth): (usize, usize),
) {
    let length = depth.div_ceil(F::DEPTH);
    assert_eq!(out.len(), count * length, "lines of another size");
    assert!(count == 0 || data.len() >= (count - 1) * stride + depth, "lines beyond the values");
    for (out, line) in out.chunks_mut(length).zip(data.chunks(stride)) {
        copy_line(out, &line[..depth]);
    }
}

#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn copy_line<T: Element, F: Factor>(out: &mut [MaybeUninit<F>], values: &[T]) {
    put_line(out, values, |place, factor| _ = place.write(factor));
}

fn pack_panels<T: Element, F: Factor, const WIDTH: usize>(
    panels: &mut [MaybeUninit<F>],
    lines: &Lines<T>,
    count: usize,
    depth: usize,
) {
    let size = depth.div_ceil(F::DEPTH) * WIDTH;
    assert_eq!(panels.len(), count.div_ceil(WIDTH) * size, "panels of another size");
    for (panel, first) in panels.chunks_mut(size).zip((0..count).step_by(WIDTH)) {
        let (groups, _) = panel.as_chunks_mut::<WIDTH>();
        let rows = WIDTH.min(count - first);
        match lines.from(first) {
            Lines::ByRow { data, stride } => pack_rows(groups, data, stride, (rows, depth)),
            Lines::ByColumn { data, stride } => pack_columns(groups, data, stride, (rows, depth)),
        }
    }
}

/// The source's rows become lanes: a transposition, of small squares that stay in registers.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn pack_rows<T: Element, F: Factor, const WIDTH: usize>(
    groups: &mut [[MaybeUninit<F>; WIDTH]],
    data: &[T],
    stride: usize,
    (rows, depth): (usize, usize),
) {
    for first in (0..WIDTH).step_by(SIDE) {
        for (strip, groups) in groups.chunks_mut(SIDE).enumerate() {
            let start = strip * SIDE * F::DEPTH;
            let length = (SIDE * F::DEPTH).min(depth - start);
            let line = |lane: usize| &data[(first + lane) * stride + start..][..length];
            // The next lanes' lines come while these are exchanged.
            if start.is_multiple_of(LINE_BYTES / size_of::<T>()) {
                (SIDE..2 * SIDE).for_each(|lane| prefetch(data, (first + lane) * stride + start));
            }
            // What has its whole size needs no memory between its loads and its stores.
            if rows >= first + SIDE
                && let Some(groups) = groups.first_chunk_mut::<SIDE>()
                && length == SIDE * F::DEPTH
            {
                let square = transpose(std::array::from_fn(|lane| whole_line(line(lane))));
                for (group, square) in groups.iter_mut().zip(square) {
                    if let Some(lanes) = group[first..].first_chunk_mut::<SIDE>() {
                        *lanes = square.map(MaybeUninit::new);
                    }
                }
                continue;
            }
            let mut square = [[F::default(); SIDE]; SIDE];
            for (lane, square) in square.iter_mut().enumerate().take(rows.saturating_sub(first)) {
                put_line(square, line(lane), |place, factor| *place = factor);
            }
            for (group, square) in groups.iter_mut().zip(transpose(square)) {
                for (lane, factor) in group[first..].iter_mut().zip(square) {
                    lane.write(factor);
                }
            }
        }
    }
}

/// `SIDE` factors from as many values as they need.
#[inline(always)]
fn whole_line<T: Element, F: Factor>(values: &[T]) -> [F; SIDE] {
    if F::DEPTH == 1 {
        let values: [T; SIDE] = values.first_chunk().copied().unwrap_or_default();
        values.map(|value| F::of(value, T::default()))
    } else {
        let values: [T; 2 * SIDE] = values.first_chunk().copied().unwrap_or_default();
        std::array::from_fn(|i| F::of(values[2 * i], values[2 * i + 1]))
    }
}

/// Puts neighbouring values, as factors, into places; places that are left over stay as they are.
#[inline(always)]
fn put_line<T: Element, F: Factor, P>(places: &mut [P], values: &[T], put: impl Fn(&mut P, F)) {
    if F::DEPTH == 1 {
        for (place, value) in places.iter_mut().zip(values) {
            put(place, F::of(*value, T::default()));
        }
    } else {
        let (pairs, rest) = values.as_chunks::<2>();
        for (place, [first, second]) in places.iter_mut().zip(pairs) {
            put(place, F::of(*first, *second));
        }
        if let ([last], Some(place)) = (rest, places.get_mut(pairs.len())) {
            put(place, F::of(*last, T::default()));
        }
    }
}

/// The source's columns are the lanes already.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn pack_columns<T: Element, F: Factor, const WIDTH: usize>(
    groups: &mut [[MaybeUninit<F>; WIDTH]],
    data: &[T],
    stride: usize,
    (rows, depth): (usize, usize),
) {
    for (index, group) in groups.iter_mut().enumerate() {
        let at = index * F::DEPTH;
        let ahead = (at + LINES_AHEAD) * stride;
        (0..WIDTH).step_by(LINE_BYTES / size_of::<T>()).for_each(|lane| prefetch(data, ahead + lane));
        let first = &data[at * stride..];
        // A last line without a neighbour is paired with zeros.
        let second = (F::DEPTH == 2 && at + 1 < depth).then(|| &data[(at + 1) * stride..]);
        match (first.first_chunk::<WIDTH>(), second.map(|second| second.first_chunk::<WIDTH>())) {
            (Some(first), None) if rows == WIDTH => write(group, first, &[T::default(); WIDTH]),
            (Some(first), Some(Some(second))) if rows == WIDTH => write(group, first, second),
            _ => {
                let padded = |line: &[T]| std::array::from_fn(|lane| padded(line, lane, rows));
                write(group, &padded(first), &second.map_or([T::default(); WIDTH], padded));
            }
        }
    }
}

/// Asks for the cache line of a value, which need not exist: packing waits for memory more than it works,
/// and the strides are too long for the processor to see where it goes on.
#[inline(always)]
fn prefetch<T>(data: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "an instruction that only hints")]
    // SAFETY: a prefetch reads nothing and may be given any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(data.as_ptr().wrapping_add(index).cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, index);
}

#[inline(always)]
fn write<T: Element, F: Factor, const WIDTH: usize>(
    group: &mut [MaybeUninit<F>; WIDTH],
    first: &[T; WIDTH],
    second: &[T; WIDTH],
) {
    for lane in 0..WIDTH {
        group[lane].write(F::of(first[lane], second[lane]));
    }
}

#[inline(always)]
fn padded<T: Element>(line: &[T], lane: usize, rows: usize) -> T {
    if lane < rows { line[lane] } else { T::default() }
}
