//! A matrix in quantized blocks, whose values exist only while they are packed.

use std::ops::Range;

use candle_core::quantized::k_quants::GgmlType;

use super::super::Element;
use super::matrix::Lines;
use super::operand::Operand;

/// Values of a strip: 32 KiB.
const STRIP: usize = 1 << 13;
/// Most values of a row in one strip, and in a block of any kind.
const WIDEST: usize = 256;

/// A view of blocks, row after row, as a matrix.
pub(in crate::model) struct BlockMatrix<'a, B> {
    blocks: &'a [B],
    rows: usize,
    /// Values of a row: a whole number of blocks.
    width: usize,
    is_transposed: bool,
    may_round: bool,
}

impl<B> Clone for BlockMatrix<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for BlockMatrix<'_, B> {}

impl<'a, B: GgmlType> BlockMatrix<'a, B> {
    /// `rows × width`, from the bytes of its blocks.
    pub(in crate::model) fn new(bytes: &'a [u8], (rows, width): (usize, usize)) -> Self {
        // SAFETY: a block is a structure of integers and half floats, for which every pattern of bits
        // is a value.
        #[expect(unsafe_code, reason = "the blocks as candle made them, seen with their type again")]
        let (before, blocks, after) = unsafe { bytes.align_to::<B>() };
        assert!(before.is_empty() && after.is_empty(), "bytes that are no blocks");
        assert!(width.is_multiple_of(B::BLCK_SIZE), "rows of {width} values in blocks of {}", B::BLCK_SIZE);
        assert!(blocks.len() == rows * (width / B::BLCK_SIZE), "blocks of another size");
        Self { blocks, rows, width, is_transposed: false, may_round: false }
    }

    /// Writes some columns of some rows, from the beginning of the first block that has one of them;
    /// returns where in the scratch the first is, and how far apart the rows are.
    fn unpack(
        &self,
        rows: &Range<usize>,
        columns: &Range<usize>,
        scratch: &mut [f32; STRIP],
    ) -> (usize, usize) {
        let first = columns.start / B::BLCK_SIZE;
        let end = columns.end.div_ceil(B::BLCK_SIZE);
        let stride = (end - first) * B::BLCK_SIZE;
        let in_row = self.width / B::BLCK_SIZE;
        for (row, out) in rows.clone().zip(scratch.chunks_exact_mut(stride)) {
            B::to_float(&self.blocks[row * in_row..][first..end], out);
        }
        (columns.start - first * B::BLCK_SIZE, stride)
    }
}

/// Where strips are made.
pub(in crate::model) struct Scratch([f32; STRIP]);

impl Default for Scratch {
    #[expect(clippy::large_stack_arrays, reason = "a hundredth of a stack; on the heap it would be counted")]
    fn default() -> Self {
        Self([0.0; STRIP])
    }
}

impl<B: GgmlType> Operand for BlockMatrix<'_, B> {
    type Value = f32;
    type Scratch = Scratch;

    fn size(&self) -> (usize, usize) {
        if self.is_transposed { (self.width, self.rows) } else { (self.rows, self.width) }
    }

    fn may_round(&self) -> bool {
        self.may_round
    }

    fn rounded_as<N: Element>(self) -> Self {
        Self { may_round: N::IS_NARROW, ..self }
    }

    fn t(self) -> Self {
        Self { is_transposed: !self.is_transposed, ..self }
    }

    /// Whole blocks where columns lie side by side in a row.
    fn columns_at_once(&self, width: usize) -> usize {
        if self.is_transposed { width } else { width.next_multiple_of(B::BLCK_SIZE) }
    }

    /// Pieces of a row, cut where super-blocks begin; or as many rows as the scratch has room for.
    fn strips(&self, depth: Range<usize>, columns: usize) -> impl Iterator<Item = Range<usize>> {
        let most = if self.is_transposed { WIDEST } else { STRIP / columns };
        let mut next = depth.start;
        std::iter::from_fn(move || {
            let start = next;
            next = ((start / most + 1) * most).min(depth.end);
            (start < depth.end).then_some(start..next)
        })
    }

    fn strip<'s>(
        &'s self,
        columns: &Range<usize>,
        depth: &Range<usize>,
        Scratch(scratch): &'s mut Scratch,
    ) -> Lines<'s, f32> {
        if self.is_transposed {
            let (offset, stride) = self.unpack(columns, depth, scratch);
            Lines::ByRow { data: &scratch[offset..], stride }
        } else {
            let (offset, stride) = self.unpack(depth, columns, scratch);
            Lines::ByColumn { data: &scratch[offset..], stride }
        }
    }
}
