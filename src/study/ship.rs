//! A full run that the deadline has cut: what it has reached is the model.

use std::path::PathBuf;

use super::deadline::CutShort;
use super::driver::Driver;
use super::train::ATTEMPTS;
use super::under_way::Ask;
use super::{StudyError, StudyEvent};
use crate::files;
use crate::trial::{Measurement, Outcome, Task, Trial};

/// How far a full run has come that was cut.
pub(super) struct Reached {
    /// The step of its model.
    pub(super) step: usize,
    /// Where there is no model, the folder in which it has left off.
    pub(super) only_checkpoint: Option<PathBuf>,
}

impl Driver<'_> {
    /// Makes sure that the best weights so far are the study's model, and remembers how far they have come.
    pub(super) fn ship(&mut self, trial: &Trial, rung: u32) -> Result<(), StudyError> {
        let so_far = self.so_far(trial, rung)?;
        let own = self.layout.trial_model(trial.id);
        let kept = kept_at(&so_far).filter(|_| self.has_model(&own));
        let reached = match kept {
            _ if self.study.trainer.is_some() => self.ship_as_left(trial, rung, &so_far),
            Some(step) => Reached { step, only_checkpoint: None },
            None => Reached { step: self.keep_weights(trial, rung, &so_far)?, only_checkpoint: None },
        };
        if self.has_model(&own) {
            // The run may go on later from what is its own.
            let model = self.layout.model();
            files::copy_folder(&own, &model).map_err(|source| StudyError::Io { file: model, source })?;
        }
        let total_steps = self.total_steps(trial.hyperparams.batch)?;
        let Reached { step, only_checkpoint } = reached;
        let cut = CutShort { trial: trial.id, step, total_steps, only_checkpoint };
        self.remember_cut(Some(&cut))?;
        self.emit(StudyEvent::CutShort(&cut));
        Ok(())
    }

    /// What the full run has told; nothing where it has not begun.
    fn so_far(&self, trial: &Trial, rung: u32) -> Result<Measurement, StudyError> {
        let has_begun = self.store.running()?.contains(&(trial.id, rung));
        Ok(if has_begun { self.store.partial((trial.id, rung))? } else { Measurement::default() })
    }

    /// A child that goes not one step further keeps the weights of the trial's checkpoint; returns their step.
    fn keep_weights(&mut self, trial: &Trial, rung: u32, so_far: &Measurement) -> Result<usize, StudyError> {
        let ask = Ask {
            run: (trial.id, rung).into(),
            hyperparams: &trial.hyperparams,
            stop_at_step: 0,
            best: Some(self.layout.trial_model(trial.id)),
            is_alone: true,
            also_on: Vec::new(),
        };
        let mut spec = self.spec_of(self.free_slot().unwrap_or(0), ask)?;
        if let Task::Train { examples, .. } = &mut spec.task {
            *examples = false;
        }
        let name = format!("weights-of-trial-{}", trial.id);
        let mut outcome = self.measure(&name, &spec, true)?.0;
        for _ in 1..ATTEMPTS {
            if outcome != Outcome::Finished {
                outcome = self.measure(&name, &spec, true)?.0;
            }
        }
        if outcome != Outcome::Finished {
            return Err(StudyError::Run {
                what: format!("keeping the weights of trial {}", trial.id),
                outcome,
            });
        }
        let ended = trial.rungs.iter().map(|record| record.stop_at_step).max();
        Ok(so_far.evals.last().map(|eval| eval.step).or(ended).unwrap_or(0))
    }
}

/// The step whose weights a child has kept for certain: it has trained on since it evaluated them.
fn kept_at(run: &Measurement) -> Option<usize> {
    let last = run.steps.last()?.step;
    let kept = run.evals.iter().filter(|eval| eval.step < last);
    kept.min_by(|a, b| a.loss_nats.total_cmp(&b.loss_nats)).map(|eval| eval.step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{EvalEvent, Event, StepEvent};

    fn run(steps: usize, evals: &[(usize, f64)]) -> Measurement {
        let mut run = Measurement::default();
        for step in 1..=steps {
            run.fold(&Event::Step(StepEvent {
                step,
                loss_nats: 1.0,
                learning_rate: 1e-3,
                grad_norm: None,
                update_ratio: None,
                noise: None,
                tokens: 1,
                seconds: 1.0,
            }));
        }
        for (step, loss_nats) in evals.iter().copied() {
            run.fold(&Event::Eval(EvalEvent { step, loss_nats, tokens: 1, seconds: 1.0 }));
        }
        run
    }

    #[test]
    fn weights_are_kept_for_certain_once_training_went_on_after_their_evaluation() {
        assert_eq!(kept_at(&run(0, &[])), None);
        assert_eq!(kept_at(&run(9, &[])), None);
        assert_eq!(kept_at(&run(9, &[(9, 2.0)])), None);
        assert_eq!(kept_at(&run(10, &[(9, 2.0)])), Some(9));
        assert_eq!(kept_at(&run(10, &[(4, 1.0), (8, 2.0)])), Some(4));
    }
}
