//! What is run in a slot, and what is heard of it.

use super::{Executor, ExecutorError};
use crate::trial::{Event, Outcome, TrialSpec};

/// One specification to be run.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// In which slot.
    pub slot: usize,
    /// Names the run within its study; the same when a driver that was killed begins it again.
    pub name: &'a str,
    /// What is asked of it.
    pub spec: &'a TrialSpec,
    /// Nothing else runs beside it, so that it may use all processors.
    pub is_alone: bool,
}

/// What a run in a slot has told.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// It said something.
    Event(Event),
    /// It ended, and its slot is free.
    Ended(Outcome),
}

/// Runs one job to its end while no other is under way.
///
/// # Errors
/// As for [`Executor::next`].
pub fn run_to_end(
    executor: &mut dyn Executor,
    job: &Job<'_>,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Outcome, ExecutorError> {
    executor.start(job)?;
    loop {
        match executor.next(None)? {
            Some((_, Heard::Event(event))) => on_event(&event),
            Some((_, Heard::Ended(outcome))) => return Ok(outcome),
            None => return Err(ExecutorError::Lost { name: job.name.to_owned() }),
        }
    }
}
