//! One tile of the output, held in registers over the whole inner size: the innermost loop.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]
#![expect(unsafe_code, reason = "raw panels in the one loop where bounds checks would cost")]

use std::mem::MaybeUninit;

use super::instructions::Instructions;
use super::pack::Factor;
use super::simd::{Portable, Simd};
use crate::memory::Tile;

/// A tile kernel of one instruction set.
pub(super) struct Kernel<F> {
    /// Rows of a tile, and of a packed panel of `a`.
    pub(super) rows: usize,
    /// Columns of a tile, and of a packed panel of `b`.
    pub(super) columns: usize,
    run: unsafe fn(Panels<F>, Target),
}

impl<F: Factor> Kernel<F> {
    /// What one tile covers.
    pub(super) const fn tile_size(&self) -> Tile {
        Tile { rows: self.rows, columns: self.columns, depth: F::DEPTH }
    }
}

/// The rows of `a` that tiles read.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a, F> {
    /// In panels, one factor of every row of a tile after the other.
    Packed(&'a [F]),
    /// Line by line: row `i` is `data[i · stride..]`.
    InPlace { data: &'a [F], stride: usize },
}

impl<F> Rows<'_, F> {
    /// Those from row `first` on, which begins a panel.
    pub(super) fn from(self, first: usize, depth: usize) -> Self {
        match self {
            Self::Packed(panels) => Self::Packed(&panels[first * depth..]),
            Self::InPlace { data, stride } => Self::InPlace { data: &data[first * stride..], stride },
        }
    }
}

/// Factors of one tile: `depth` columns of rows of `a`, and `depth` times `columns` of packed `b`.
#[derive(Clone, Copy)]
struct Panels<F> {
    a: *const F,
    /// How far apart the rows of `a` lie; `None` where they are packed.
    stride: Option<usize>,
    /// Rows there are: a tile may reach beyond the last.
    rows: usize,
    b: *const F,
    depth: usize,
}

/// Where a tile goes.
#[derive(Clone, Copy)]
struct Target {
    out: *mut f32,
    row_stride: usize,
    scale: f32,
    add: bool,
}

/// What becomes of what is already in the output.
#[derive(Clone, Copy)]
pub(super) struct Write {
    /// Factor of the product.
    pub(super) scale: f32,
    /// Added to the output instead of replacing it.
    pub(super) add: bool,
}

impl<F> Kernel<F> {
    /// One tile of `rows` rows of `a` into `out`, whose rows lie `row_stride` apart.
    ///
    /// All rows of a tile are written, beyond `rows` with what is of no meaning. A tile that adds reads
    /// what is there, which must have been written.
    pub(super) fn tile(
        &self,
        (a, rows): (Rows<F>, usize),
        b: &[F],
        out: &mut [MaybeUninit<f32>],
        row_stride: usize,
        write: Write,
    ) {
        let depth = b.len() / self.columns;
        assert!(b.len() == depth * self.columns, "a panel of another size");
        assert!(out.len() >= (self.rows - 1) * row_stride + self.columns, "a tile beyond the output");
        assert!((1..=self.rows).contains(&rows), "a tile of {rows} rows");
        let (data, stride, needed) = match a {
            Rows::Packed(panels) => (panels, None, depth * self.rows),
            Rows::InPlace { data, stride } => (data, Some(stride), (rows - 1) * stride + depth),
        };
        assert!(data.len() >= needed, "rows beyond the factors");
        let panels = Panels { a: data.as_ptr(), stride, rows, b: b.as_ptr(), depth };
        let target = Target { out: out.as_mut_ptr().cast(), row_stride, scale: write.scale, add: write.add };
        // SAFETY: there are `depth` factors of `rows` rows (of all rows where they are packed) and of
        // `columns` columns, and the output reaches to the end of the last row, asserted above; a kernel
        // is only made where the processor has its instructions.
        unsafe { (self.run)(panels, target) }
    }
}

