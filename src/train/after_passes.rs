//! Updates all weights together, after the passes of a step.

use super::TrainError;
use super::loss_scale::LossScale;
use super::optimizer::{AdamW, Step, clip_factor, sum_of_squares};
use crate::model::{Decoder, Gradients, check_reached};

/// The gradients of a step, and what is done with them before they are used.
pub(super) struct AfterPasses {
    gradients: Gradients,
    max_grad_norm: Option<f64>,
    loss_scale: Option<LossScale>,
}

impl AfterPasses {
    pub(super) fn new(
        model: &Decoder,
        max_grad_norm: Option<f64>,
        loss_scale: Option<LossScale>,
    ) -> Result<Self, TrainError> {
        Ok(Self { gradients: Gradients::zeros(model)?, max_grad_norm, loss_scale })
    }

    pub(super) const fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    /// Where the gradients of the next step go, and what its loss is to be multiplied by.
    pub(super) fn begin(&mut self) -> (&mut Gradients, f32) {
        self.gradients.clear();
        (&mut self.gradients, self.loss_scale.map_or(1.0, LossScale::factor))
    }

    /// One update by the gradients of step `step.number`; their norm before clipping. None is made, and
    /// there is no norm, where a scaled loss made them overflow.
    pub(super) fn update(
        &mut self,
        model: &Decoder,
        optimizer: &mut AdamW,
        step: Step,
    ) -> Result<Option<f64>, TrainError> {
        let squares = self.gradients.buffers().iter().map(sum_of_squares);
        let squares: Vec<f64> = squares.collect::<candle_core::Result<_>>()?;
        let factor = f64::from(self.loss_scale.map_or(1.0, LossScale::factor));
        let norm = squares.iter().sum::<f64>().sqrt() / factor;
        if !norm.is_finite() {
            let goes_on = self.loss_scale.as_mut().is_some_and(LossScale::lower);
            return if goes_on { Ok(None) } else { Err(TrainError::Diverged { step: step.number }) };
        }
        let number = step.number - self.loss_scale.map_or(0, LossScale::skipped);
        if number == model.all_reached_at_step() {
            for ((spec, _), squares) in model.trainable().zip(&squares) {
                check_reached(&spec.name, *squares)?;
            }
        }
        let clip = self.max_grad_norm.map_or(1.0, |limit| clip_factor(norm, limit));
        optimizer.step(model, &self.gradients, Step { number, clip: clip / factor, ..step })?;
        if let Some(scale) = &mut self.loss_scale {
            scale.keep();
        }
        Ok(Some(norm))
    }
}
