//! Updates all weights together, after the passes of a step.

use super::TrainError;
use super::engine::{Updated, dropout_noise};
use super::loss_scale::LossScale;
use super::noise_scale::{MeanGradient, noise_sample};
use super::optimizer::{AdamW, Step, clip_factor, sum_of_squares};
use crate::data::Batch;
use crate::device::Rank;
use crate::model::{Decoder, Gradients, check_reached};
use crate::trial::Phase;

/// The gradients of a step, and what is done with them before they are used.
pub(super) struct AfterPasses {
    gradients: Gradients,
    max_grad_norm: Option<f64>,
    loss_scale: Option<LossScale>,
    /// Examples of the step.
    examples: usize,
    /// The gradient of the first of several micro-batches.
    first: Option<MeanGradient>,
}

impl AfterPasses {
    pub(super) fn new(
        model: &Decoder,
        max_grad_norm: Option<f64>,
        loss_scale: Option<LossScale>,
    ) -> Result<Self, TrainError> {
        Ok(Self { gradients: Gradients::zeros(model)?, max_grad_norm, loss_scale, examples: 0, first: None })
    }

    pub(super) const fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    fn factor(&self) -> f32 {
        self.loss_scale.map_or(1.0, LossScale::factor)
    }

    /// Sums the gradients of `scale · Σ loss` over what this rank does of the micro-batches of a step; returns the
    /// sum of those losses.
    ///
    /// Dropout draws by the place in the step, so that it is the same whoever does a micro-batch.
    pub(super) fn accumulate(
        &mut self,
        model: &mut Decoder,
        (batches, rank): (&[Batch], &Rank),
        (step, scale): (usize, f32),
        enter: &mut dyn FnMut(Phase) -> candle_core::Result<()>,
    ) -> candle_core::Result<f64> {
        self.gradients.clear();
        self.first = None;
        self.examples = batches.iter().map(|batch| batch.sequences.len()).sum();
        let (factor, mut total_nats) = (self.factor(), 0.0);
        for (index, batch) in rank.share(batches) {
            model.set_noise(dropout_noise(step, index));
            total_nats += model.accumulate(batch, factor * scale, &mut self.gradients, enter)?;
            if index == 0 && batches.len() > 1 {
                self.first = Some(self.mean_gradient_of(batch, batches)?);
            }
        }
        Ok(total_nats)
    }

    /// The gradient of the first micro-batch, as long as no other has been added to it.
    fn mean_gradient_of(&self, first: &Batch, batches: &[Batch]) -> candle_core::Result<MeanGradient> {
        let squares =
            self.gradients.buffers().iter().map(sum_of_squares).sum::<candle_core::Result<f64>>()?;
        let tokens = batches.iter().map(|batch| batch.scored_tokens).sum();
        let squares = squares / f64::from(self.factor()).powi(2);
        Ok(MeanGradient::of_part(squares, first.sequences.len(), (first.scored_tokens, tokens)))
    }

    /// One update by the gradients of step `step.number`, summed over all ranks. None is made where a scaled loss
    /// made them overflow.
    pub(super) fn update(
        &mut self,
        model: &Decoder,
        optimizer: &mut AdamW,
        (step, rank): (Step, &Rank),
    ) -> Result<Option<Updated>, TrainError> {
        rank.add_up(self.gradients.buffers())?;
        let squares = self.gradients.buffers().iter().map(sum_of_squares);
        let squares: Vec<f64> = rank.agreed(squares.collect::<candle_core::Result<_>>()?)?;
        let factor = f64::from(self.factor());
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
        let moved = optimizer.step(model, &self.gradients, Step { number, clip: clip / factor, ..step })?;
        if let Some(scale) = &mut self.loss_scale {
            scale.keep();
        }
        let whole = MeanGradient { squared_norm: norm * norm, examples: self.examples };
        let noise = self.first.and_then(|first| noise_sample(first, whole));
        Ok(Some(Updated { grad_norm: norm, update_ratio: moved.ratio(), noise }))
    }
}
