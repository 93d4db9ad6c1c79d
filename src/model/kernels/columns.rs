//! A matrix cut into blocks, each of which one thread may write.

use std::marker::PhantomData;
use std::ops::Range;

/// Some rows and columns of a matrix in row-major order.
pub(super) struct Block<'a, T> {
    first: *mut T,
    rows: usize,
    columns: usize,
    stride: usize,
    matrix: PhantomData<&'a mut [T]>,
}

#[expect(unsafe_code, reason = "a block stands for exclusive access to its values, as a `&mut [T]` does")]
// SAFETY: blocks of one matrix are disjoint (see `blocks`), so sending one sends only its values.
unsafe impl<T: Send> Send for Block<'_, T> {}

impl<T> Block<'_, T> {
    /// A row of the block.
    #[expect(unsafe_code, reason = "neighbouring rows of a block are not neighbours in memory")]
    pub(super) fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "row {row} of a block of {}", self.rows);
        // SAFETY: `blocks` checked that all rows lie inside the matrix, which stays borrowed; the
        // rows of different blocks share no value, and `&mut self` lends one row at a time.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.columns) }
    }
}

/// The blocks of `matrix`, whose rows are `count · columns` long: for each range of rows, `count`
/// blocks of `columns` columns.
///
/// The ranges must follow one another.
pub(super) fn blocks<'a, T>(
    matrix: &'a mut [T],
    rows: &[Range<usize>],
    count: usize,
    columns: usize,
) -> Vec<Block<'a, T>> {
    let stride = count * columns;
    let mut rest = matrix;
    let mut at = 0;
    let mut found = Vec::with_capacity(rows.len() * count);
    for range in rows {
        assert!(range.start == at && range.end >= at, "rows {range:?} do not follow row {at}");
        let (own, after) = rest.split_at_mut(range.len() * stride);
        (rest, at) = (after, range.end);
        let first = own.as_mut_ptr();
        found.extend((0..count).map(|block| Block {
            // Stays inside `own`, or is never read where there are no rows.
            first: first.wrapping_add(block * columns),
            rows: range.len(),
            columns,
            stride,
            matrix: PhantomData,
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_belongs_to_exactly_one_block() {
        let mut matrix = [0; 5 * 6];
        for (index, mut block) in (1..).zip(blocks(&mut matrix, &[0..2, 2..2, 2..5], 3, 2)) {
            for row in 0..block.rows {
                block.row(row).iter_mut().for_each(|value| *value += index);
            }
        }
        let row = |first: i32| [first, first, first + 1, first + 1, first + 2, first + 2];
        assert_eq!(matrix.as_chunks::<6>().0, [row(1), row(1), row(7), row(7), row(7)]);
    }

    #[test]
    #[should_panic(expected = "do not follow")]
    fn rows_that_overlap_are_refused() {
        let _ = blocks(&mut [0; 12], &[0..2, 1..3], 2, 2);
    }
}
