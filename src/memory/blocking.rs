//! How a matrix product is cut for the caches of a processor, and so how much scratch memory it takes.
//!
//! The kernels and their replay share these numbers: what is predicted is what is allocated.

/// Depth of one pass: a panel of `b` this deep and a block of `a` stay in the second cache level.
pub const PASS: usize = 576;
/// Rows of `a` packed together.
pub const BLOCK_ROWS: usize = 128;
/// Most columns of `b` packed together.
pub const WIDEST: usize = 2048;
/// Most values of `b` packed together: 8 MiB of f32.
pub const PACKED: usize = 1 << 21;
/// Pieces of the rows per thread, so that a thread that was held up is not waited for long.
const JOBS_PER_THREAD: usize = 4;

/// What one tile of a kernel covers of the output, and how deep one factor of its input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Values along the inner size in one factor of 32 bits.
    pub depth: usize,
}

/// Sizes of a product: `out[m, n] = a[m, k] · b[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductSize {
    /// Rows of the output.
    pub m: usize,
    /// Inner size.
    pub k: usize,
    /// Columns of the output.
    pub n: usize,
}

/// How one product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Depth for which `b` is packed at once.
    pub deepest: usize,
    /// Columns for which `b` is packed at once.
    pub widest: usize,
    /// Pieces of the rows of the output.
    pub jobs: usize,
    /// Rows of `a` that a job packs together.
    pub block: usize,
    tile: Tile,
}

impl Blocking {
    /// For a product that is not empty, on so many threads.
    #[must_use]
    pub fn new(ProductSize { m, k, n }: ProductSize, tile: Tile, threads: usize) -> Self {
        let deepest = k.min(PACKED / tile.columns).min(PACKED / WIDEST.min(n));
        let deepest = deepest.next_multiple_of(tile.depth);
        let widest = (PACKED / deepest).min(WIDEST).min(n).next_multiple_of(tile.columns);
        let panels = m.div_ceil(tile.rows);
        let jobs = panels.min(if threads == 1 { 1 } else { threads * JOBS_PER_THREAD });
        let mut this = Self { deepest, widest, jobs, block: 0, tile };
        let largest = (0..jobs).map(|job| this.rows(job, m).len()).max().unwrap_or(0);
        this.block = largest.min(BLOCK_ROWS).next_multiple_of(tile.rows);
        this
    }

    /// The rows of a job among `m`: whole tiles, as equal as can be.
    #[must_use]
    pub fn rows(&self, job: usize, m: usize) -> std::ops::Range<usize> {
        let panels = m.div_ceil(self.tile.rows);
        let start = |job: usize| (job * panels / self.jobs * self.tile.rows).min(m);
        start(job)..start(job + 1)
    }

    /// Factors of packed `b`.
    #[must_use]
    pub fn packed_b(&self) -> usize {
        self.deepest.div_ceil(self.tile.depth) * self.widest
    }

    /// Factors of packed `a` for each job.
    #[must_use]
    pub fn packed_a(&self) -> usize {
        self.block * PASS.min(self.deepest).div_ceil(self.tile.depth)
    }

    /// Bytes packed at once, where `a` is packed or not.
    #[must_use]
    pub fn scratch_bytes(&self, packs_a: bool) -> u64 {
        let a = if packs_a { self.packed_a() } else { 0 };
        4 * (self.packed_b() + self.jobs * a) as u64
    }
}
