//! Model, optimizer and data of one run, and one optimizer step of it.

use std::path::Path;
use std::time::Instant;

use candle_core::Tensor;

use super::checkpoint::{self, Progress};
use super::engine::{Engine, StepOutcome, StepSettings};
use super::evaluate::evaluate_together;
use super::optimizer::AdamW;
use super::phases::Phases;
use super::{Evaluation, TrainError, learning_rate};
use crate::arch::ModelConfig;
use crate::data::{self, Batch, Dataset, Example, collate};
use crate::device::{Device, Rank};
use crate::model::{self, Decoder};
use crate::space::BatchPlan;
use crate::trial::{EvalEvent, Event, Phase, StepEvent, TrialSpec};

/// Everything alive during a run.
pub(super) struct Session<'a> {
    pub(super) spec: &'a TrialSpec,
    pub(super) dataset: Dataset,
    pub(super) engine: Engine,
    pub(super) progress: Progress,
    pub(super) micro_batch_size: usize,
    device: &'a dyn Device,
    phases: Phases<'a>,
    run: String,
}

impl<'a> Session<'a> {
    /// Loads data, model and, where `resume_from` holds one, the checkpoint.
    pub(super) fn open(
        spec: &'a TrialSpec,
        (device, rank): (&'a dyn Device, Rank),
        resume_from: Option<&Path>,
        emit: &mut dyn FnMut(Event),
    ) -> Result<Self, TrainError> {
        let phases = Phases::new(device, rank.is_first())?;
        let plan = plan_of_each(spec.hyperparams.batch, rank.count())?;
        let dataset = data::cache::read(&spec.dataset)?;
        let config = model::read_config(&spec.model)?;
        let trainable = model::trainable_specs(&config, spec.train.lora.as_ref());
        let (kept, decay) = (spec.train.optimizer, spec.train.weight_decay);
        let run = checkpoint::run_identity(spec, &dataset, &config);
        let saved = match resume_from {
            Some(folder) => {
                let place = (device.candle(), &rank);
                checkpoint::read_together(folder, (&trainable, kept), place, &run)?
            }
            None => None,
        };
        let (model, optimizer, progress) = if let Some(saved) = saved {
            let model = decoder(spec, config, Some(saved.weights), device)?;
            (model, AdamW::from_moments(saved.moments, kept, decay), saved.progress)
        } else {
            let model = decoder(spec, config, None, device)?;
            let optimizer = AdamW::new(&model, kept, decay)?;
            (model, optimizer, Progress::default())
        };
        let BatchPlan { micro_batch_size, gradient_accumulation_steps } = plan;
        let (clip, scale) = (spec.train.max_grad_norm, progress.loss_scale);
        let engine = Engine::with_optimizer(model, optimizer, clip, gradient_accumulation_steps, scale)?;
        let engine = engine.with_rank(rank);
        emit(Event::Started {
            device: described(device, engine.rank()),
            dtype: spec.hyperparams.precision.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            resumed_at_step: progress.step,
            parameters: trainable.iter().map(|spec| spec.elements() as u64).sum(),
            overhead_bytes: device.overhead(),
        });
        let micro_batch_size = micro_batch_size.max(1);
        Ok(Self { spec, dataset, engine, progress, micro_batch_size, device, phases, run })
    }

    /// One optimizer step over `examples`, cut into micro-batches.
    pub(super) fn step(
        &mut self,
        examples: &[usize],
        emit: &mut dyn FnMut(Event),
    ) -> Result<StepOutcome, TrainError> {
        let started = Instant::now();
        let step = self.progress.step + 1;
        let batches = self.micro_batches(step, examples);
        let tokens = batches.iter().map(|batch| batch.tokens() as u64).sum();
        let learning_rate = self.learning_rate(step);
        let phases = &mut self.phases;
        let mut enter = |phase| phases.enter(phase, emit).map_err(candle_core::Error::wrap);
        let outcome = self.engine.step(&batches, StepSettings { step, learning_rate }, &mut enter)?;
        self.device.synchronize()?;
        self.phases.enter(Phase::Load, emit)?;
        self.progress.step = step;
        self.progress.loss_scale = self.engine.loss_scale();
        let seconds = started.elapsed().as_secs_f64();
        let StepOutcome { loss_nats, grad_norm, update_ratio, noise } = outcome;
        emit(Event::Step(StepEvent {
            step,
            loss_nats,
            learning_rate,
            grad_norm,
            update_ratio,
            noise,
            tokens,
            seconds,
        }));
        Ok(outcome)
    }

    /// The longest examples come first, so they are all in one micro-batch: each step begins with another
    /// one, for the first stands for all in the estimate of the gradient's noise.
    pub(super) fn micro_batches(&self, step: usize, examples: &[usize]) -> Vec<Batch> {
        let batch = |indices: &[usize]| {
            let examples: Vec<&Example> = indices.iter().map(|index| &self.dataset.train[*index]).collect();
            collate(&examples)
        };
        let mut batches: Vec<Batch> = examples.chunks(self.micro_batch_size).map(batch).collect();
        let first = step % batches.len().max(1);
        batches.rotate_left(first);
        batches
    }

    fn learning_rate(&self, step: usize) -> f64 {
        let train = &self.spec.train;
        let peak = self.spec.hyperparams.learning_rate;
        learning_rate(step, train.total_steps, train.warmup_fraction, train.schedule, peak)
    }

    /// Mean loss of `examples` of the validation split in nats per scored token; `each` says it example by
    /// example too.
    pub(super) fn evaluate(
        &mut self,
        examples: &[Example],
        each: bool,
        emit: &mut dyn FnMut(Event),
    ) -> Result<f64, TrainError> {
        let started = Instant::now();
        self.phases.enter(Phase::Evaluate, emit)?;
        let at_once = self.spec.train.eval_micro_batch_size;
        let losses = evaluate_together(self.engine.model(), examples, (at_once, self.engine.rank()))?;
        let evaluation = Evaluation::of(&losses);
        self.device.synchronize()?;
        self.phases.enter(Phase::Load, emit)?;
        let loss_nats = evaluation.loss_nats();
        if !loss_nats.is_finite() {
            return Err(TrainError::Diverged { step: self.progress.step });
        }
        let seconds = started.elapsed().as_secs_f64();
        emit(Event::Eval(EvalEvent {
            step: self.progress.step,
            loss_nats,
            tokens: evaluation.tokens,
            seconds,
        }));
        if each {
            emit(Event::Examples(losses));
        }
        Ok(loss_nats)
    }

    /// Writes a checkpoint into `folder`; of several ranks the first does.
    pub(super) fn save(&mut self, folder: &Path, emit: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        if !self.engine.rank().is_first() {
            return Ok(());
        }
        self.phases.enter(Phase::Checkpoint, emit)?;
        checkpoint::write(folder, &self.engine, &self.progress, &self.run)?;
        self.phases.enter(Phase::Load, emit)?;
        emit(Event::Checkpoint { path: folder.to_owned(), step: self.progress.step });
        Ok(())
    }
}

/// How each of so many ranks cuts its examples of a step.
fn plan_of_each(plan: BatchPlan, ranks: usize) -> Result<BatchPlan, TrainError> {
    if ranks == 1 {
        return Ok(plan);
    }
    let uneven = TrainError::Uneven { effective_batch_size: plan.effective_batch_size(), ranks };
    plan.shared_by(ranks).ok_or(uneven)
}

/// The device in words, and how many are beside it.
fn described(device: &dyn Device, rank: &Rank) -> String {
    match rank.count() {
        1 => device.describe(),
        ranks => format!("{}; {ranks} devices together", device.describe()),
    }
}

/// The model of a run; its trainable weights are those of a checkpoint where there is one.
pub(super) fn decoder(
    spec: &TrialSpec,
    config: ModelConfig,
    saved: Option<Vec<Tensor>>,
    device: &dyn Device,
) -> Result<Decoder, TrainError> {
    let (precision, candle) = (spec.hyperparams.precision, device.candle());
    device.check_precision(precision)?;
    let decoder = match (&spec.train.lora, saved) {
        (None, saved) => {
            let weights = saved.map_or_else(|| model::read_weights(&spec.model, &config), Ok)?;
            Decoder::new(config, weights, precision, candle)?
        }
        (Some(lora), saved) => {
            model::check_targets(lora, &config)?;
            let weights = model::read_frozen_weights(&spec.model, &config, lora.quantize_base, candle)?;
            let base = Decoder::frozen(config, weights, precision, candle)?;
            match saved {
                Some(saved) => base.with_adapter_weights(lora, saved)?,
                None => base.with_adapters(lora, spec.train.seed)?,
            }
        }
    };
    Ok(decoder.with_recomputation(spec.train.gradient_checkpointing))
}
