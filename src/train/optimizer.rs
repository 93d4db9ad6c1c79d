//! `AdamW` (Loshchilov and Hutter 2019) in place, and clipping by the global norm.

use std::ops::Range;

use candle_core::{Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use crate::arch::ParameterSpec;
use crate::model::{Decoder, Gradients, has_kernels, mutate, pieces, read};

/// Decay of the first moment; PyTorch's default.
const BETA1: f64 = 0.9;
/// Decay of the second moment. Shorter than PyTorch's 0.999: a fine-tune has few steps.
const BETA2: f64 = 0.99;
/// Added to the root of the second moment; PyTorch's default.
const EPSILON: f64 = 1e-8;
/// Values a thread takes at once; also the fixed grain in which norms are summed.
const GRAIN: usize = 1 << 15;

/// Optimizer state: two f32 moments per weight.
pub(super) struct AdamW {
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    weight_decay: f64,
}

/// Which update of a run it is, and how far it goes.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Counts from 1.
    pub number: usize,
    pub learning_rate: f64,
    /// Factor of the gradients.
    pub clip: f64,
}

/// The factors of one update.
#[derive(Clone, Copy)]
struct Update {
    /// Learning rate over the first moment's bias correction.
    rate: f64,
    /// 1 / sqrt of the second moment's bias correction.
    root: f64,
    /// 1 − learning rate · weight decay.
    keep: f64,
    /// Factor of the gradient from clipping.
    clip: f64,
}

impl AdamW {
    /// Zero moments for every trainable weight.
    pub(super) fn new(model: &Decoder, weight_decay: f64) -> Result<Self> {
        let zeros = || model.trainable().map(|(_, weight)| weight.zeros_like()).collect::<Result<Vec<_>>>();
        Ok(Self { first: zeros()?, second: zeros()?, weight_decay })
    }

    /// Moments from a checkpoint, in the order of the weights.
    pub(super) fn from_moments(first: Vec<Tensor>, second: Vec<Tensor>, weight_decay: f64) -> Self {
        Self { first, second, weight_decay }
    }

    /// First and second moments, in the order of the weights.
    pub(super) fn moments(&self) -> (&[Tensor], &[Tensor]) {
        (&self.first, &self.second)
    }

    /// One update of every weight.
    pub(super) fn step(&mut self, model: &Decoder, gradients: &Gradients, step: Step) -> Result<()> {
        let all = model.trainable().zip(gradients.buffers());
        for (index, ((spec, weight), gradient)) in all.enumerate() {
            self.update(index, spec, (weight, gradient), step)?;
        }
        Ok(())
    }

    /// One update of weight number `index` alone, in place.
    pub(super) fn update(
        &mut self,
        index: usize,
        spec: &ParameterSpec,
        (weight, gradient): (&Tensor, &Tensor),
        step: Step,
    ) -> Result<()> {
        let exponent = i32::try_from(step.number).unwrap_or(i32::MAX);
        let update = Update {
            rate: step.learning_rate / (1.0 - BETA1.powi(exponent)),
            root: 1.0 / (1.0 - BETA2.powi(exponent)).sqrt(),
            keep: 1.0 - step.learning_rate * self.decay_of(spec),
            clip: step.clip,
        };
        let (m, v) = (&self.first[index], &self.second[index]);
        if has_kernels(weight.device()) {
            update.in_place(weight, gradient, m, v)
        } else {
            update.composed(weight, gradient, m, v)
        }
    }

    /// Norms are not decayed: their scale is not a matter of fit.
    fn decay_of(&self, spec: &ParameterSpec) -> f64 {
        if spec.is_matrix() { self.weight_decay } else { 0.0 }
    }
}

impl Update {
    fn in_place(self, weight: &Tensor, gradient: &Tensor, m: &Tensor, v: &Tensor) -> Result<()> {
        read::<f32, _>(gradient, |gradient| {
            mutate(weight, |weight| {
                mutate(m, |m| {
                    mutate(v, |v| {
                        self.slices(weight, gradient, m, v);
                        Ok(())
                    })
                })
            })
        })
    }

    fn slices(self, weight: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
        let state = m.par_chunks_mut(GRAIN).zip(v.par_chunks_mut(GRAIN));
        let inputs = weight.par_chunks_mut(GRAIN).zip(gradient.par_chunks(GRAIN));
        inputs.zip(state).for_each(|((weight, gradient), (m, v))| update(self, weight, gradient, m, v));
    }

