//! When the search stops: the rules, how far it is, and what is remembered of the reason.

use super::driver::Driver;
use super::{StudyError, StudyEvent};
use crate::search::{Progress, StopReason, StopRules, steps_of_promotions};
use crate::store::Store;
use crate::trial::{Confirmation, History};

const STOPPED: &str = "stopped";
const DEADLINE: &str = "deadline";

impl Driver<'_> {
    pub(super) fn stop_rules(&self) -> StopRules {
        StopRules::of(&self.study.search, self.deadline.map(|deadline| deadline.moment))
    }

    /// How far the search is; the time that confirming its best would take is kept for that.
    pub(super) fn progress(
        &self,
        history: &History,
        expected_gain_nats: Option<f64>,
    ) -> Result<Progress, StudyError> {
        let confirmations = self.store.confirmations()?;
        let rules = self.stop_rules();
        let is_timed = rules.seconds.is_some() || rules.deadline.is_some();
        Ok(Progress {
            // A trial that is tried again counts once.
            trials: history.trials.len() - history.retries(),
            seconds: seconds(history, &confirmations),
            now: self.now(),
            ending_seconds: self.reserved(history)?,
            reserved_seconds: if is_timed { self.seconds_to_confirm(history, &confirmations)? } else { 0.0 },
            promotion_seconds: if is_timed { self.promotion_seconds(history)? } else { 0.0 },
            expected_gain_nats,
        })
    }

    /// At the speed of the best trial.
    fn promotion_seconds(&self, history: &History) -> Result<f64, StudyError> {
        let Some((best, _)) = history.best() else { return Ok(0.0) };
        let total_steps = self.total_steps(best.hyperparams.batch)?;
        let steps = steps_of_promotions(history, total_steps, &self.study.search);
        let slots = self.under_way.len().max(1);
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        Ok(self.full_run(history, best)?.seconds_per_step * steps as f64 / slots as f64)
    }

    /// Remembers why nothing more is tried, and says it if it was not known.
    pub(super) fn stops(&mut self, reason: StopReason) -> Result<(), StudyError> {
        if known_stop(&self.store)? != Some(reason) {
            self.store.set_fact(STOPPED, &Some(reason))?;
            self.emit(StudyEvent::Stopped(&reason));
        }
        Ok(())
    }

    /// A search that goes on is not stopped, unless it only ends what it has begun.
    pub(super) fn goes_on(&self, enough: Option<StopReason>) -> Result<(), StudyError> {
        // For those who watch; the driver itself goes by what is typed.
        self.store.set_fact(DEADLINE, &self.deadline.map(|deadline| deadline.moment))?;
        Ok(self
            .store
            .set_fact(STOPPED, &enough.filter(|reason| matches!(reason, StopReason::Plateau { .. })))?)
    }

    /// The plateau that was seen before the command was cut: results that came later do not undo it.
    pub(super) fn known_plateau(&self) -> Result<Option<StopReason>, StudyError> {
        let is_of = |reason: &StopReason| match reason {
            StopReason::Plateau { worth_nats, .. } => Some(*worth_nats) == self.study.search.plateau_nats,
            _ => false,
        };
        Ok(known_stop(&self.store)?.filter(is_of))
    }
}

/// Why the search of a study stopped, if it has.
pub(super) fn known_stop(store: &Store) -> Result<Option<StopReason>, StudyError> {
    Ok(store.fact::<Option<StopReason>>(STOPPED)?.flatten())
}

/// The deadline of the command that went on with the search last.
pub(super) fn known_deadline(store: &Store) -> Result<Option<f64>, StudyError> {
    Ok(store.fact::<Option<f64>>(DEADLINE)?.flatten())
}

/// Seconds of all ended runs.
fn seconds(history: &History, confirmations: &[Confirmation]) -> f64 {
    let rungs = history.trials.iter().flat_map(|trial| &trial.rungs);
    let records = rungs.chain(confirmations.iter().map(|one| &one.record));
    records.map(|record| record.measurement.seconds()).sum()
}
