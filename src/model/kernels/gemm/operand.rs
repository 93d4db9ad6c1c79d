//! What can be the second factor of a product: values in memory, or made from blocks as they are packed.

use std::ops::Range;

use super::super::Element;
use super::matrix::Lines;
use super::{PASS, ranges};

/// A matrix that is packed a strip at a time: some neighbouring lines over a part of their depth.
pub(in crate::model) trait Operand: Copy + Send + Sync {
    /// How the values of a strip are kept.
    type Value: Element;
    /// Where a strip is made, if it does not lie in memory.
    type Scratch: Default;

    /// Rows and columns.
    fn size(&self) -> (usize, usize);

    /// Whether the values may be rounded to bfloat16 for a product.
    fn may_round(&self) -> bool;

    /// The view for products that need no more precision than `N` has.
    fn rounded_as<N: Element>(self) -> Self;

    /// The transposed view.
    fn t(self) -> Self;

    /// Neighbouring columns that are packed together, at least a panel of `width`.
    fn columns_at_once(&self, width: usize) -> usize {
        width
    }

    /// `depth`, which is within one pass, in pieces that are strips for so many columns.
    fn strips(&self, depth: Range<usize>, _columns: usize) -> impl Iterator<Item = Range<usize>> {
        ranges(depth, PASS)
    }

    /// The columns `columns` over the rows `depth`, a line each.
    fn strip<'s>(
        &'s self,
        columns: &Range<usize>,
        depth: &Range<usize>,
        scratch: &'s mut Self::Scratch,
    ) -> Lines<'s, Self::Value>;
}
