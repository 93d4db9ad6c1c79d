//! A checked door to the `gemm` crate: matrix products on slices.

use ::gemm::Parallelism;

/// A view of a slice as a matrix.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows × columns`, row after row.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(
            data.len() >= rows * columns,
            "a {rows}×{columns} matrix needs more than {} values",
            data.len()
        );
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transposed view.
    pub(super) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Whether a product replaces what is in the output or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// `out = scale · a·b`
    Overwrite,
    /// `out += scale · a·b`
    Add,
}

/// Whether one product may use all threads, or runs inside a loop that already does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// All threads of the pool.
    All,
    /// The calling thread.
    One,
}

/// `out[m, n] (+)= scale · a[m, k] · b[k, n]`, `out` row after row.
#[expect(unsafe_code, reason = "the gemm crate takes pointers; every bound is asserted here")]
pub(super) fn gemm(out: &mut [f32], a: Matrix, b: Matrix, scale: f32, output: Output, threads: Threads) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "inner sizes differ");
    assert_eq!(out.len(), m * n, "the output has another size");
    let parallelism = match threads {
        Threads::All => Parallelism::Rayon(0),
        Threads::One => Parallelism::None,
    };
    let stride = usize::cast_signed;
    // SAFETY: `Matrix::new` asserted rows × columns ≤ length for both inputs and transposing keeps
    // the set of reached indices; the output is checked above and borrowed mutably, so it overlaps
    // neither input.
    unsafe {
        ::gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride(n),
            output == Output::Add,
            a.data.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_with_a_transposed_view_is_the_product_by_hand() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2×3
        let b = [1.0, 0.0, 1.0, 2.0, 1.0, 0.0]; // 2×3, used as 3×2
        let mut out = [10.0; 4];
        gemm(
            &mut out,
            Matrix::new(&a, 2, 3),
            Matrix::new(&b, 2, 3).t(),
            1.0,
            Output::Overwrite,
            Threads::One,
        );
        assert_eq!(out.map(f32::to_bits), [4.0f32, 4.0, 10.0, 13.0].map(f32::to_bits));
        gemm(&mut out, Matrix::new(&a, 2, 3), Matrix::new(&b, 2, 3).t(), 2.0, Output::Add, Threads::All);
        assert_eq!(out.map(f32::to_bits), [12.0f32, 12.0, 30.0, 39.0].map(f32::to_bits));
    }

    #[test]
    #[should_panic(expected = "needs more than")]
    fn a_view_beyond_its_slice_is_refused() {
        let _ = Matrix::new(&[0.0; 5], 2, 3);
    }
}
