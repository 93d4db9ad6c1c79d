//! The end of stage 3: the best candidates next to each other, by other seeds where that is needed.

use std::fs;
use std::time::Duration;

use super::driver::Driver;
use super::history::with_examples;
use super::room::PAUSE;
use super::under_way::Ask;
use super::{Stage, StudyError, StudyEvent};
use crate::search::{Decision, Progress, Rerun, Standing, standing};
use crate::space::Study;
use crate::store::Store;
use crate::trial::{Confirmation, History, TrialId};

const DECISION: &str = "decision";

/// The time that telling candidates apart will take: the comparison draws thousands of samples, and most events
/// change none of what it rests on.
pub(super) struct Reserved {
    /// The candidates, each with how many rungs it has run.
    field: Vec<(TrialId, usize)>,
    confirmations: usize,
    seconds: f64,
}

impl Driver<'_> {
    /// Compares the best candidates, and runs them by other seeds as long as that can tell them apart and
    /// there is time.
    pub(super) fn confirm(&mut self) -> Result<(), StudyError> {
        self.forget_checkpoints()?;
        let rules = self.stop_rules();
        let mut announced = false;
        loop {
            let history = self.history()?;
            let Some(standing) = self.standing(&history, &self.store.confirmations()?)? else {
                return Ok(());
            };
            // What the runs still to come will take was reserved for them.
            let mut missing = standing.next.clone();
            missing.retain(|rerun| !self.under_way.contains(&Some(rerun.run)));
            let progress = self.progress(&history, None)?;
            let ending_seconds = progress.ending_seconds + standing.seconds_of_one;
            let progress = Progress { reserved_seconds: 0.0, ending_seconds, ..progress };
            self.plan_search(&history)?;
            let next = missing.first().filter(|_| rules.time_is_up(&progress).is_none());
            if let Some((rerun, slot)) = next.zip(self.free_slot()) {
                if !announced {
                    self.emit(StudyEvent::Stage(Stage::Confirm));
                    announced = true;
                }
                if self.run_again(slot, &history, *rerun)? {
                    continue;
                }
            }
            if self.under_way.iter().all(Option::is_none) {
                self.cut_off = None;
                return self.decided(&standing.decision);
            }
            self.hear_confirmation(None)?;
        }
    }

    /// Begins a run, or waits for memory; false where the disk has no room for it: then what is known has to do.
    fn run_again(&mut self, slot: usize, history: &History, rerun: Rerun) -> Result<bool, StudyError> {
        let Rerun { run, stop_at_step } = rerun;
        let hyperparams = &history.trials[run.trial as usize].hyperparams;
        if !self.has_room(slot, run, hyperparams)? {
            self.hear_confirmation(Some(PAUSE))?;
            return Ok(true);
        }
        if self.make_room(run)?.is_some() {
            return Ok(false);
        }
        let (best, is_alone, also_on) = (None, false, Vec::new());
        self.begin_run(slot, Ask { run, hyperparams, stop_at_step, best, is_alone, also_on })?;
        Ok(true)
    }

    fn hear_confirmation(&mut self, patience: Option<Duration>) -> Result<(), StudyError> {
        if let Some(ended) = self.hear_end(patience)? {
            self.end_and_judge(&ended)?;
            self.forget_checkpoints()?;
        }
        Ok(())
    }

    /// Nothing goes on from the checkpoint of a confirmation that has ended.
    fn forget_checkpoints(&self) -> Result<(), StudyError> {
        for one in self.store.confirmations()? {
            // One that can't be removed costs space and nothing else.
            let _ = fs::remove_dir_all(self.layout.checkpoint_of(one.key()));
        }
        Ok(())
    }

    /// Seconds that runs by other seeds will take, at the most.
    pub(super) fn seconds_to_confirm(
        &self,
        history: &History,
        confirmations: &[Confirmation],
    ) -> Result<f64, StudyError> {
        let candidates = history.leaders(self.study.search.confirm.candidates);
        let field: Vec<_> = candidates.iter().map(|trial| (trial.id, trial.rungs.len())).collect();
        let count = confirmations.len();
        let known = self.reserved.borrow();
        if let Some(known) =
            known.as_ref().filter(|known| known.field == field && known.confirmations == count)
        {
            return Ok(known.seconds);
        }
        drop(known);
        let seconds = self.standing(history, confirmations)?.map_or(0.0, |standing| standing.seconds_left);
        *self.reserved.borrow_mut() = Some(Reserved { field, confirmations: count, seconds });
        Ok(seconds)
    }

    /// How the candidates stand; none where no trial has finished.
    pub(super) fn standing(
        &self,
        history: &History,
        confirmations: &[Confirmation],
    ) -> Result<Option<Standing>, StudyError> {
        let history = with_examples(&self.store, history, self.study.search.confirm)?;
        Ok(standing(&history, confirmations, self.study.search.confirm, self.study.seed))
    }

    /// Remembers how the winner was found, and says it if it was not known.
    pub(super) fn decided(&mut self, decision: &Decision) -> Result<(), StudyError> {
        if !decision.contests.is_empty() && known_decision(&self.store)?.as_ref() != Some(decision) {
            self.store.set_fact(DECISION, decision)?;
            self.emit(StudyEvent::Decided(decision));
        }
        Ok(())
    }
}

/// How the winner was found, where there was something to compare.
pub(super) fn known_decision(store: &Store) -> Result<Option<Decision>, StudyError> {
    Ok(store.fact(DECISION)?)
}

/// The trial to train in full, by all that has ended.
pub(super) fn decide(
    study: &Study,
    store: &Store,
    history: &History,
) -> Result<Option<Decision>, StudyError> {
    let history = with_examples(store, history, study.search.confirm)?;
    let standing = standing(&history, &store.confirmations()?, study.search.confirm, study.seed);
    Ok(standing.map(|standing| standing.decision))
}