impl Kernel<f32> {
    /// The f32 kernel of `instructions`.
    pub(super) fn wide(instructions: Instructions) -> Self {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx512Bf16 => {
                Self { rows: 8, columns: 32, run: x86::avx512 }
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => Self { rows: 6, columns: 16, run: x86::avx2 },
            _ => Self { rows: 4, columns: 8, run: portable },
        }
    }
}

impl Kernel<u32> {
    /// The kernel of bfloat16 pairs, where `instructions` has one.
    pub(super) fn narrow(instructions: Instructions) -> Option<Self> {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Bf16 => Some(Self { rows: 8, columns: 32, run: x86::avx512_bf16 }),
            _ => None,
        }
    }
}

unsafe fn portable(panels: Panels<f32>, target: Target) {
    // SAFETY: handed on from the caller.
    unsafe { tile::<Portable, 4, 2>(panels, target) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::simd::{Avx2, Avx512, Avx512Bf16};
    use super::{Panels, Target, tile};

    // SAFETY of every block below: handed on from the caller, who also knows the processor.

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(panels: Panels<f32>, target: Target) {
        unsafe { tile::<Avx2, 6, 2>(panels, target) }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512(panels: Panels<f32>, target: Target) {
        unsafe { tile::<Avx512, 8, 2>(panels, target) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn avx512_bf16(panels: Panels<u32>, target: Target) {
        unsafe { tile::<Avx512Bf16, 8, 2>(panels, target) }
    }
}

/// `ROWS` rows by `VECTORS` vectors of sums. The shapes above leave room in the registers for the
/// sums, one row of `b` and one factor of `a`, and give each factor loaded enough work.
///
/// # Safety
/// Panels and target must be as large as [`Kernel::tile`] asserts, and the processor must have
/// `S`'s instructions.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(panels: Panels<S::Factor>, target: Target) {
    let Panels { a, stride, rows, b, depth } = panels;
    // SAFETY: every offset stays inside what the caller promised; a row past the last is the last again.
    unsafe {
        for row in 0..ROWS {
            // The tile's lines of the output come while the sums are made.
            let out = target.out.add(row * target.row_stride);
            S::prefetch(out);
            S::prefetch(out.add((VECTORS - 1) * S::LANES));
        }
        let sums = match stride {
            None => sums::<S, ROWS, VECTORS>(b, depth, |row, at| *a.add(at * ROWS + row)),
            Some(stride) => {
                let lines: [_; ROWS] = std::array::from_fn(|row| a.add(row.min(rows - 1) * stride));
                sums::<S, ROWS, VECTORS>(b, depth, |row, at| *lines[row].add(at))
            }
        };
        put::<S, ROWS, VECTORS>(sums, target);
    }
}

/// The sums over `depth` of the factors `a(row, at)` and those of packed `b`.
#[inline(always)]
unsafe fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
    b: *const S::Factor,
    depth: usize,
    a: impl Fn(usize, usize) -> S::Factor,
) -> [[S::Sums; VECTORS]; ROWS] {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        for at in 0..depth {
            let b = b.add(at * VECTORS * S::LANES);
            let columns: [S::Factors; VECTORS] = std::array::from_fn(|j| S::load(b.add(j * S::LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = S::splat(a(row, at));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = S::multiply_add(*sum, factor, column);
                }
            }
        }
        sums
    }
}

/// Writes or adds the sums of a tile.
#[inline(always)]
unsafe fn put<S: Simd, const ROWS: usize, const VECTORS: usize>(
    sums: [[S::Sums; VECTORS]; ROWS],
    Target { out, row_stride, scale, add }: Target,
) {
    for (row, sums) in sums.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: handed on from the caller.
            unsafe {
                let out = out.add(row * row_stride + j * S::LANES);
                if add { S::add(out, sum, scale) } else { S::store(out, sum, scale) }
            }
        }
    }
}
