//! The driver's side of the trial protocol: where and how specifications are run.

mod error;
mod job;
mod local;
mod slurm;
mod synthetic;
#[cfg(test)]
mod testing;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use error::ExecutorError;
pub use job::{Heard, Job, run_to_end};
pub use local::Local;
pub use slurm::{Rehearsal, Slurm, rehearse};
pub use synthetic::{Scene, Synthetic, Weather};

use crate::space::DeviceSpec;
use crate::units::Bytes;

/// Runs specifications, one in each of its slots, and says how they ended.
///
/// Contract: [`Self::start`] returns at once. Every event of a run is handed out by [`Self::next`] in order,
/// the last word excepted, which is its [`crate::trial::Outcome`]; with it the slot is free again. Outcomes
/// are data; `Err` means that no trial can be run, or that the user interrupted. After an error nothing is
/// under way any more.
///
/// An executor whose runs outlive the driver knows them again by their names: it hands out the events of a
/// run that was begun before from the first one on. To record an event twice changes nothing. The end of a run is
/// on record when the executor is asked the next time, so that it may forget the run then.
pub trait Executor {
    /// How many runs can be under way at the same time; slots are numbered from 0.
    fn slots(&self) -> usize {
        1
    }

    /// Begins a run in a slot that is free.
    ///
    /// # Errors
    /// [`ExecutorError::Interrupted`] when the user asked to stop, else what keeps any child from running.
    fn start(&mut self, job: &Job<'_>) -> Result<(), ExecutorError>;

    /// Waits for what comes next from any of the slots, no longer than `patience` where there is one.
    ///
    /// None where nothing came, or nothing is under way that could.
    ///
    /// # Errors
    /// As for [`Self::start`].
    fn next(&mut self, patience: Option<Duration>) -> Result<Option<(usize, Heard)>, ExecutorError>;

    /// Ends everything that is under way and forgets it.
    fn abandon(&mut self);

    /// Whether runs of an earlier driver of this study may still be under way, and writing their files.
    fn has_left_runs(&mut self) -> bool {
        false
    }

    /// Whether the user asked to stop: for long work between two runs.
    fn is_interrupted(&self) -> bool {
        false
    }

    /// The moment, in seconds since 1970. A clock before 1970 is no reason to fail; a deadline is then far away.
    fn now(&self) -> f64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    /// Memory that another run on `device` could use at the moment, of which a card's context takes `overhead`; none
    /// where nobody tells.
    fn free(&mut self, _device: &DeviceSpec, _overhead: Option<Bytes>) -> Option<Bytes> {
        None
    }
}
