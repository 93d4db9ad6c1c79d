//! The sum of squares of a gradient, and clipping by the global norm.

use std::ops::Range;

use candle_core::{Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use super::GRAIN;
use crate::model::{has_kernels, pieces, read};

/// Sum of the squares of one gradient; their sum over all gradients is the square of the global norm.
pub(in crate::train) fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    if !has_kernels(tensor.device()) {
        return composed_sum_of_squares(tensor);
    }
    read::<f32, _>(tensor, |values| {
        let parts: Vec<f64> = values.par_chunks(GRAIN).map(squares).collect();
        Ok(parts.iter().sum())
    })
}

fn composed_sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let tensor = tensor.flatten_all()?;
    let square = |piece: Range<usize>| {
        let piece = tensor.narrow(0, piece.start, piece.len())?;
        Ok(f64::from(piece.sqr()?.sum_all()?.to_scalar::<f32>()?))
    };
    pieces(tensor.elem_count(), 1).map(square).sum()
}

/// Σ of the squares, in lanes of a fixed order so that it vectorises.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn squares(values: &[f32]) -> f64 {
    const LANES: usize = 32;
    let mut sums = [0.0; LANES];
    let mut add = |block: &[f32]| {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    };
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        add(block);
    }
    add(rest);
    sums.iter().sum()
}

/// Factor that brings a gradient of norm `norm` down to at most `limit`.
pub(in crate::train) fn clip_factor(norm: f64, limit: f64) -> f64 {
    if norm > limit { limit / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::elsewhere;
    use candle_core::Device;

    #[test]
    fn the_sum_of_squares_is_that_of_all_values_on_both_paths() {
        for n in [1, 31, 33, GRAIN - 1, 2 * GRAIN + 7] {
            let values: Vec<f32> = (0_u16..997).cycle().take(n).map(|n| f32::from(n) / 400.0 - 1.0).collect();
            let tensor = Tensor::from_slice(&values, n, &Device::Cpu).unwrap();
            let right: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
            let (ours, plain) = (sum_of_squares(&tensor), elsewhere::pretended(|| sum_of_squares(&tensor)));
            assert!((ours.unwrap() / right - 1.0).abs() < 1e-12, "{n}");
            assert!((plain.unwrap() / right - 1.0).abs() < 1e-5, "{n}");
        }
    }

    #[test]
    fn clipping_only_ever_shrinks() {
        assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-12);
        assert!((clip_factor(0.5, 1.0) - 1.0).abs() < 1e-12);
    }
}
