//! A model with its optimizer: what one optimizer step does to the weights.

use super::TrainError;
use super::after_passes::AfterPasses;
use super::in_backward::{InBackward, Scratch};
use super::loss_scale::LossScale;
use super::optimizer::{AdamW, Step};
use crate::data::Batch;
use crate::device::Rank;
use crate::model::Decoder;
use crate::space::Optimizer;
use crate::trial::{NoiseSample, Phase};

/// A decoder in training.
pub struct Engine {
    model: Decoder,
    optimizer: AdamW,
    update: Update,
    rank: Rank,
}

/// When the weights are updated.
enum Update {
    /// After the passes of a step: several micro-batches are summed, or the norm of all gradients
    /// must be known first.
    AfterPasses(AfterPasses),
    /// Inside the only backward pass of a step, weight by weight (Lv et al. 2023): no gradient
    /// outlives its update.
    InBackward(Scratch),
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug)]
pub struct StepSettings {
    /// Optimizer step, counted from 1.
    pub step: usize,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

/// What a step found.
#[derive(Clone, Copy, Debug)]
pub struct StepOutcome {
    /// Mean loss per scored token before the update.
    pub loss_nats: f64,
    /// Euclidean norm of all gradients together, before clipping; none where the scaled loss made
    /// them overflow, and no weight was changed.
    pub grad_norm: Option<f64>,
    /// ‖Δw‖ / ‖w‖ over all trainable weights together; none where none was changed.
    pub update_ratio: Option<f64>,
    /// What a step of several micro-batches tells of the noise of its gradient.
    pub noise: Option<NoiseSample>,
}

/// What an update found.
pub(super) struct Updated {
    /// Before clipping.
    pub(super) grad_norm: f64,
    pub(super) update_ratio: Option<f64>,
    pub(super) noise: Option<NoiseSample>,
}

impl Engine {
    /// A model at the beginning of its training.
    ///
    /// Gradients are clipped to `max_grad_norm` if given. With one micro-batch a step and no clipping,
    /// weights are updated inside the backward pass and no gradient buffers exist; but not in f16, whose
    /// loss is scaled: whether gradients overflow must be known before any weight changes.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn new(
        model: Decoder,
        optimizer: Optimizer,
        weight_decay: f64,
        max_grad_norm: Option<f64>,
        gradient_accumulation_steps: usize,
    ) -> Result<Self, TrainError> {
        let optimizer = AdamW::new(&model, optimizer, weight_decay)?;
        Self::with_optimizer(model, optimizer, max_grad_norm, gradient_accumulation_steps, None)
    }

    /// A model that goes on with the optimizer state of a checkpoint, and its loss scale if it has one.
    pub(super) fn with_optimizer(
        model: Decoder,
        optimizer: AdamW,
        max_grad_norm: Option<f64>,
        gradient_accumulation_steps: usize,
        loss_scale: Option<LossScale>,
    ) -> Result<Self, TrainError> {
        let loss_scale = model.scales_loss().then(|| loss_scale.unwrap_or_default());
        let needs_all = max_grad_norm.is_some() || loss_scale.is_some();
        let update = if gradient_accumulation_steps == 1 && !needs_all {
            Update::InBackward(Scratch::default())
        } else {
            Update::AfterPasses(AfterPasses::new(&model, max_grad_norm, loss_scale)?)
        };
        Ok(Self { model, optimizer, update, rank: Rank::alone() })
    }

    /// The same as one of several ranks, which begin with the same weights and take the same steps. It is made for
    /// the micro-batches that each of them does in a step.
    #[must_use]
    pub fn with_rank(self, rank: Rank) -> Self {
        Self { rank, ..self }
    }

    /// Which of the ranks it is.
    #[must_use]
    pub const fn rank(&self) -> &Rank {
        &self.rank
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Decoder {
        &self.model
    }

    pub(super) const fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// The factor of the next step's loss and what belongs to it, where there is one.
    pub(super) const fn loss_scale(&self) -> Option<LossScale> {
        match &self.update {
            Update::AfterPasses(after) => after.loss_scale(),
            Update::InBackward(_) => None,
        }
    }

    /// One optimizer step on the mean loss over all scored tokens of `batches`: the same for 8×1 and
    /// 2×4. Every phase is announced to `enter` before it begins.
    ///
    /// Each of several ranks is given all micro-batches of the step and does its share of them. What they find and
    /// their weights afterwards are the same.
    ///
    /// # Errors
    /// The device fails or refuses memory; a loss or a gradient that is no longer finite; in the first
    /// steps, a trainable weight that received no gradient; another rank has ended.
    pub fn step(
        &mut self,
        batches: &[Batch],
        settings: StepSettings,
        enter: &mut dyn FnMut(Phase) -> candle_core::Result<()>,
    ) -> Result<StepOutcome, TrainError> {
        let StepSettings { step, learning_rate } = settings;
        if !batches.len().is_multiple_of(self.rank.count()) {
            return Err(TrainError::Uneven {
                effective_batch_size: examples(batches),
                ranks: self.rank.count(),
            });
        }
        let scored: usize = batches.iter().map(|batch| batch.scored_tokens).sum();
        #[expect(clippy::cast_precision_loss, reason = "a step has fewer than 2^24 tokens")]
        let scale = 1.0 / scored.max(1) as f32;
        let settings = Step { number: step, learning_rate, clip: 1.0 };
        let (total_nats, updated) = match &mut self.update {
            Update::InBackward(scratch) => {
                let own: Vec<(usize, &Batch)> = self.rank.share(batches).collect();
                let [(place, batch)] = own[..] else {
                    return Err(TrainError::MicroBatches {
                        expected: self.rank.count(),
                        found: batches.len(),
                    });
                };
                self.model.set_noise(dropout_noise(step, place));
                let sink = InBackward::new(&self.model, &mut self.optimizer, scratch, (settings, &self.rank));
                let (own_nats, updated) = sink.pass(&self.model, (batch, scale), enter)?;
                (sum(&self.rank, own_nats)?, Some(updated))
            }
            Update::AfterPasses(after) => {
                let shared = (batches, &self.rank);
                let own_nats = after.accumulate(&mut self.model, shared, (step, scale), enter)?;
                enter(Phase::Optimizer)?;
                let total_nats = sum(&self.rank, own_nats)?;
                if !total_nats.is_finite() {
                    return Err(TrainError::Diverged { step });
                }
                (total_nats, after.update(&self.model, &mut self.optimizer, (settings, &self.rank))?)
            }
        };
        let grad_norm = updated.as_ref().map(|updated| updated.grad_norm);
        if !(total_nats.is_finite() && grad_norm.is_none_or(f64::is_finite)) {
            return Err(TrainError::Diverged { step });
        }
        #[expect(clippy::cast_precision_loss, reason = "token counts stay below 2^53")]
        let loss_nats = total_nats / scored.max(1) as f64;
        let (update_ratio, noise) =
            updated.map_or((None, None), |updated| (updated.update_ratio, updated.noise));
        Ok(StepOutcome { loss_nats, grad_norm, update_ratio, noise })
    }
}

/// The sum of what each rank has found.
fn sum(rank: &Rank, own: f64) -> Result<f64, TrainError> {
    Ok(rank.sum(vec![own])?.into_iter().sum())
}

fn examples(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.sequences.len()).sum()
}

/// What dropout draws from in one micro-batch: no other of the run has the same.
pub(super) const fn dropout_noise(step: usize, micro_batch: usize) -> u64 {
    (step as u64) << 32 | micro_batch as u64
}
