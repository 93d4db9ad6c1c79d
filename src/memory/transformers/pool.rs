//! PyTorch's caching allocator on a card, fed with a trace: what it takes from the driver.
//!
//! Rules and constants are those of `c10/cuda/CUDACachingAllocator.cpp` with its default settings.
//! The order of allocations decides how much is lost between blocks, so the trace is replayed
//! rather than its peak rounded.

use std::collections::BTreeSet;

use crate::units::Bytes;

/// Sizes are multiples of this (`kMinBlockSize`).
const GRAIN: u64 = 512;
/// Up to here a block comes from segments for small ones (`kSmallSize`), and what a large block
/// leaves over is split off only from here on.
const SMALL: u64 = 1 << 20;
/// Size of a segment for small blocks (`kSmallBuffer`).
const SMALL_SEGMENT: u64 = 2 << 20;
/// Size of a segment for medium ones (`kLargeBuffer`), those below `LARGE`.
const MEDIUM_SEGMENT: u64 = 20 << 20;
/// From here on a block gets a segment of its own size (`kMinLargeAlloc`) …
const LARGE: u64 = 10 << 20;
/// … rounded up to this (`kRoundLarge`).
const LARGE_GRAIN: u64 = 2 << 20;

/// The allocator.
#[derive(Debug, Default)]
pub(super) struct Pool {
    blocks: Vec<Block>,
    /// Free blocks for small and for large sizes: by size, then by address.
    free: [BTreeSet<(u64, u64, usize)>; 2],
    next_address: u64,
    /// What the driver has to give; none: without end.
    limit: Option<u64>,
    /// Whether it was asked for more than that, with nothing cached left to give back.
    is_exceeded: bool,
    allocated: u64,
    reserved: u64,
    peak_allocated: u64,
    peak_reserved: u64,
}

/// A piece of a segment.
#[derive(Clone, Copy, Debug)]
struct Block {
    size: u64,
    address: u64,
    /// 0 for small ones, 1 for large ones.
    kind: usize,
    is_free: bool,
    before: Option<usize>,
    after: Option<usize>,
}

impl Pool {
    /// An allocator that is given so many bytes at most.
    pub(super) fn within(limit: Option<Bytes>) -> Self {
        Self { limit: limit.map(|limit| limit.0), ..Self::default() }
    }

    /// Whether it never had to be given more than its limit: PyTorch would not have run out.
    pub(super) const fn was_enough(&self) -> bool {
        !self.is_exceeded
    }

    /// Takes a block for so many bytes; its number gives it back.
    pub(super) fn allocate(&mut self, bytes: u64) -> usize {
        let size = bytes.max(1).next_multiple_of(GRAIN);
        let kind = usize::from(size > SMALL);
        let found = self.free[kind].range((size, 0, 0)..).next().copied();
        let index = if let Some(entry) = found {
            self.free[kind].remove(&entry);
            entry.2
        } else {
            self.reserve(size, kind)
        };
        self.split(index, size);
        self.blocks[index].is_free = false;
        self.allocated += self.blocks[index].size;
        self.peak_allocated = self.peak_allocated.max(self.allocated);
        index
    }

    /// Gives a block back, and joins it with free neighbours.
    pub(super) fn release(&mut self, index: usize) {
        self.allocated -= self.blocks[index].size;
        self.blocks[index].is_free = true;
        let mut index = index;
        if let Some(before) = self.blocks[index].before.filter(|&before| self.blocks[before].is_free) {
            self.forget(before);
            self.join(before);
            index = before;
        }
        if let Some(after) = self.blocks[index].after.filter(|&after| self.blocks[after].is_free) {
            self.forget(after);
            self.join(index);
        }
        let block = self.blocks[index];
        self.free[block.kind].insert((block.size, block.address, index));
    }

    /// `torch.cuda.empty_cache()`: segments of which nothing is used go back to the driver.
    pub(super) fn empty_cache(&mut self) {
        for kind in 0..2 {
            let whole = |entry: &(u64, u64, usize)| {
                let block = self.blocks[entry.2];
                block.before.is_none() && block.after.is_none()
            };
            let gone: Vec<_> = self.free[kind].iter().copied().filter(whole).collect();
            for entry in gone {
                self.free[kind].remove(&entry);
                self.reserved -= entry.0;
            }
        }
    }

    /// Looks for the peak of allocated bytes anew from here on.
    pub(super) const fn forget_allocated_peak(&mut self) {
        self.peak_allocated = self.allocated;
    }

