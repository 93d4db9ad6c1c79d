//! The runs of the fake that are under way, on a virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{CHECKPOINT, Checkpoint, copy_folder};
use crate::executor::{ExecutorError, Heard};
use crate::trial::{Event, Outcome, TrialSpec};
use crate::units::Bytes;

/// What is under way, and what time it is.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    pub(super) runs: BTreeMap<usize, Playing>,
    /// Seconds since it began.
    pub(super) clock: f64,
}

/// One run whose events are known and not yet told.
#[derive(Clone, Debug)]
pub(super) struct Playing {
    pub(super) spec: TrialSpec,
    pub(super) events: VecDeque<Event>,
    /// How it ends; none where the user interrupts it.
    pub(super) end: Option<Outcome>,
    /// What it leaves on the disk before it ends.
    pub(super) leaves: Leaves,
    /// Seconds between its last event and its end.
    pub(super) silence: f64,
    /// The moment of its last event.
    pub(super) time: f64,
}

/// Files that a run leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaves {
    pub(super) checkpoint: Option<(PathBuf, Checkpoint)>,
    /// Size of the weights beside it.
    pub(super) weights: Bytes,
    /// The model that was the best, and where it is kept.
    pub(super) best: Option<(PathBuf, PathBuf)>,
}

impl Leaves {
    fn write(&self) -> io::Result<()> {
        if let Some((folder, checkpoint)) = &self.checkpoint {
            fs::create_dir_all(folder)?;
            fs::write(folder.join(CHECKPOINT), serde_json::to_vec(checkpoint)?)?;
            // A hole in a file takes no room and counts as its size.
            fs::File::create(folder.join("weights"))?.set_len(self.weights.0)?;
        }
        self.best.as_ref().map_or(Ok(()), |(model, best)| copy_folder(model, best))
    }
}

impl Scene {
    pub(super) fn begin(&mut self, slot: usize, playing: Playing) {
        self.runs.insert(slot, Playing { time: self.clock, ..playing });
    }

    /// What comes next on the clock within `patience`, and the specification of a run that has ended.
    ///
    /// Files are on the disk before the end is told, and not earlier: a child dies with its driver.
    pub(super) fn next(
        &mut self,
        patience: Option<Duration>,
    ) -> Result<Option<(usize, Heard, Option<TrialSpec>)>, ExecutorError> {
        let soonest = self.runs.iter().min_by(|a, b| a.1.moment().total_cmp(&b.1.moment()));
        let Some(slot) = soonest.map(|(slot, _)| *slot) else { return Ok(None) };
        let Some(playing) = self.runs.get_mut(&slot) else { return Ok(None) };
        let until = patience.map_or(f64::INFINITY, |patience| self.clock + patience.as_secs_f64());
        if playing.moment() > until {
            self.clock = until;
            return Ok(None);
        }
        self.clock = playing.moment();
        playing.time = self.clock;
        if let Some(event) = playing.events.pop_front() {
            return Ok(Some((slot, Heard::Event(event), None)));
        }
        playing.leaves.write().map_err(ExecutorError::Start)?;
        let Some(ended) = self.runs.remove(&slot) else { return Ok(None) };
        let outcome = ended.end.ok_or(ExecutorError::Interrupted)?;
        Ok(Some((slot, Heard::Ended(outcome), Some(ended.spec))))
    }
}

impl Playing {
    /// When the next event comes; the end comes with the last one.
    fn moment(&self) -> f64 {
        let seconds = match self.events.front() {
            Some(Event::Step(step)) => step.seconds,
            Some(Event::Eval(eval)) => eval.seconds,
            Some(Event::Timed(speed)) => speed.seconds,
            Some(_) => 0.0,
            None => return self.time + self.silence,
        };
        // Events say what they took, as a child does.
        self.time + seconds
    }
}
