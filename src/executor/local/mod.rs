//! Child processes on this machine, one in each slot.

mod child;
mod command;
mod launch;
mod metrics_file;
mod output;
mod python_json;
mod reading;
mod refusal;
mod tail;
#[cfg(test)]
#[cfg(unix)]
mod tests;
mod voice;

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use super::{Executor, ExecutorError, Heard, Job};
use crate::device;
use crate::space::{CardName, DeviceSpec, TrainerSettings};
use crate::trial::{Task, TrialSpec};
use crate::units::Bytes;
use child::{Look, Over, Running, signal_of};
use command::Programs;
use launch::Share;
use output::{Bell, bell};

/// How often the wish to stop is looked at while all children are silent.
const POLL: Duration = Duration::from_millis(100);

/// Signals by which people and service managers ask a program to end: HUP, INT, TERM.
const REQUESTS: [i32; 3] = [1, 2, 15];
/// How long after such a death of its child the driver may take to hear of the request itself.
const HEARSAY: Duration = Duration::from_secs(1);

/// Re-executes a program as `PROGRAM worker` for each specification, or a foreign trainer in its place.
pub struct Local {
    programs: Programs,
    threads: Option<usize>,
    silence: Duration,
    wish: Wish,
    slots: Vec<Option<Running>>,
    /// Where the next look begins, so that a talkative child keeps none from being heard.
    first: usize,
    bell: Bell,
    rings: Receiver<()>,
}

impl Local {
    /// Runs trials as `program arguments…`, one at a time; a child silent for `silence` is killed; `stop` is the
    /// user's wish to end.
    #[must_use]
    pub fn new(program: PathBuf, arguments: Vec<String>, silence: Duration, stop: Arc<AtomicBool>) -> Self {
        let programs = Programs::new(program, arguments);
        let wish = Wish { stop, hearsay: HEARSAY };
        let (bell, rings) = bell();
        Self { programs, threads: None, silence, wish, slots: vec![None], first: 0, bell, rings }
    }

    /// Gives each trial so many threads; without it, one for every processor, or an equal share of them where
    /// there are several slots.
    #[must_use]
    pub const fn with_threads(mut self, threads: Option<usize>) -> Self {
        self.threads = threads;
        self
    }

    /// Lets a foreign `trainer` train and probe. A `launcher` starts it as `LAUNCHER launch -- COMMAND`, and is what
    /// holds it to its cap and lets it die with the driver.
    #[must_use]
    pub fn with_trainer(mut self, trainer: Option<TrainerSettings>, launcher: Option<PathBuf>) -> Self {
        self.programs.set_trainer(trainer, launcher);
        self
    }

    /// Runs up to so many trials at the same time.
    #[must_use]
    pub fn with_slots(mut self, slots: usize) -> Self {
        self.slots = (0..slots.max(1)).map(|_| None).collect();
        self
    }

    /// Threads of a child: as many as were asked for, else its share of the processors.
    fn threads(&self, is_alone: bool) -> Option<usize> {
        let share = || thread::available_parallelism().map_or(1, |all| (all.get() / self.slots.len()).max(1));
        let shares = self.slots.len() > 1 && !is_alone;
        self.threads.or_else(|| shares.then(share))
    }

    /// The cards that a child is to see alone. A foreign trainer with the machine to itself sees all of them: it may
    /// train on several.
    fn cards(&self, spec: &TrialSpec) -> Vec<CardName> {
        if self.slots.len() == 1 && self.programs.trainer(spec).is_some() {
            return Vec::new();
        }
        let further = match &spec.task {
            Task::Train { also_on, .. } => also_on.as_slice(),
            _ => &[],
        };
        let card = |device: &DeviceSpec| match device {
            DeviceSpec::Cuda { card, .. } => Some(*card),
            DeviceSpec::Cpu { .. } => None,
        };
        std::iter::once(&spec.device).chain(further).filter_map(card).collect()
    }
}

impl Executor for Local {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn start(&mut self, job: &Job<'_>) -> Result<(), ExecutorError> {
        if self.is_interrupted() {
            self.abandon();
            return Err(ExecutorError::Interrupted);
        }
        let share = Share { threads: self.threads(job.is_alone), cards: self.cards(job.spec) };
        let running = Running::start(&self.programs, job.spec, &share, self.silence, self.bell.clone())?;
        self.slots[job.slot] = Some(running);
        Ok(())
    }

    fn next(&mut self, patience: Option<Duration>) -> Result<Option<(usize, Heard)>, ExecutorError> {
        let asked = Instant::now();
        loop {
            if self.is_interrupted() {
                self.abandon();
                return Err(ExecutorError::Interrupted);
            }
            if let Some(found) = self.look_around()? {
                return Ok(Some(found));
            }
            let is_idle = self.slots.iter().all(Option::is_none);
            let left = patience.map(|patience| patience.saturating_sub(asked.elapsed()));
            if left.map_or(is_idle, |left| left.is_zero()) {
                return Ok(None);
            }
            // Nobody rings where nothing runs: then this is a pause.
            let _ = self.rings.recv_timeout(left.unwrap_or(POLL).min(POLL));
        }
    }

    fn abandon(&mut self) {
        for mut running in self.slots.iter_mut().filter_map(Option::take) {
            // Whether it can still be waited for changes nothing: nobody asks how it ended.
            let _ = running.kill();
        }
    }

    fn is_interrupted(&self) -> bool {
        self.wish.is_told()
    }

    fn free(&mut self, device: &DeviceSpec, overhead: Option<Bytes>) -> Option<Bytes> {
        device::free_for_a_child(device, overhead)
    }
}

impl Local {
    /// Looks at each slot once, and takes the first that has something to tell.
    fn look_around(&mut self) -> Result<Option<(usize, Heard)>, ExecutorError> {
        let slots = self.slots.len();
        for slot in (self.first..slots).chain(0..self.first) {
            let Some(running) = &mut self.slots[slot] else { continue };
            let heard = match running.look()? {
                Look::Quiet => continue,
                Look::Said(event) => Heard::Event(event),
                Look::Over(Over::Gone(status)) if self.wish.ended(status) => {
                    self.abandon();
                    return Err(ExecutorError::Interrupted);
                }
                Look::Over(over) => {
                    let outcome = running.end(over);
                    self.slots[slot] = None;
                    Heard::Ended(outcome?)
                }
            };
            self.first = (slot + 1) % slots;
            return Ok(Some((slot, heard)));
        }
        Ok(None)
    }
}

/// The user's wish to end.
struct Wish {
    stop: Arc<AtomicBool>,
    hearsay: Duration,
}

impl Wish {
    fn is_told(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether a child died of a signal that was meant for the driver, too.
    ///
    /// A service manager ends all processes of a study at once, and Ctrl-C reaches a child that has
    /// not yet left the driver's group. The driver may hear of it later than the child has died.
    fn ended(&self, status: ExitStatus) -> bool {
        if !signal_of(status).is_some_and(|signal| REQUESTS.contains(&signal)) {
            return false;
        }
        let died = Instant::now();
        while !self.is_told() && died.elapsed() < self.hearsay {
            thread::sleep(POLL / 10);
        }
        self.is_told()
    }
}

impl Drop for Local {
    /// No child outlives its driver.
    fn drop(&mut self) {
        self.abandon();
    }
}
