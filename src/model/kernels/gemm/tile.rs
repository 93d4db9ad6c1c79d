//! One tile of the output, held in registers over the whole inner size: the innermost loop.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]
#![expect(unsafe_code, reason = "raw panels in the one loop where bounds checks would cost")]

use std::mem::MaybeUninit;

use super::instructions::Instructions;
use super::simd::{Portable, Simd};

/// A tile kernel of one instruction set.
pub(super) struct Kernel<F> {
    /// Rows of a tile, and of a packed panel of `a`.
    pub(super) rows: usize,
    /// Columns of a tile, and of a packed panel of `b`.
    pub(super) columns: usize,
    run: unsafe fn(Panels<F>, Target),
}

/// Packed factors: `depth` times `rows` of `a`, and `depth` times `columns` of `b`.
#[derive(Clone, Copy)]
struct Panels<F> {
    a: *const F,
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
    /// One tile into `out`, whose rows lie `row_stride` apart.
    ///
    /// A tile that adds reads what is there, which must have been written.
    pub(super) fn tile(
        &self,
        a: &[F],
        b: &[F],
        out: &mut [MaybeUninit<f32>],
        row_stride: usize,
        write: Write,
    ) {
        let depth = a.len() / self.rows;
        assert!(b.len() == depth * self.columns && a.len() == depth * self.rows, "panels of other sizes");
        assert!(out.len() >= (self.rows - 1) * row_stride + self.columns, "a tile beyond the output");
        let target = Target { out: out.as_mut_ptr().cast(), row_stride, scale: write.scale, add: write.add };
        // SAFETY: the panels hold `depth` columns of `rows` and of `columns` factors and the output
        // reaches to the end of the last row, asserted above; a kernel is only made where the
        // processor has its instructions.
        unsafe { (self.run)(Panels { a: a.as_ptr(), b: b.as_ptr(), depth }, target) }
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
    let Panels { mut a, mut b, depth } = panels;
    let Target { out, row_stride, scale, add } = target;
    // SAFETY: every offset stays inside what the caller promised.
    unsafe {
        for row in 0..ROWS {
            // The tile's lines of the output come while the sums are made.
            S::prefetch(out.add(row * row_stride));
            S::prefetch(out.add(row * row_stride + (VECTORS - 1) * S::LANES));
        }
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        for _ in 0..depth {
            let columns: [S::Factors; VECTORS] = std::array::from_fn(|j| S::load(b.add(j * S::LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let row = S::splat(*a.add(i));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = S::multiply_add(*sum, row, column);
                }
            }
            a = a.add(ROWS);
            b = b.add(VECTORS * S::LANES);
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                let out = out.add(i * row_stride + j * S::LANES);
                if add { S::add(out, sum, scale) } else { S::store(out, sum, scale) }
            }
        }
    }
}
