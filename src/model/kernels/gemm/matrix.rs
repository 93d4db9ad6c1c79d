//! A slice seen as a matrix.

use std::ops::Range;

use super::super::Element;

/// A view of a slice as a matrix whose rows, or columns, lie one after another.
#[derive(Clone, Copy)]
pub(in super::super) struct Matrix<'a, T> {
    data: &'a [T],
    /// Rows.
    pub(super) rows: usize,
    /// Columns.
    pub(super) columns: usize,
    stride: usize,
    transposed: bool,
    /// Whether the values may be rounded to bfloat16 for a product.
    pub(super) may_round: bool,
}

/// The values of some neighbouring rows, as they lie in memory.
pub(super) enum Lines<'a, T> {
    /// Row `i` is `data[i · stride..]`.
    ByRow { data: &'a [T], stride: usize },
    /// Column `i` is `data[i · stride..]`.
    ByColumn { data: &'a [T], stride: usize },
}

impl<'a, T: Element> Matrix<'a, T> {
    /// `rows × columns`, row after row.
    pub(in super::super) fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// `rows × columns`, each row `stride` values after the one before.
    pub(in super::super) fn strided(data: &'a [T], rows: usize, columns: usize, stride: usize) -> Self {
        let needed = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        assert!(stride >= columns, "rows of {columns} values can't lie {stride} apart");
        assert!(data.len() >= needed, "a {rows}×{columns} matrix needs more than {} values", data.len());
        Self { data, rows, columns, stride, transposed: false, may_round: T::IS_NARROW }
    }

    /// Rows and columns.
    pub(in super::super) fn size(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The view for products that need no more precision than `N` has.
    pub(in super::super) fn rounded_as<N: Element>(self) -> Self {
        Self { may_round: N::IS_NARROW, ..self }
    }

    /// The transposed view.
    pub(in super::super) fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Where the block of `rows` and `columns` lies.
    pub(super) fn lines(&self, rows: &Range<usize>, columns: &Range<usize>) -> Lines<'a, T> {
        let stride = self.stride;
        if self.transposed {
            Lines::ByColumn { data: &self.data[columns.start * stride + rows.start..], stride }
        } else {
            Lines::ByRow { data: &self.data[rows.start * stride + columns.start..], stride }
        }
    }
}
