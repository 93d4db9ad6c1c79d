//! Stage 4: the best configuration over the full horizon.

use std::path::Path;

use super::confirm::decide;
use super::driver::Driver;
use super::error::describe;
use super::foreign::has_files;
use super::stop::known_stop;
use super::together::may_go_on_alone;
use super::{Stage, StudyError, StudyEvent};
use crate::files;
use crate::model::{CONFIG_FILE, WEIGHTS_FILE};
use crate::space::{BatchDomain, Hyperparams};
use crate::trial::{Outcome, Trial, TrialId};

/// How often a run goes on in a night in which it breaks off.
pub(super) const ATTEMPTS: usize = 3;

impl Driver<'_> {
    /// The full fine-tune of the study's best trial, going on from its checkpoint.
    ///
    /// A winner that diverges or runs out of memory on the way leaves its place to the next best.
    /// In a space of one point with an explicit batch there is nothing to search, so that point is
    /// trained without `fit` and `tune`.
    ///
    /// Where everything has to be done by a deadline, a run that breaks off goes on at once, a few times; then what it has
    /// reached is the model.
    ///
    /// # Errors
    /// There is no best trial, or the run broke off; the same command then goes on with it.
    pub fn train(&mut self) -> Result<TrialId, StudyError> {
        let rung = self.study.search.rungs - 1;
        let (mut announced, mut failures) = (false, 0);
        loop {
            let trial = self.winner()?;
            if trial.loss_at(rung).is_some() {
                self.keep_model(trial.id)?;
                self.remove_spent()?;
                self.remember_cut(None)?;
                return Ok(trial.id);
            }
            if !announced {
                self.emit(StudyEvent::Stage(Stage::Train));
                announced = true;
            }
            match self.full_run_in_time(&trial, rung)? {
                None => {
                    self.ship(&trial, rung)?;
                    return Ok(trial.id);
                }
                Some(
                    outcome @ (Outcome::Finished | Outcome::OutOfMemory { .. } | Outcome::Diverged { .. }),
                ) => {
                    self.end_run((trial.id, rung), &outcome)?;
                }
                // No observation about the configuration: the rung stays open to go on later.
                Some(_) if self.covers_ending() && failures + 1 < ATTEMPTS => failures += 1,
                Some(_) if self.covers_ending() => {
                    self.ship(&trial, rung)?;
                    return Ok(trial.id);
                }
                Some(outcome) => {
                    let what = format!("the full run of trial {}", trial.id);
                    return Err(StudyError::Run { what, outcome });
                }
            }
        }
    }

    /// The full run, or as much of it as there is time for: then none.
    fn full_run_in_time(&mut self, trial: &Trial, rung: u32) -> Result<Option<Outcome>, StudyError> {
        let history = self.history()?;
        self.plan_full_run(&history)?;
        let mut outcome = None;
        if !self.is_cut_off() {
            if let Some(shortage) = self.make_room((trial.id, rung).into())? {
                return Err(self.disk_is_full(shortage));
            }
            self.forget_tuned(trial.id)?;
            outcome = self.run_in_full(trial, rung)?;
        }
        self.cut_off = None;
        Ok(outcome)
    }

    /// The full run on all devices that can share it; where it fails on several, it goes on on one.
    fn run_in_full(&mut self, trial: &Trial, rung: u32) -> Result<Option<Outcome>, StudyError> {
        let slot = self.free_slot().unwrap_or(0);
        let companions = self.companions(slot, trial.hyperparams.batch);
        let outcome =
            self.run_rung(trial, rung, Some(self.layout.trial_model(trial.id)), (slot, &companions))?;
        let failure = outcome.as_ref().filter(|outcome| may_go_on_alone(outcome));
        let Some(failure) = failure.filter(|_| !companions.is_empty()) else { return Ok(outcome) };
        let (what, why) = ("all devices of the full run but one", describe(failure));
        self.emit(StudyEvent::LeftOut { what, why: &why });
        if self.is_cut_off() {
            return Ok(None);
        }
        self.run_rung(trial, rung, Some(self.layout.trial_model(trial.id)), (slot, &[]))
    }

    /// Makes the model that a full run has kept the study's: each trial keeps its own, so that one which is cut, loses
    /// its place and gets it back finds the weights of its best evaluation.
    fn keep_model(&self, trial: TrialId) -> Result<(), StudyError> {
        let (model, own) = (self.layout.model(), self.layout.trial_model(trial));
        match (self.has_model(&own), self.has_model(&model)) {
            (true, _) => {
                files::replace_folder(&own, &model).map_err(|source| StudyError::Io { file: model, source })
            }
            // An earlier command has done so, or a foreign program leaves none: that is told in the next stage.
            (false, true) => Ok(()),
            (false, false) if self.study.trainer.is_some() => Ok(()),
            (false, false) => Err(StudyError::ModelGone { folder: model, trial }),
        }
    }

    /// Whether a folder holds a model; of a foreign trainer's nobody knows what belongs to it.
    pub(super) fn has_model(&self, folder: &Path) -> bool {
        if self.study.trainer.is_some() {
            return has_files(folder);
        }
        folder.join(CONFIG_FILE).exists() && folder.join(WEIGHTS_FILE).exists()
    }

    fn winner(&mut self) -> Result<Trial, StudyError> {
        if self.history()?.trials.is_empty()
            && let Some(hyperparams) = self.only_point()
        {
            self.store.add_trial(0, &hyperparams)?;
        }
        let history = self.history()?;
        if let Some(decision) = decide(self.study, &self.store, &history)? {
            self.decided(&decision)?;
            return Ok(history.trials[decision.winner as usize].clone());
        }
        match (history.trials.as_slice(), self.only_point(), known_stop(&self.store)?) {
            ([only], Some(_), _) if !only.has_failed() => Ok(only.clone()),
            (_, _, Some(reason)) if reason.leaves_search_open() => Err(StudyError::NoResult { reason }),
            _ => Err(StudyError::NoBest),
        }
    }

    /// The point of a space in which nothing varies and the batch is explicit.
    fn only_point(&self) -> Option<Hyperparams> {
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
