//! Updates each weight as soon as its gradient is complete, inside the backward pass.
//!
//! A gradient then lives from its first product to its update (Lv et al. 2023, LOMO; here with
//! `AdamW`). What stays allocated is one buffer per size of weight, used again and again.
//!
//! With several ranks a gradient is complete when it is summed over all of them. A backward pass
//! completes the weights in the same order on each rank.

use candle_core::{DType, Result, Tensor};

use super::TrainError;
use super::engine::Updated;
use super::optimizer::{AdamW, Moved, Step, sum_of_squares};
use crate::arch::ParameterSpec;
use crate::data::Batch;
use crate::device::{Rank, RankError};
use crate::model::{Decoder, GradientSink, ModelError, Output, check_reached};
use crate::trial::Phase;

/// Gradient buffers between their uses.
#[derive(Default)]
pub(super) struct Scratch {
    free: Vec<Tensor>,
    /// Gradients that have begun and are not complete.
    begun: Vec<(usize, Tensor)>,
}

impl Scratch {
    /// A flat buffer of so many values; what is in it is of no meaning.
    fn take(&mut self, like: &Tensor) -> Result<Tensor> {
        let elements = like.elem_count();
        match self.free.iter().position(|buffer| buffer.elem_count() == elements) {
            Some(index) => Ok(self.free.swap_remove(index)),
            None => Tensor::zeros(elements, DType::F32, like.device()),
        }
    }
}

/// One backward pass that updates.
pub(super) struct InBackward<'a> {
    trainable: Vec<(&'a ParameterSpec, &'a Tensor)>,
    optimizer: &'a mut AdamW,
    scratch: &'a mut Scratch,
    step: Step,
    squares: f64,
    moved: Moved,
    check: bool,
    unreached: Option<ModelError>,
    rank: &'a Rank,
    /// Why the pass could not go on, where it is not the device.
    failed: Option<RankError>,
}

impl<'a> InBackward<'a> {
    pub(super) fn new(
        model: &'a Decoder,
        optimizer: &'a mut AdamW,
        scratch: &'a mut Scratch,
        (step, rank): (Step, &'a Rank),
    ) -> Self {
        scratch.free.extend(scratch.begun.drain(..).map(|(_, buffer)| buffer));
        let trainable = model.trainable().collect();
        let check = step.number == model.all_reached_at_step();
        Self {
            trainable,
            optimizer,
            scratch,
            step,
            squares: 0.0,
            moved: Moved::default(),
            check,
            unreached: None,
            rank,
            failed: None,
        }
    }

    /// One pass over `batch`, the sum of whose losses it returns with what it found.
    ///
    /// # Errors
    /// The device or another rank fails; in the first steps, a weight that received no gradient.
    pub(super) fn pass(
        mut self,
        model: &Decoder,
        (batch, scale): (&Batch, f32),
        enter: &mut dyn FnMut(Phase) -> Result<()>,
    ) -> std::result::Result<(f64, Updated), TrainError> {
        let total_nats = model.accumulate(batch, scale, &mut self, enter);
        if let Some(failed) = self.failed.take() {
            return Err(failed.into());
        }
        let (total_nats, rank) = (total_nats?, self.rank);
        let mut updated = self.updated()?;
        updated.grad_norm = rank.agreed(vec![updated.grad_norm])?.into_iter().sum();
        Ok((total_nats, updated))
    }

    /// What the pass found.
    ///
    /// # Errors
    /// In the first steps, a weight that received no gradient.
    fn updated(self) -> std::result::Result<Updated, TrainError> {
        let (grad_norm, update_ratio) = (self.squares.sqrt(), self.moved.ratio());
        let updated = Updated { grad_norm, update_ratio, noise: None };
        self.unreached.map_or(Ok(updated), |error| Err(error.into()))
    }
}

impl GradientSink for InBackward<'_> {
    fn receive(&mut self, slot: usize, put: &mut dyn FnMut(&Tensor, Output) -> Result<()>) -> Result<()> {
        let (_, weight) = self.trainable[slot];
        let shape = weight.shape();
        if let Some((_, buffer)) = self.scratch.begun.iter().find(|(begun, _)| *begun == slot) {
            return put(&buffer.reshape(shape)?, Output::Add);
        }
        let buffer = self.scratch.take(weight)?;
        put(&buffer.reshape(shape)?, Output::Overwrite)?;
        self.scratch.begun.push((slot, buffer));
        Ok(())
    }

    fn complete(&mut self, slot: usize, weight: &Tensor) -> Result<()> {
        let begun = self.scratch.begun.iter().position(|(begun, _)| *begun == slot);
        let Some(index) = begun else { candle_core::bail!("weight {slot} is complete without a gradient") };
        let (_, buffer) = self.scratch.begun.swap_remove(index);
        let (spec, _) = self.trainable[slot];
        let gradient = buffer.reshape(weight.shape())?;
        if let Err(failed) = self.rank.add_up(std::slice::from_ref(&gradient)) {
            self.failed = Some(failed);
            candle_core::bail!("the ranks can't go on together")
        }
        let squares = sum_of_squares(&gradient)?;
        self.squares += squares;
        if self.check && self.unreached.is_none() {
            self.unreached = check_reached(&spec.name, squares).err();
        }
        self.moved += self.optimizer.update(slot, spec, (weight, &gradient), self.step)?;
        self.scratch.free.push(buffer);
        Ok(())
    }
}
