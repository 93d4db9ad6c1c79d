//! Running one child and remembering what it says.

use std::path::PathBuf;

use super::driver::Driver;
use super::fit::known_frontier;
use super::{StudyError, StudyEvent};
use crate::executor::ExecutorError;
use crate::search::rung_steps;
use crate::space::{BatchPlan, DeviceSpec, Hyperparams};
use crate::store::StoreError;
use crate::trial::{Event, Measurement, Outcome, RunKey, Task, TrainSpec, Trial, TrialSpec};

/// Evaluating more examples at once than this is hardly faster on any device.
const EVAL_MICRO_BATCH: usize = 16;

impl Driver<'_> {
    /// Optimizer steps of the full run with `plan`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "steps are positive and far below 2^52"
    )]
    pub(super) fn total_steps(&self, plan: BatchPlan) -> Result<usize, StudyError> {
        let examples = self.known_data()?.splits[0] as f64 * self.study.train.epochs;
        Ok((examples / plan.effective_batch_size() as f64).ceil().max(1.0) as usize)
    }

    /// As many as were evaluated at once beside the state of training; what trains where nothing was.
    fn eval_micro_batch_size(&self, hyperparams: &Hyperparams) -> Result<usize, StudyError> {
        let frontier = known_frontier(&self.store)?;
        let own = self.study.trained_as(hyperparams.precision);
        let fits = frontier.iter().find(|point| point.setting == own);
        Ok(fits.map_or(hyperparams.batch.micro_batch_size, |point| {
            point.max_eval_micro_batch.min(EVAL_MICRO_BATCH)
        }))
    }

    /// The specification all children of the study share.
    pub(super) fn spec(
        &self,
        device: DeviceSpec,
        hyperparams: Hyperparams,
        task: Task,
    ) -> Result<TrialSpec, StudyError> {
        let train = &self.study.train;
        Ok(TrialSpec {
            device,
            model: self.base_model(),
            dataset: self.layout.dataset(),
            hyperparams,
            train: TrainSpec {
                seed: self.study.seed,
                total_steps: self.total_steps(hyperparams.batch)?,
                schedule: train.schedule,
                warmup_fraction: train.warmup_fraction,
                optimizer: train.optimizer,
                weight_decay: train.weight_decay,
                max_grad_norm: train.max_grad_norm,
                gradient_checkpointing: train.gradient_checkpointing,
                validation_examples: self.study.search.validation_examples,
                eval_micro_batch_size: self.eval_micro_batch_size(&hyperparams)?,
                lora: train.lora.clone(),
            },
            task,
        })
    }

    /// Runs a child whose events are only measured.
    pub(super) fn measure(&mut self, spec: &TrialSpec) -> Result<(Outcome, Measurement), ExecutorError> {
        let (executor, _, listener) = self.parts();
        let mut measurement = Measurement::default();
        let outcome = executor.run(spec, &mut |event| {
            measurement.fold(event);
            listener(StudyEvent::Child(event));
        })?;
        Ok((outcome, measurement))
    }

    /// Runs a rung of a trial.
    ///
    /// The rung stays open until [`Self::end_run`]: run again, it goes on from its checkpoint.
    pub(super) fn run_rung(
        &mut self,
        trial: &Trial,
        rung: u32,
        best: Option<PathBuf>,
    ) -> Result<Outcome, StudyError> {
        let total_steps = self.total_steps(trial.hyperparams.batch)?;
        let stop_at_step = rung_steps(total_steps, rung, &self.study.search);
        self.run_trial_as((trial.id, rung).into(), &trial.hyperparams, stop_at_step, best)
    }

    /// Runs a trial up to a step, by the seed of `run`; every event is in the database before the next is
    /// read.
    pub(super) fn run_trial_as(
        &mut self,
        run: RunKey,
        hyperparams: &Hyperparams,
        stop_at_step: usize,
        best: Option<PathBuf>,
    ) -> Result<Outcome, StudyError> {
        let total_steps = self.total_steps(hyperparams.batch)?;
        let task = Task::Train {
            stop_at_step,
            evaluate_every: total_steps.div_ceil(self.study.train.evaluations).max(1),
            checkpoint: self.layout.checkpoint_of(run),
            best,
            examples: self.study.search.confirm.candidates > 1,
        };
        let mut spec = self.spec(self.device, *hyperparams, task)?;
        spec.train.seed = run.seed.unwrap_or(spec.train.seed);
        let spec = self.told(spec)?;
        self.store.start(run, stop_at_step)?;
        self.emit(StudyEvent::RunStarted { run, hyperparams, stop_at_step, total_steps });
        let (executor, store, listener) = self.parts();
        let mut broken: Option<StoreError> = None;
        let mut remember = |event: &Event| {
            if broken.is_none() {
                broken = store.append(run, std::slice::from_ref(event)).err();
            }
            listener(StudyEvent::Child(event));
        };
        let outcome = executor.run(&spec, &mut remember)?;
        broken.map_or(Ok(outcome), |error| Err(error.into()))
    }

    /// Makes the end of a run history.
    pub(super) fn end_run(&mut self, run: impl Into<RunKey>, outcome: &Outcome) -> Result<(), StudyError> {
        let run = run.into();
        let measurement = self.store.partial(run)?;
        self.store.finish(run, outcome)?;
        self.save_wall_seconds()?;
        self.emit(StudyEvent::RunEnded { run, outcome, measurement: &measurement });
        Ok(())
    }
}
