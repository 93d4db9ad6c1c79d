//! What a step runs on, as far as memory depends on it.

use crate::memory::Tile;

/// Whose allocations are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The kernels for a processor.
    Processor(Processor),
    /// A device without kernels of our own: every operation is composed of tensor operations.
    Card,
}

/// A processor: scratch memory grows with its threads and its vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Threads that compute.
    pub threads: usize,
    /// The tile of products in f32.
    pub wide: Tile,
    /// The tile of products of bfloat16 pairs, where the processor has instructions for them.
    pub narrow: Option<Tile>,
}
