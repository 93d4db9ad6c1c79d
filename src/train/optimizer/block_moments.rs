//! Moments kept as 8-bit codes in blocks, and their update: a block at a time, never a whole moment.

use candle_core::{DType, Device, Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use super::GRAIN;
use super::adamw::{BETA1, BETA2, EPSILON, Factors};
use super::block_codes::{
    BLOCK, Thresholds, ZERO, first_code, first_codes, first_value, first_values, inverse, second_code,
    second_codes, second_value, second_values,
};
use super::moved::{Moved, MovedLanes};
use crate::model::{has_kernels, mutate, pieces, read};

/// First and second moment of one weight, each as codes [blocks, 256] in u8 and the blocks' largest
/// magnitudes [blocks] in f32. What the last block has beyond the weight's values stays zero.
pub(in crate::train) struct BlockMoments(pub(super) [Tensor; 4]);

/// How many blocks so many values take.
pub(super) const fn blocks(elements: usize) -> usize {
    elements.div_ceil(BLOCK)
}

impl BlockMoments {
    pub(super) fn zeros(elements: usize, device: &Device) -> Result<Self> {
        let blocks = blocks(elements);
        let largest = || Tensor::zeros(blocks, DType::F32, device);
        let first = Tensor::full(ZERO, (blocks, BLOCK), device)?.contiguous()?;
        let second = Tensor::zeros((blocks, BLOCK), DType::U8, device)?;
        Ok(Self([first, largest()?, second, largest()?]))
    }

    /// One update of the weight and of these.
    pub(super) fn update(&self, by: Factors, weight: &Tensor, gradient: &Tensor) -> Result<Moved> {
        let thresholds = Thresholds::at(by.number);
        if has_kernels(weight.device()) {
            self.in_place(by, &thresholds, weight, gradient)
        } else {
            self.composed(by, &thresholds, weight, gradient)
        }
    }

    fn in_place(
        &self,
        by: Factors,
        thresholds: &Thresholds,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> Result<Moved> {
        let Self([m, m_top, v, v_top]) = self;
        let mut moved = Moved::default();
        read::<f32, _>(gradient, |gradient| {
            mutate(weight, |weight: &mut [f32]| {
                mutate(m, |m: &mut [u8]| {
                    mutate(m_top, |m_top: &mut [f32]| {
                        mutate(v, |v: &mut [u8]| {
                            mutate(v_top, |v_top: &mut [f32]| {
                                let state = Codes { m, m_top, v, v_top };
                                moved = state.update(by, thresholds, weight, gradient);
                                Ok(())
                            })
                        })
                    })
                })
            })
        })?;
        Ok(moved)
    }

    /// A piece at a time, as tensor operations make new tensors.
    fn composed(
        &self,
        by: Factors,
        thresholds: &Thresholds,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> Result<Moved> {
        let Self([m, m_top, v, v_top]) = self;
        let (weight, gradient) = (weight.flatten_all()?, gradient.flatten_all()?);
        let mut moved = Moved::default();
        for piece in pieces(m.dim(0)?, BLOCK) {
            let start = piece.start * BLOCK;
            let values = (piece.len() * BLOCK).min(weight.elem_count() - start);
            let part = |tensor: &Tensor| tensor.narrow(0, piece.start, piece.len());
            let in_blocks = |tensor: &Tensor| {
                let missing = piece.len() * BLOCK - values;
                let part = tensor.narrow(0, start, values)?;
                part.pad_with_zeros(0, 0, missing)?.reshape((piece.len(), BLOCK))
            };
            let gradient = (in_blocks(&gradient)? * by.clip)?;
            let first = first_values(&part(m)?, &part(m_top)?)?;
            let first = ((first * BETA1)? + (&gradient * (1.0 - BETA1))?)?;
            let second = second_values(&part(v)?, &part(v_top)?)?;
            let second = ((second * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?;
            let (first_top, second_top) = (first.abs()?.max(1)?, second.max(1)?);
            m.slice_set(&first_codes(&first, &first_top, &thresholds.first)?, 0, piece.start)?;
            v.slice_set(&second_codes(&second, &second_top, &thresholds.second)?, 0, piece.start)?;
            m_top.slice_set(&first_top, 0, piece.start)?;
            v_top.slice_set(&second_top, 0, piece.start)?;
            let before = in_blocks(&weight)?;
            let after = by.updated(&before, &first, &second)?;
            moved += Moved::between(&before, &after)?;
            weight.slice_set(&after.flatten_all()?.narrow(0, 0, values)?, 0, start)?;
        }
        Ok(moved)
    }
}

/// The codes of some blocks that follow one another, and the largest magnitude of each.
struct Codes<'a> {
    m: &'a mut [u8],
    m_top: &'a mut [f32],
    v: &'a mut [u8],
    v_top: &'a mut [f32],
}

impl Codes<'_> {
    /// Threads take blocks in grains.
    fn update(self, by: Factors, thresholds: &Thresholds, weight: &mut [f32], gradient: &[f32]) -> Moved {
        const BLOCKS: usize = GRAIN / BLOCK;
        let grains = (
            self.m.par_chunks_mut(GRAIN),
            self.m_top.par_chunks_mut(BLOCKS),
            self.v.par_chunks_mut(GRAIN),
            self.v_top.par_chunks_mut(BLOCKS),
            weight.par_chunks_mut(GRAIN),
            gradient.par_chunks(GRAIN),
        );
        let update = |(m, m_top, v, v_top, weight, gradient): (_, _, _, _, &mut _, &_)| {
            update(by, thresholds, Codes { m, m_top, v, v_top }, weight, gradient)
        };
        let mut moved: Vec<Moved> = Vec::new();
        grains.into_par_iter().map(update).collect_into_vec(&mut moved);
        moved.into_iter().sum()
    }
}

/// Decodes, updates and encodes block after block.
#[expect(clippy::cast_possible_truncation, reason = "the state is f32")]
#[multiversion(targets("x86_64+avx512f+avx512bw+fma", "x86_64+avx2+fma"))]
fn update(
    by: Factors,
    thresholds: &Thresholds,
    codes: Codes<'_>,
    weight: &mut [f32],
    gradient: &[f32],
) -> Moved {
    let (b1, b2, epsilon) = (BETA1 as f32, BETA2 as f32, EPSILON as f32);
    let (new1, new2) = ((1.0 - BETA1) as f32, (1.0 - BETA2) as f32);
    let (rate, root, keep, clip) = (by.rate as f32, by.root as f32, by.keep as f32, by.clip as f32);
    let (mut first, mut second) = ([0.0_f32; BLOCK], [0.0_f32; BLOCK]);
    let (mut moved, mut before) = (MovedLanes::new(), [0.0; BLOCK]);
    let inputs = weight.chunks_mut(BLOCK).zip(gradient.chunks(BLOCK));
    let firsts = codes.m.chunks_mut(BLOCK).zip(codes.m_top);
    let seconds = codes.v.chunks_mut(BLOCK).zip(codes.v_top);
    for ((weight, gradient), ((m, m_top), (v, v_top))) in inputs.zip(firsts.zip(seconds)) {
        let before = &mut before[..weight.len()];
        before.copy_from_slice(weight);
        // Magnitudes are compared by their bits, which are in the same order: so it vectorises.
        let (mut first_bits, mut second_bits) = (0, 0);
        let values = first.iter_mut().zip(&mut second).zip(m.iter().zip(v.iter()));
        for ((weight, gradient), ((first, second), (m, v))) in weight.iter_mut().zip(gradient).zip(values) {
            let gradient = gradient * clip;
            *first = b1 * first_value(*m, *m_top) + new1 * gradient;
            *second = b2 * second_value(*v, *v_top) + new2 * (gradient * gradient);
            *weight = *weight * keep - rate * *first / (second.sqrt() * root + epsilon);
            first_bits = first_bits.max(first.abs().to_bits());
            second_bits = second_bits.max(second.to_bits());
        }
        (*m_top, *v_top) = (f32::from_bits(first_bits), f32::from_bits(second_bits));
        let (first_inverse, second_inverse) = (inverse(*m_top), inverse(*v_top));
        moved.add(before, weight);
        let values = weight.len();
        for ((code, value), threshold) in m[..values].iter_mut().zip(&first).zip(&thresholds.first) {
            *code = first_code(*value, first_inverse, *threshold);
        }
        for ((code, value), threshold) in v[..values].iter_mut().zip(&second).zip(&thresholds.second) {
            *code = second_code(*value, second_inverse, *threshold);
        }
    }
    moved.total()
}
