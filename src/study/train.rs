//! Stage 4: the best configuration over the full horizon.

use super::driver::Driver;
use super::{Stage, StudyError, StudyEvent};
use crate::model::{CONFIG_FILE, WEIGHTS_FILE};
use crate::search::rung_steps;
use crate::space::{BatchDomain, Hyperparams};
use crate::trial::{Outcome, Task, Trial, TrialId};

impl Driver<'_> {
    /// The full fine-tune of the study's best trial, going on from its checkpoint.
    ///
    /// In a space of one point with an explicit batch there is nothing to search, so that point is
    /// trained without `fit` and `tune`.
    ///
    /// # Errors
    /// There is no best trial, or the run did not finish.
    pub fn train(&mut self) -> Result<TrialId, StudyError> {
        let trial = self.winner()?;
        let rung = self.study.search.rungs - 1;
        let done = trial.loss_at(rung).is_some();
        if done && self.has_model() {
            return Ok(trial.id);
        }
        self.emit(StudyEvent::Stage(Stage::Train));
        let total = self.total_steps(trial.hyperparams.batch)?;
        let stop_at_step = rung_steps(total, rung, &self.study.search);
        let task = Task::Train {
            stop_at_step,
            evaluate_every: self.evaluate_every(total),
            checkpoint: self.layout.checkpoint(trial.id),
            best: Some(self.layout.model()),
        };
        let spec = self.spec(self.device, trial.hyperparams, task)?;
        let (outcome, _) = self.run_rung(trial.id, rung, &trial.hyperparams, stop_at_step, &spec)?;
        match outcome {
            Outcome::Finished => Ok(trial.id),
            outcome => Err(StudyError::Run { what: format!("the full run of trial {}", trial.id), outcome }),
        }
    }

    fn has_model(&self) -> bool {
        let folder = self.layout.model();
        folder.join(CONFIG_FILE).exists() && folder.join(WEIGHTS_FILE).exists()
    }

    fn winner(&mut self) -> Result<Trial, StudyError> {
        if self.store.history()?.trials.is_empty()
            && let Some(hyperparams) = self.only_point()
        {
            self.store.add_trial(0, &hyperparams)?;
        }
        let history = self.store.history()?;
        if let Some((best, _)) = history.best() {
            return Ok(best.clone());
        }
        match (history.trials.as_slice(), self.only_point()) {
            ([only], Some(_)) if !only.has_failed() => Ok(only.clone()),
            _ => Err(StudyError::NoBest),
        }
    }

    /// The point of a space in which nothing varies and the batch is explicit.
    pub(super) fn only_point(&self) -> Option<Hyperparams> {
        let space = &self.study.space;
        match &space.batch {
            BatchDomain::Explicit(plans) if space.is_single_point() => Some(Hyperparams {
                precision: space.precision[0],
                batch: plans[0],
                learning_rate: space.learning_rate.low,
            }),
            _ => None,
        }
    }
}
