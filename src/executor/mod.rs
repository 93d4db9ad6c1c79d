//! The driver's side of the trial protocol: where and how a specification is run.

mod command;
mod error;
mod local;
mod metrics_file;
mod python_json;
mod reading;
mod refusal;
mod synthetic;
mod tail;
#[cfg(test)]
mod testing;
mod voice;

pub use error::ExecutorError;
pub use local::Local;
pub use synthetic::Synthetic;

use crate::trial::{Event, Outcome, TrialSpec};

/// Runs one specification and says how it ended.
///
/// Contract: every event the run produced is given to `on_event` in order, the last word excepted,
/// which is returned as the [`Outcome`]. Outcomes are data; `Err` means that no trial can be run,
/// or that the user interrupted.
pub trait Executor {
    /// Runs `spec` to its end.
    ///
    /// # Errors
    /// [`ExecutorError::Interrupted`] when the user asked to stop, else what keeps any child from
    /// running.
    fn run(&mut self, spec: &TrialSpec, on_event: &mut dyn FnMut(&Event)) -> Result<Outcome, ExecutorError>;

    /// Whether the user asked to stop: for long work between two runs.
    fn is_interrupted(&self) -> bool {
        false
    }
}
