//! When the search stops: the rules, how far it is, and what is remembered of the reason.

use std::time::{SystemTime, UNIX_EPOCH};

use super::driver::Driver;
use super::{StudyError, StudyEvent};
use crate::search::{Progress, StopReason, StopRules};
use crate::store::Store;
use crate::trial::{Confirmation, History};

const STOPPED: &str = "stopped";

impl Driver<'_> {
    pub(super) fn stop_rules(&self) -> StopRules {
        StopRules::of(&self.study.search, self.deadline)
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
        let reserved = || Some(self.standing(history, &confirmations)?.seconds_left);
        Ok(Progress {
            // A trial that is tried again counts once.
            trials: history.trials.len() - history.retries(),
            seconds: seconds(history, &confirmations),
            now: now(),
            reserved_seconds: if is_timed { reserved().unwrap_or(0.0) } else { 0.0 },
            expected_gain_nats,
        })
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

/// Seconds of all ended runs.
fn seconds(history: &History, confirmations: &[Confirmation]) -> f64 {
    let rungs = history.trials.iter().flat_map(|trial| &trial.rungs);
    let records = rungs.chain(confirmations.iter().map(|one| &one.record));
    records.map(|record| record.measurement.seconds()).sum()
}

/// A clock before 1970 is no reason to fail; a deadline is then far away.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
