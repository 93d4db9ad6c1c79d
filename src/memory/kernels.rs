//! Sizes of what the kernels for a processor keep alive at once, shared by them and by their replay.

/// Positions whose attention scores are alive together.
pub const ATTENTION_ROWS: usize = 64;

/// Positions whose logits are alive together. Each pass reads W twice and reads and writes dW once: 16 bytes
/// of traffic for 6 · `HEAD_ROWS` operations. The products of this many take about ten times as long as that
/// traffic on two cores; more would only be felt as memory.
pub const HEAD_ROWS: usize = 256;

/// Rows of logits that share a maximum. Few enough to stay in a core's cache while they are read twice.
pub const SOFTMAX_BLOCK: usize = 128;

/// Rows of W whose logits are made and used together: 4 MiB for [`HEAD_ROWS`] positions. Whole blocks.
pub const HEAD_PIECE: usize = 32 * SOFTMAX_BLOCK;

/// Parts whose sums over rows are taken apart, then in order. A fixed number, so that a sum does not depend on
/// threads nor its scratch memory on the batch; enough for the cores of a node.
pub const NORM_PARTS: usize = 32;

/// A weight of fewer values keeps f32 moments: there is little to save (as in bitsandbytes).
pub const MIN_QUANTIZED: usize = 4096;

/// Values of a moment that share the scale of their 8-bit codes.
pub const MOMENT_BLOCK: usize = 256;

/// Most scores alive at once where attention is composed of tensor operations: 256 MiB of f32. One sequence
/// may need more.
pub const SCORES_ALIVE: usize = 1 << 26;

/// Values of one piece where what is as large as a weight is made a piece at a time: 8 MiB of f32, enough to
/// keep a card busy.
pub const PIECE: usize = 1 << 21;

/// Rows converted to f32 at once around a product of a format that is not f32.
pub const ROWS_PER_PASS: usize = 512;
