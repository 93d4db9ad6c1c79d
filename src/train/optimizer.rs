//! `AdamW` (Loshchilov and Hutter 2019) in place, and clipping by the global norm.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::arch::ParameterSpec;
use crate::model::{Decoder, Gradients, mutate, read};

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
    /// Zero moments for every weight.
    pub(super) fn new(model: &Decoder, weight_decay: f64) -> Result<Self> {
        let zeros = || model.weights().iter().map(Tensor::zeros_like).collect::<Result<Vec<_>>>();
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

    /// One update of every weight; `step` counts from 1, `clip` scales the gradients.
    pub(super) fn step(
        &mut self,
        model: &Decoder,
        gradients: &Gradients,
        step: usize,
        learning_rate: f64,
        clip: f64,
    ) -> Result<()> {
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let weights = model.weights().iter().zip(gradients.buffers());
        let moments = self.first.iter().zip(&self.second);
        for (spec, ((weight, gradient), (m, v))) in model.specs().iter().zip(weights.zip(moments)) {
            let update = Update {
                rate: learning_rate / (1.0 - BETA1.powi(exponent)),
                root: 1.0 / (1.0 - BETA2.powi(exponent)).sqrt(),
                keep: 1.0 - learning_rate * self.decay_of(spec),
                clip,
            };
            if weight.device().is_cpu() {
                update.in_place(weight, gradient, m, v)?;
            } else {
                update.composed(weight, gradient, m, v)?;
            }
        }
        Ok(())
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

    #[expect(clippy::cast_possible_truncation, reason = "the state is f32")]
    fn slices(self, weight: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
        let (b1, b2) = (BETA1 as f32, BETA2 as f32);
        let (rate, root, keep, clip) =
            (self.rate as f32, self.root as f32, self.keep as f32, self.clip as f32);
        let state = m.par_chunks_mut(GRAIN).zip(v.par_chunks_mut(GRAIN));
        let inputs = weight.par_chunks_mut(GRAIN).zip(gradient.par_chunks(GRAIN));
        inputs.zip(state).for_each(|((weight, gradient), (m, v))| {
            for i in 0..weight.len() {
                let gradient = gradient[i] * clip;
                m[i] = b1 * m[i] + (1.0 - b1) * gradient;
                v[i] = b2 * v[i] + (1.0 - b2) * gradient * gradient;
                weight[i] = weight[i] * keep - rate * m[i] / (v[i].sqrt() * root + EPSILON as f32);
            }
        });
    }

    fn composed(self, weight: &Tensor, gradient: &Tensor, m: &Tensor, v: &Tensor) -> Result<()> {
        let gradient = (gradient * self.clip)?;
        m.slice_set(&((m * BETA1)? + (&gradient * (1.0 - BETA1))?)?, 0, 0)?;
        v.slice_set(&((v * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?, 0, 0)?;
        let divisor = ((v.sqrt()? * self.root)? + EPSILON)?;
        let change = ((m * self.rate)? / divisor)?;
        weight.slice_set(&((weight * self.keep)? - change)?, 0, 0)
    }
}

/// Euclidean norm of all gradients together.
pub(super) fn global_norm(gradients: &Gradients) -> Result<f64> {
    let squares = gradients.buffers().iter().map(sum_of_squares).collect::<Result<Vec<f64>>>()?;
    Ok(squares.iter().sum::<f64>().sqrt())
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    if !tensor.device().is_cpu() {
        return Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?));
    }
    read::<f32, _>(tensor, |values| {
        let part =
            |values: &[f32]| values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
        let parts: Vec<f64> = values.par_chunks(GRAIN).map(part).collect();
        Ok(parts.iter().sum())
    })
}

/// Factor that brings a gradient of norm `norm` down to at most `limit`.
pub(super) fn clip_factor(norm: f64, limit: f64) -> f64 {
    if norm > limit { limit / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

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

    #[test]
    fn clipping_only_ever_shrinks() {
        assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-12);
        assert!((clip_factor(0.5, 1.0) - 1.0).abs() < 1e-12);
    }
}
