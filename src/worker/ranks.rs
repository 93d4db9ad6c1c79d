//! One child that trains on several devices: a rank for each, all in this process.
//!
//! To the driver it is one child. The first rank alone is heard, and whatever ends one of them ends
//! the child with one last word.

use std::iter::once;

use super::{failed, last_word, train_task};
use crate::device::{self, ranks::Seat};
use crate::space::DeviceSpec;
use crate::train::{TrainError, as_ranks, train_as};
use crate::trial::{Event, FailureClass, TrialSpec};

/// Why a rank has ended.
struct Failure {
    /// What is said of it.
    last_word: Event,
    /// Only because another has.
    is_of_another: bool,
}

impl From<TrainError> for Failure {
    /// Of a rank that has no device yet.
    fn from(error: TrainError) -> Self {
        let class = if matches!(error, TrainError::Device(_)) {
            FailureClass::Device
        } else {
            FailureClass::Internal
        };
        Self { last_word: failed(class, &error), is_of_another: error.is_of_another_rank() }
    }
}

/// Trains as `spec` asks, on its own device and on all of `also_on`; the last word.
pub(super) fn train(spec: TrialSpec, also_on: &[DeviceSpec], emit: &mut dyn FnMut(Event)) -> Event {
    let devices: Vec<DeviceSpec> = once(spec.device).chain(also_on.iter().copied()).collect();
    let ranks = devices.len();
    let work = move |seat: Seat, emit: &mut dyn FnMut(Event)| train_on(&spec, &devices, seat, emit);
    let ended = as_ranks(ranks, work, |failure: &Failure| failure.is_of_another, emit);
    ended.map_or_else(|failure| failure.last_word, |()| Event::Finished)
}

/// What one rank does.
fn train_on(
    spec: &TrialSpec,
    devices: &[DeviceSpec],
    seat: Seat,
    emit: &mut dyn FnMut(Event),
) -> Result<(), Failure> {
    let of_rank = devices[seat.number()];
    // The processor's memory is counted and capped for the whole process, whatever its ranks are named.
    let named = if of_rank.is_cpu() { spec.device } else { of_rank };
    let device = device::open(&named).map_err(TrainError::from)?;
    let Some(task) = train_task(&spec.task) else { return Ok(()) };
    let done = seat.take(&*device).map_err(TrainError::from);
    let done = done.and_then(|rank| train_as(spec, task, (&*device, rank), emit));
    done.map_err(|error| Failure {
        last_word: last_word(&error, &*device),
        is_of_another: error.is_of_another_rank(),
    })
}