    /// `torch.cuda.max_memory_allocated()`
    pub(super) const fn peak_allocated(&self) -> Bytes {
        Bytes(self.peak_allocated)
    }

    /// `torch.cuda.max_memory_reserved()`
    pub(super) const fn peak_reserved(&self) -> Bytes {
        Bytes(self.peak_reserved)
    }

    fn reserve(&mut self, size: u64, kind: usize) -> usize {
        let segment = match size {
            _ if kind == 0 => SMALL_SEGMENT,
            _ if size < LARGE => MEDIUM_SEGMENT,
            _ => size.next_multiple_of(LARGE_GRAIN),
        };
        if self.is_beyond(segment) {
            // As PyTorch does before it gives up.
            self.empty_cache();
            self.is_exceeded |= self.is_beyond(segment);
        }
        self.reserved += segment;
        self.peak_reserved = self.peak_reserved.max(self.reserved);
        self.next_address += segment;
        let address = (1 << 50) - self.next_address;
        self.push(Block { size: segment, address, kind, is_free: true, before: None, after: None })
    }

    fn is_beyond(&self, segment: u64) -> bool {
        self.limit.is_some_and(|limit| self.reserved + segment > limit)
    }

    fn push(&mut self, block: Block) -> usize {
        self.blocks.push(block);
        self.blocks.len() - 1
    }

    /// Cuts off what is not needed, if it is worth it.
    fn split(&mut self, index: usize, size: u64) {
        let block = self.blocks[index];
        let rest = block.size - size;
        let is_split = if block.kind == 0 { rest >= GRAIN } else { rest > SMALL };
        if !is_split {
            return;
        }
        let address = block.address + size;
        let new = self.push(Block { size: rest, address, before: Some(index), is_free: true, ..block });
        if let Some(after) = block.after {
            self.blocks[after].before = Some(new);
        }
        let first = &mut self.blocks[index];
        (first.size, first.after) = (size, Some(new));
        self.free[block.kind].insert((rest, address, new));
    }

    fn forget(&mut self, index: usize) {
        let block = self.blocks[index];
        self.free[block.kind].remove(&(block.size, block.address, index));
    }

    /// Joins a block with the one behind it.
    fn join(&mut self, index: usize) {
        let Some(after) = self.blocks[index].after else { return };
        let gone = self.blocks[after];
        let block = &mut self.blocks[index];
        (block.size, block.after) = (block.size + gone.size, gone.after);
        if let Some(next) = gone.after {
            self.blocks[next].before = Some(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_medium_and_large_blocks_come_from_segments_of_their_own_sizes() {
        let reserved = |bytes: &[u64]| {
            let mut pool = Pool::default();
            for bytes in bytes {
                let _block = pool.allocate(*bytes);
            }
            (pool.peak_allocated().0, pool.peak_reserved().0)
        };
        assert_eq!(reserved(&[1]), (512, 2 << 20));
        assert_eq!(reserved(&[1 << 20, 1 << 20]), (2 << 20, 2 << 20));
        assert_eq!(reserved(&[(1 << 20) + 1]), ((1 << 20) + 512, 20 << 20));
        assert_eq!(reserved(&[(10 << 20) + 512]), ((10 << 20) + 512, 12 << 20));
    }

    #[test]
    fn what_is_given_back_is_joined_and_used_again() {
        let mut pool = Pool::default();
        let blocks = [3, 3, 3].map(|mib| pool.allocate(mib << 20));
        for block in blocks {
            pool.release(block);
        }
        // Three of three and the rest of the segment are one block of twenty again.
        let block = pool.allocate(9 << 20);
        assert_eq!((pool.peak_allocated().0, pool.peak_reserved().0), (9 << 20, 20 << 20));
        pool.release(block);
        pool.empty_cache();
        assert_eq!((pool.allocated, pool.reserved), (0, 0));
    }

    #[test]
    fn what_is_cached_is_given_back_before_memory_runs_out() {
        let mut pool = Pool::within(Some(Bytes::mib(40)));
        let first = pool.allocate(30 << 20);
        pool.release(first);
        let _second = pool.allocate(32 << 20);
        assert!(pool.was_enough() && pool.reserved == 32 << 20);
        let _third = pool.allocate(10 << 20);
        assert!(!pool.was_enough());
    }

    #[test]
    fn a_rest_up_to_one_mebibyte_stays_with_a_large_block() {
        let mut pool = Pool::default();
        let first = pool.allocate(12 << 20);
        pool.release(first);
        let _second = pool.allocate(11 << 20);
        assert_eq!(pool.allocated, 12 << 20);
    }
}
