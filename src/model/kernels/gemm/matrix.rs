//! A slice seen as a matrix.

use std::ops::Range;

use super::super::Element;
use super::operand::Operand;

/// A view of a slice as a matrix whose rows, or columns, lie one after another.
#[derive(Clone, Copy)]
pub(in crate::model) struct Matrix<'a, T> {
    data: &'a [T],
    /// Rows.
    pub(super) rows: usize,
    /// Columns.
    pub(super) columns: usize,
    stride: usize,
    is_transposed: bool,
    /// Whether the values may be rounded to bfloat16 for a product.
    pub(super) may_round: bool,
}

/// The values of some neighbouring rows, as they lie in memory.
pub(in crate::model) enum Lines<'a, T> {
    /// Row `i` is `data[i · stride..]`.
    ByRow { data: &'a [T], stride: usize },
    /// Column `i` is `data[i · stride..]`.
    ByColumn { data: &'a [T], stride: usize },
}

impl<T> Lines<'_, T> {
    /// Those from number `line` on.
    pub(super) fn from(&self, line: usize) -> Self {
        match *self {
            Self::ByRow { data, stride } => Self::ByRow { data: &data[line * stride..], stride },
            Self::ByColumn { data, stride } => Self::ByColumn { data: &data[line..], stride },
        }
    }
}

impl<'a, T: Element> Matrix<'a, T> {
    /// `rows × columns`, row after row.
    pub(in crate::model) fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// `rows × columns`, each row `stride` values after the one before.
    pub(in crate::model) fn strided(data: &'a [T], rows: usize, columns: usize, stride: usize) -> Self {
        let needed = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        assert!(stride >= columns, "rows of {columns} values can't lie {stride} apart");
        assert!(data.len() >= needed, "a {rows}×{columns} matrix needs more than {} values", data.len());
        Self { data, rows, columns, stride, is_transposed: false, may_round: T::IS_NARROW }
    }

    /// Where the block of `rows` and `columns` lies.
    pub(super) fn lines(&self, rows: &Range<usize>, columns: &Range<usize>) -> Lines<'a, T> {
        let stride = self.stride;
        if self.is_transposed {
            Lines::ByColumn { data: &self.data[columns.start * stride + rows.start..], stride }
        } else {
            Lines::ByRow { data: &self.data[rows.start * stride + columns.start..], stride }
        }
    }
}

impl<T: Element> Operand for Matrix<'_, T> {
    type Value = T;
    type Scratch = ();

    fn size(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn may_round(&self) -> bool {
        self.may_round
    }

    fn rounded_as<N: Element>(self) -> Self {
        Self { may_round: N::IS_NARROW, ..self }
    }

    fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, is_transposed: !self.is_transposed, ..self }
    }

    fn strip<'s>(&'s self, columns: &Range<usize>, depth: &Range<usize>, (): &'s mut ()) -> Lines<'s, T> {
        self.t().lines(columns, depth)
    }
}
