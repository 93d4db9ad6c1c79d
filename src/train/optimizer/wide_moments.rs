//! Moments kept in f32, and their update.

use candle_core::{Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use super::GRAIN;
use super::adamw::{BETA1, BETA2, EPSILON, Factors};
use super::moved::{Moved, MovedLanes};
use crate::model::{has_kernels, mutate, pieces, read};

/// First and second moment of one weight, in its shape.
pub(in crate::train) struct WideMoments(pub(super) [Tensor; 2]);

impl WideMoments {
    pub(super) fn zeros(weight: &Tensor) -> Result<Self> {
        Ok(Self([weight.zeros_like()?, weight.zeros_like()?]))
    }

    /// One update of the weight and of these.
    pub(super) fn update(&self, by: Factors, weight: &Tensor, gradient: &Tensor) -> Result<Moved> {
        if has_kernels(weight.device()) {
            self.in_place(by, weight, gradient)
        } else {
            self.composed(by, weight, gradient)
        }
    }

    fn in_place(&self, by: Factors, weight: &Tensor, gradient: &Tensor) -> Result<Moved> {
        let Self([m, v]) = self;
        let mut grains: Vec<Moved> = Vec::new();
        read::<f32, _>(gradient, |gradient| {
            mutate(weight, |weight: &mut [f32]| {
                mutate(m, |m: &mut [f32]| {
                    mutate(v, |v: &mut [f32]| {
                        let state = m.par_chunks_mut(GRAIN).zip(v.par_chunks_mut(GRAIN));
                        let inputs = weight.par_chunks_mut(GRAIN).zip(gradient.par_chunks(GRAIN));
                        let update =
                            |((w, g), (m, v)): ((&mut _, &_), (&mut _, &mut _))| update(by, w, g, m, v);
                        inputs.zip(state).map(update).collect_into_vec(&mut grains);
                        Ok(())
                    })
                })
            })
        })?;
        Ok(grains.into_iter().sum())
    }

    /// A piece at a time: tensor operations make new tensors, which shall not have a weight's size.
    fn composed(&self, by: Factors, weight: &Tensor, gradient: &Tensor) -> Result<Moved> {
        let Self([m, v]) = self;
        let [weight, gradient, m, v] = [weight, gradient, m, v].map(Tensor::flatten_all);
        let (weight, gradient, m, v) = (weight?, gradient?, m?, v?);
        let mut moved = Moved::default();
        for piece in pieces(weight.elem_count(), 1) {
            let part = |tensor: &Tensor| tensor.narrow(0, piece.start, piece.len());
            let gradient = (part(&gradient)? * by.clip)?;
            let first = ((part(&m)? * BETA1)? + (&gradient * (1.0 - BETA1))?)?;
            let second = ((part(&v)? * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?;
            m.slice_set(&first, 0, piece.start)?;
            v.slice_set(&second, 0, piece.start)?;
            let before = part(&weight)?;
            let after = by.updated(&before, &first, &second)?;
            moved += Moved::between(&before, &after)?;
            weight.slice_set(&after, 0, piece.start)?;
        }
        Ok(moved)
    }
}

/// Values that are updated before their changes are summed: they are still in the nearest cache.
const PART: usize = 512;

#[expect(clippy::cast_possible_truncation, reason = "the state is f32")]
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn update(by: Factors, weight: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) -> Moved {
    let (b1, b2, epsilon) = (BETA1 as f32, BETA2 as f32, EPSILON as f32);
    let (rate, root, keep, clip) = (by.rate as f32, by.root as f32, by.keep as f32, by.clip as f32);
    let (mut moved, mut before) = (MovedLanes::new(), [0.0; PART]);
    let inputs = weight.chunks_mut(PART).zip(gradient.chunks(PART));
    for ((weight, gradient), (m, v)) in inputs.zip(m.chunks_mut(PART).zip(v.chunks_mut(PART))) {
        let before = &mut before[..weight.len()];
        before.copy_from_slice(weight);
        for (((weight, gradient), m), v) in weight.iter_mut().zip(gradient).zip(m).zip(v) {
            let gradient = gradient * clip;
            *m = b1 * *m + (1.0 - b1) * gradient;
            *v = b2 * *v + (1.0 - b2) * gradient * gradient;
            *weight = *weight * keep - rate * *m / (v.sqrt() * root + epsilon);
        }
        moved.add(before, weight);
    }
    moved.total()
}
