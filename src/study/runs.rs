//! What a child is asked, and running a single one to its end.

use std::path::PathBuf;

use super::driver::Driver;
use super::fit::known_frontier;
use super::room::PAUSE;
use super::under_way::Ask;
use super::{StudyError, StudyEvent};
use crate::executor::{ExecutorError, Job, run_to_end};
use crate::search::rung_steps;
use crate::space::{BatchPlan, DeviceSpec, Hyperparams};
use crate::trial::{Measurement, Outcome, RunKey, Task, TrainSpec, Trial, TrialSpec};

/// Waiting for a moment may end so many seconds before it.
const A_MOMENT: f64 = 1.0;
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

    /// Runs a child whose events are only measured, while no other runs.
    pub(super) fn measure(
        &mut self,
        name: &str,
        spec: &TrialSpec,
        is_alone: bool,
    ) -> Result<(Outcome, Measurement), ExecutorError> {
        let slot = self.free_slot().unwrap_or(0);
        let (executor, _, listener) = self.parts();
        let mut measurement = Measurement::default();
        let job = Job { slot, name, spec, is_alone };
        let outcome = run_to_end(executor, &job, &mut |event| {
            measurement.fold(event);
            listener(StudyEvent::Child { run: None, event });
        })?;
        Ok((outcome, measurement))
    }

    /// Runs a rung of a trial to its end in a slot, shared by the devices of others, while no other runs; none where it
    /// was cut off.
    ///
    /// The rung stays open until [`Self::end_run`]: run again, it goes on from its checkpoint.
    pub(super) fn run_rung(
        &mut self,
        trial: &Trial,
        rung: u32,
        best: Option<PathBuf>,
        (slot, companions): (usize, &[usize]),
    ) -> Result<Option<Outcome>, StudyError> {
        let run: RunKey = (trial.id, rung).into();
        let stop_at_step = self.stop_of(trial, rung)?;
        for place in std::iter::once(slot).chain(companions.iter().copied()) {
            while !self.has_room(place, run, &trial.hyperparams)? {
                self.hear_end(Some(PAUSE))?;
            }
        }
        let also_on = companions.iter().map(|slot| self.lone_device(*slot)).collect();
        let ask = Ask { run, hyperparams: &trial.hyperparams, stop_at_step, best, is_alone: true, also_on };
        self.begin_run(slot, ask)?;
        while self.under_way.contains(&Some(run)) {
            if let Some(ended) = self.hear_end(None)? {
                return Ok(Some(ended.outcome));
            }
            if self.cut_off.is_none_or(|moment| self.now() + A_MOMENT < moment) {
                return Err(ExecutorError::Lost { name: run.to_string() }.into());
            }
        }
        Ok(None)
    }

    /// Optimizer step at which a rung of a trial stops.
    pub(super) fn stop_of(&self, trial: &Trial, rung: u32) -> Result<usize, StudyError> {
        Ok(rung_steps(self.total_steps(trial.hyperparams.batch)?, rung, &self.study.search))
    }

    /// Makes the end of a run history; what it measured.
    pub(super) fn end_run(
        &mut self,
        run: impl Into<RunKey>,
        outcome: &Outcome,
    ) -> Result<Measurement, StudyError> {
        let run = run.into();
        let measurement = self.store.partial(run)?;
        self.store.finish(run, outcome)?;
        self.save_wall_seconds()?;
        self.weigh_checkpoint(run);
        self.emit(StudyEvent::RunEnded { run, outcome, measurement: &measurement });
        Ok(measurement)
    }
}
