//! What the composed paths share: sums into buffers without copies of their size.
//!
//! candle's operations make new tensors. Those as large as a weight are made a piece at a time, so
//! that a large matrix costs no second one.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::Output;
use crate::memory::kernels::PIECE;

/// The rows of a matrix of `width` columns, in pieces.
pub(crate) fn pieces(rows: usize, width: usize) -> impl Iterator<Item = Range<usize>> {
    let step = (PIECE / width.max(1)).max(1);
    (0..rows).step_by(step).map(move |start| start..(start + step).min(rows))
}

/// buffer (+)= scale · aᵀ·b, rounded as `a` is. Shapes: a [n, o], b [n, i], buffer [o, i].
pub(super) fn product_into(
    buffer: &Tensor,
    a: &Tensor,
    b: &Tensor,
    scale: f32,
    output: Output,
) -> Result<()> {
    let (o, i) = buffer.dims2()?;
    for rows in pieces(o, i) {
        // Whole, it is transposed by the product; a part's rows would be too far apart for that.
        let a =
            if rows.len() == o { a.clone() } else { a.narrow(1, rows.start, rows.len())?.contiguous()? };
        let product = scaled(a.t()?.matmul(b)?, scale)?.to_dtype(buffer.dtype())?;
        let sum = match output {
            Output::Overwrite => product,
            Output::Add => (buffer.narrow(0, rows.start, rows.len())? + product)?,
        };
        buffer.slice_set(&sum, 0, rows.start)?;
    }
    Ok(())
}

/// Adds to a small gradient buffer.
pub(super) fn add_to(buffer: &Tensor, addend: &Tensor) -> Result<()> {
    let addend = addend.to_dtype(buffer.dtype())?;
    buffer.slice_set(&(buffer + addend)?, 0, 0)
}

/// scale · x.
pub(super) fn scaled(x: Tensor, scale: f32) -> Result<Tensor> {
    if scale.to_bits() == 1.0_f32.to_bits() { Ok(x) } else { x * f64::from(scale) }
}

/// c·tanh(z/c), or z where there is no cap.
pub(super) fn soft_cap(z: Tensor, cap: Option<f32>) -> Result<Tensor> {
    let Some(cap) = cap.map(f64::from) else { return Ok(z) };
    (z / cap)?.tanh()? * cap
}

/// The slope 1 − (s/c)² of each capped value s.
pub(super) fn soft_cap_slopes(capped: &Tensor, cap: f32) -> Result<Tensor> {
    (capped / f64::from(cap))?.sqr()?.affine(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_row_once_and_none_is_too_large() {
        for (rows, width) in [(0, 5), (1, 5), (7, PIECE / 3), (3, PIECE), (2, PIECE + 1), (49_152, 576)] {
            let mut next = 0;
            for piece in pieces(rows, width) {
                assert!(piece.start == next && !piece.is_empty());
                assert!(piece.len() == 1 || piece.len() * width <= PIECE);
                next = piece.end;
            }
            assert_eq!(next, rows);
        }
        assert_eq!(pieces(1536, 576).count(), 1, "a block's weight is one piece");
    }
}
