//! One update of the weights by `AdamW` (Loshchilov and Hutter 2019), in place.

use candle_core::{Result, Tensor};

use super::{Moments, Moved, StatePart};
use crate::arch::ParameterSpec;
use crate::model::{Decoder, Gradients};
use crate::space::Optimizer;

/// Decay of the first moment; PyTorch's default.
pub(super) const BETA1: f64 = 0.9;
/// Decay of the second moment. Shorter than PyTorch's 0.999: a fine-tune has few steps.
pub(super) const BETA2: f64 = 0.99;
/// Added to the root of the second moment; PyTorch's default.
pub(super) const EPSILON: f64 = 1e-8;

/// Optimizer state: two moments per weight.
pub(in crate::train) struct AdamW {
    moments: Vec<Moments>,
    kept: Optimizer,
    weight_decay: f64,
}

/// Which update of a run it is, and how far it goes.
#[derive(Clone, Copy)]
pub(in crate::train) struct Step {
    /// Counts from 1.
    pub(in crate::train) number: usize,
    pub(in crate::train) learning_rate: f64,
    /// Factor of the gradients.
    pub(in crate::train) clip: f64,
}

/// The factors of one update.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    /// Which update of the run it is, from 1.
    pub(super) number: usize,
    /// Learning rate over the first moment's bias correction.
    pub(super) rate: f64,
    /// 1 / sqrt of the second moment's bias correction.
    pub(super) root: f64,
    /// 1 − learning rate · weight decay.
    pub(super) keep: f64,
    /// Factor of the gradient from clipping.
    pub(super) clip: f64,
}

impl AdamW {
    /// Zero moments for every trainable weight.
    pub(in crate::train) fn new(model: &Decoder, kept: Optimizer, weight_decay: f64) -> Result<Self> {
        let zeros = |(spec, weight)| Moments::zeros(kept, spec, weight);
        Ok(Self { moments: model.trainable().map(zeros).collect::<Result<_>>()?, kept, weight_decay })
    }

    /// Moments from a checkpoint, in the order of the weights.
    pub(in crate::train) fn from_moments(moments: Vec<Moments>, kept: Optimizer, weight_decay: f64) -> Self {
        Self { moments, kept, weight_decay }
    }

    /// The moments, in the order of the weights.
    #[cfg(test)]
    pub(in crate::train) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// All that a checkpoint keeps of it.
    pub(in crate::train) fn state<'a>(
        &'a self,
        model: &'a Decoder,
    ) -> impl Iterator<Item = (StatePart, &'a Tensor)> {
        let of = |((spec, _), moments): ((&'a ParameterSpec, _), &'a Moments)| {
            Moments::parts(self.kept, spec).into_iter().zip(moments.tensors())
        };
        model.trainable().zip(&self.moments).flat_map(of)
    }

    /// One update of every weight, and how far it moved them.
    pub(in crate::train) fn step(
        &mut self,
        model: &Decoder,
        gradients: &Gradients,
        step: Step,
    ) -> Result<Moved> {
        let all = model.trainable().zip(gradients.buffers()).enumerate();
        all.map(|(index, ((spec, weight), gradient))| self.update(index, spec, (weight, gradient), step))
            .sum()
    }

    /// The same of weight number `index` alone, in place.
    pub(in crate::train) fn update(
        &mut self,
        index: usize,
        spec: &ParameterSpec,
        (weight, gradient): (&Tensor, &Tensor),
        step: Step,
    ) -> Result<Moved> {
        let exponent = i32::try_from(step.number).unwrap_or(i32::MAX);
        let by = Factors {
            number: step.number,
            rate: step.learning_rate / (1.0 - BETA1.powi(exponent)),
            root: 1.0 / (1.0 - BETA2.powi(exponent)).sqrt(),
            keep: 1.0 - step.learning_rate * self.decay_of(spec),
            clip: step.clip,
        };
        self.moments[index].update(by, weight, gradient)
    }

    /// Norms are not decayed: their scale is not a matter of fit.
    fn decay_of(&self, spec: &ParameterSpec) -> f64 {
        if spec.is_matrix() { self.weight_decay } else { 0.0 }
    }
}

impl Factors {
    /// The weight after its update, composed of tensor operations.
    pub(super) fn updated(self, weight: &Tensor, first: &Tensor, second: &Tensor) -> Result<Tensor> {
        let divisor = ((second.sqrt()? * self.root)? + EPSILON)?;
        let change = ((first * self.rate)? / divisor)?;
        (weight * self.keep)? - change
    }
}
