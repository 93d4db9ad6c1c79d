//! `AdamW` in place, its moments in f32 or in blocks of 8-bit codes, and the norms of gradients.

mod adamw;
mod block_codes;
mod block_moments;
mod moments;
mod moved;
mod norm;
#[cfg(test)]
mod tests;
mod wide_moments;

pub(super) use adamw::{AdamW, Step};
pub(super) use moments::{Moments, StatePart};
pub(super) use moved::Moved;
pub(super) use norm::{clip_factor, sum_of_squares};

/// Values a thread takes at once; also the fixed grain in which sums are taken.
const GRAIN: usize = 1 << 15;
