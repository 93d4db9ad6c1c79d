//! The study's place on the disk: checkpoints that nothing goes on from are removed, and room is made for a run.
//!
//! What is removed changes no decision. A trial that goes on without its checkpoint begins again, which costs time
//! alone; so the least promising are given up where a quota or a full disk leaves no other way.

use std::fs;
use std::path::Path;

use super::deadline::weights_bytes;
use super::driver::Driver;
use super::stop::known_stop;
use super::{StudyError, StudyEvent};
use crate::files;
use crate::search::{Plane, Standpoint, Use, checkpoint_uses};
use crate::space::PrunerKind;
use crate::trial::{History, RunKey, TrialId};
use crate::units::Bytes;

/// What a run needs and the disk has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) needed: Bytes,
    pub(super) left: Bytes,
}

/// The checkpoints there are.
struct Kept {
    trial: TrialId,
    bytes: Bytes,
}

impl Driver<'_> {
    /// Removes the checkpoints that nothing goes on from any more.
    ///
    /// One that can't be removed costs space, and whoever needs the place says so.
    pub(super) fn remove_spent(&self) -> Result<(), StudyError> {
        let history = self.history()?;
        let uses = self.uses(&history, None)?;
        for trial in self.trials_on_disk() {
            if uses.get(trial as usize) == Some(&Use::Spent) && !self.is_at_work(trial) {
                let _ = files::remove_folder(&self.layout.checkpoint(trial));
            }
        }
        Ok(())
    }

    /// Makes room for what a run will write beside those that run already, and for the full run in the end; what is
    /// short if that can't be done.
    pub(super) fn make_room(&mut self, run: RunKey) -> Result<Option<Shortage>, StudyError> {
        let needed = self.needed(run);
        let Some(mut left) = self.disk_left().filter(|left| *left < needed) else { return Ok(None) };
        let history = self.history()?;
        let forecasts = self.forecasts(&history)?;
        let uses = self.uses(&history, forecasts.as_deref())?;
        let use_of = |kept: &Kept| uses.get(kept.trial as usize).copied().unwrap_or(Use::Needed);
        let mut given_up: Vec<Kept> =
            self.kept().into_iter().filter(|kept| use_of(kept) < Use::Needed).collect();
        given_up.retain(|kept| kept.trial != run.trial && !self.is_at_work(kept.trial));
        given_up.sort_by_key(|kept| (use_of(kept), kept.trial));
        let (mut trials, mut bytes) = (0, 0);
        for kept in &given_up {
            if left >= needed {
                break;
            }
            if files::remove_folder(&self.layout.checkpoint(kept.trial)).is_ok() {
                (trials, bytes) = (trials + 1, bytes + kept.bytes.0);
                left = Bytes(left.0 + kept.bytes.0);
            }
        }
        if trials > 0 {
            self.emit(StudyEvent::GaveUp { trials, bytes: Bytes(bytes) });
        }
        Ok((left < needed).then_some(Shortage { needed, left }))
    }

    /// The error of a shortage that only the user can end.
    pub(super) fn disk_is_full(&self, shortage: Shortage) -> StudyError {
        let Shortage { needed, left } = shortage;
        StudyError::DiskIsFull {
            folder: self.layout.root().to_owned(),
            needed,
            left,
            quota: self.study.disk_quota,
        }
    }

    fn uses(&self, history: &History, forecasts: Option<&[f64]>) -> Result<Vec<Use>, StudyError> {
        let open = self.store.running()?;
        let standpoint = Standpoint {
            open: &open,
            forecasts,
            is_forecast: self.study.search.pruner == PrunerKind::Forecast,
            is_over: known_stop(&self.store)?.is_some_and(|reason| !reason.leaves_search_open()),
        };
        Ok(checkpoint_uses(history, standpoint, &self.study.search))
    }

    fn forecasts(&mut self, history: &History) -> Result<Option<Vec<f64>>, StudyError> {
        if self.study.search.pruner != PrunerKind::Forecast {
            return Ok(None);
        }
        Ok(Some(Plane::new(self.study, &self.task()?, history).forecasts()))
    }

    /// Whether a run of the trial is under way: a rung, or a confirmation.
    fn is_at_work(&self, trial: TrialId) -> bool {
        self.under_way.iter().flatten().any(|run| run.trial == trial)
    }

    /// A checkpoint is written beside the one it replaces, so each run takes one more than it has; so is the model of
    /// a full run.
    fn needed(&self, run: RunKey) -> Bytes {
        let is_full = run.rung + 1 == self.study.search.rungs;
        let runs = 1 + self.under_way.iter().flatten().count() as u64 + u64::from(!is_full);
        Bytes(runs * self.largest_checkpoint().0 + 2 * weights_bytes(&self.base_model()).0)
    }

    /// The first of all tells how large they are.
    fn largest_checkpoint(&self) -> Bytes {
        let look = || self.kept().iter().map(|kept| kept.bytes).max().unwrap_or(Bytes(0));
        let largest = self.largest_checkpoint.get().unwrap_or_else(look);
        self.largest_checkpoint.set(Some(largest));
        largest
    }

    /// Looks at the checkpoint of a run that has ended.
    pub(super) fn weigh_checkpoint(&self, run: RunKey) {
        let own = files::size(&self.layout.checkpoint_of(run));
        self.largest_checkpoint.set(Some(self.largest_checkpoint().max(own)));
    }

    /// What the study may still write.
    fn disk_left(&self) -> Option<Bytes> {
        let root = self.layout.root();
        let of_quota = self.study.disk_quota.map(|quota| Bytes(quota.0.saturating_sub(files::size(root).0)));
        of_quota.into_iter().chain(files::free(root)).min()
    }

    fn kept(&self) -> Vec<Kept> {
        let size = |trial| Kept { trial, bytes: files::size(&self.layout.checkpoint(trial)) };
        self.trials_on_disk().map(size).collect()
    }

    fn trials_on_disk(&self) -> impl Iterator<Item = TrialId> + use<> {
        let entries = fs::read_dir(self.layout.trials()).into_iter().flatten().flatten();
        entries.filter_map(|entry| trial_of(&entry.path()))
    }
}

fn trial_of(folder: &Path) -> Option<TrialId> {
    folder.file_name()?.to_str()?.parse().ok()
}