    /// A piece at a time: tensor operations make new tensors, which shall not have a weight's size.
    fn composed(self, weight: &Tensor, gradient: &Tensor, m: &Tensor, v: &Tensor) -> Result<()> {
        let [weight, gradient, m, v] = [weight, gradient, m, v].map(Tensor::flatten_all);
        let (weight, gradient, m, v) = (weight?, gradient?, m?, v?);
        for piece in pieces(weight.elem_count(), 1) {
            let part = |tensor: &Tensor| tensor.narrow(0, piece.start, piece.len());
            let gradient = (part(&gradient)? * self.clip)?;
            let first = ((part(&m)? * BETA1)? + (&gradient * (1.0 - BETA1))?)?;
            let second = ((part(&v)? * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?;
            m.slice_set(&first, 0, piece.start)?;
            v.slice_set(&second, 0, piece.start)?;
            let divisor = ((second.sqrt()? * self.root)? + EPSILON)?;
            let change = ((first * self.rate)? / divisor)?;
            weight.slice_set(&((part(&weight)? * self.keep)? - change)?, 0, piece.start)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the state is f32")]
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn update(by: Update, weight: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
    let (b1, b2, epsilon) = (BETA1 as f32, BETA2 as f32, EPSILON as f32);
    let (rate, root, keep, clip) = (by.rate as f32, by.root as f32, by.keep as f32, by.clip as f32);
    for (((weight, gradient), m), v) in weight.iter_mut().zip(gradient).zip(m).zip(v) {
        let gradient = gradient * clip;
        *m = b1 * *m + (1.0 - b1) * gradient;
        *v = b2 * *v + (1.0 - b2) * gradient * gradient;
        *weight = *weight * keep - rate * *m / (v.sqrt() * root + epsilon);
    }
}

/// Sum of the squares of one gradient; their sum over all gradients is the square of the global norm.
pub(super) fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
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
pub(super) fn clip_factor(norm: f64, limit: f64) -> f64 {
    if norm > limit { limit / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    const UPDATE: Update = Update { rate: 0.1, root: 2.0, keep: 0.99, clip: 0.5 };

    fn tensor(values: [f32; 3]) -> Tensor {
        Tensor::from_slice(&values, 3, &Device::Cpu).unwrap()
    }

    /// Expected values by hand: m = 0.9·0.1 + 0.1·0.5·g, v = 0.99·0.2 + 0.01·(0.5·g)².
    #[test]
    fn an_update_is_the_one_by_hand_on_both_paths() {
        let state =
            || (tensor([1.0, -2.0, 0.5]), tensor([2.0, -4.0, 0.0]), tensor([0.1; 3]), tensor([0.2; 3]));
        let expected = |w: f64, g: f64| {
            let (m, v) = (0.9 * 0.1 + 0.1 * 0.5 * g, 0.99 * 0.2 + 0.01 * (0.5 * g).powi(2));
            w * 0.99 - 0.1 * m / (v.sqrt() * 2.0 + 1e-8)
        };
        for path in [Update::in_place, Update::composed] {
            let (w, g, m, v) = state();
            path(UPDATE, &w, &g, &m, &v).unwrap();
            for (value, (w, g)) in
                w.to_vec1::<f32>().unwrap().iter().zip([(1.0, 2.0), (-2.0, -4.0), (0.5, 0.0)])
            {
                assert!((f64::from(*value) - expected(w, g)).abs() < 1e-6);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(32)))]

        #[test]
        fn tensors_of_any_size_are_updated_and_summed_as_by_plain_tensor_operations(
            n in prop_oneof![1..200_usize, GRAIN - 2..GRAIN + 40],
            seed in 1..1000_u16,
        ) {
            // Values in [−1, 1) that no two neighbors share.
            let values = |number: u16| -> Vec<f32> {
                let fraction = |i: usize| {
                    let mixed = (i * 40_503 + usize::from(seed * number)) % 65_536;
                    f32::from(u16::try_from(mixed).unwrap()) / 32_768.0 - 1.0
                };
                (0..n).map(fraction).collect()
            };
            let tensor = |number| Tensor::from_vec(values(number), n, &Device::Cpu).unwrap();
            let state = || (tensor(1), tensor(2), tensor(3), tensor(4).sqr().unwrap());
            let (ours, plain) = (state(), state());
            UPDATE.in_place(&ours.0, &ours.1, &ours.2, &ours.3).unwrap();
            UPDATE.composed(&plain.0, &plain.1, &plain.2, &plain.3).unwrap();
            for (ours, plain) in [(&ours.0, &plain.0), (&ours.2, &plain.2), (&ours.3, &plain.3)] {
                let (ours, plain) = (ours.to_vec1::<f32>().unwrap(), plain.to_vec1::<f32>().unwrap());
                for (a, b) in ours.iter().zip(plain) {
                    prop_assert!((a - b).abs() <= 1e-6 + 1e-5 * b.abs(), "{} {}", a, b);
                }
            }
            let plain: f64 = values(2).iter().map(|value| f64::from(*value).powi(2)).sum();
            prop_assert!((sum_of_squares(&ours.1).unwrap() / plain.max(1e-30) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn clipping_only_ever_shrinks() {
        assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-12);
        assert!((clip_factor(0.5, 1.0) - 1.0).abs() < 1e-12);
    }
}
