//! What a child says while it runs: lines of its standard output and, of a foreign one, its metrics file.

use std::collections::VecDeque;
use std::process::{ChildStdout, ExitStatus};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::metrics_file::MetricsFile;
use super::output::{Bell, Language, Pulse, events};
use super::reading::Reading;
use super::refusal;
use crate::space::{DeviceSpec, MetricsKeys, TrainerSettings};
use crate::trial::{Event, Outcome, Task, TrialSpec};

/// A metrics file is looked at no more often than this.
const LOOK: Duration = Duration::from_millis(100);

/// The events of one child.
pub(super) struct Voice {
    lines: Receiver<Event>,
    pulse: Pulse,
    /// When the driver last took an event.
    listened: Instant,
    foreign: Option<ForeignVoice>,
}

/// What is heard of a foreign trainer besides the events on its standard output.
pub(super) struct ForeignVoice {
    metrics: Option<Metrics>,
    /// What was heard and not yet handed out.
    waiting: VecDeque<Event>,
    last_eval: usize,
    /// Where it is to stop, if it trains.
    stop_at_step: Option<usize>,
    device: DeviceSpec,
}

struct Metrics {
    file: MetricsFile,
    keys: MetricsKeys,
    reading: Reading,
    last_look: Instant,
}

impl Voice {
    /// Of a child that was just started, a `foreign` one or this program.
    pub(super) fn of(
        stdout: ChildStdout,
        foreign: Option<ForeignVoice>,
        learning_rate: f64,
        bell: Bell,
    ) -> Self {
        let language = match foreign {
            Some(_) => Language::Foreign(Reading::new(learning_rate)),
            None => Language::Own,
        };
        let (lines, pulse) = events(stdout, language, bell);
        Self { lines, pulse, listened: Instant::now(), foreign }
    }

    /// The next event, without waiting.
    ///
    /// # Errors
    /// Nothing new was said, or the child has closed its output and nothing else is new.
    pub(super) fn next(&mut self) -> Result<Event, TryRecvError> {
        let event = match &mut self.foreign {
            None => self.lines.try_recv()?,
            Some(foreign) => {
                foreign.look();
                match foreign.waiting.pop_front() {
                    Some(event) => event,
                    None => foreign.after_its_metrics(self.lines.try_recv()?),
                }
            }
        };
        Ok(self.taken(event))
    }

    /// What a child that is gone had still to say.
    pub(super) fn rest(&mut self) -> Option<Event> {
        let foreign = self.foreign.as_mut()?;
        if foreign.waiting.is_empty() {
            foreign.read(true);
        }
        let event = foreign.waiting.pop_front()?;
        Some(self.taken(event))
    }

    fn taken(&mut self, event: Event) -> Event {
        self.listened = Instant::now();
        if let (Some(foreign), Event::Eval(eval)) = (&mut self.foreign, &event) {
            foreign.last_eval = eval.step;
        }
        event
    }

    /// How long nothing was heard. A driver that had no time to listen has not heard a silence.
    pub(super) fn silence(&self) -> Duration {
        self.pulse.silence().min(self.listened.elapsed())
    }

    /// How a foreign child ended that said no last word; none where that must be a crash.
    pub(super) fn ending(&self, status: ExitStatus, stderr_tail: &str) -> Option<Outcome> {
        let foreign = self.foreign.as_ref()?;
        if !status.success() {
            return refusal::of(stderr_tail, foreign.device);
        }
        // A program that only writes metrics knows no last words.
        foreign.metrics.as_ref()?;
        let is_done = foreign.stop_at_step.is_none_or(|stop| foreign.last_eval >= stop);
        is_done.then_some(Outcome::Finished)
    }
}

impl ForeignVoice {
    /// Before the `trainer` is started: what lies in its metrics file took it no time.
    pub(super) fn new(trainer: &TrainerSettings, spec: &TrialSpec) -> Self {
        let folder = spec.task.folder().map(|folder| folder.display().to_string()).unwrap_or_default();
        let mut waiting = VecDeque::new();
        let metrics = trainer.metrics.as_ref().map(|metrics| {
            let path = trainer.folder.join(metrics.file.filled(|_| folder.clone()));
            let (mut file, keys) = (MetricsFile::new(path, metrics.form), metrics.keys.clone());
            let mut reading = Reading::new(spec.hyperparams.learning_rate);
            waiting.extend(reading.entries(&file.news(false), &keys, true));
            Metrics { file, keys, reading, last_look: Instant::now() }
        });
        let stop_at_step = match spec.task {
            Task::Train { stop_at_step, .. } => Some(stop_at_step),
            Task::Probe { .. } | Task::Gradients { .. } | Task::Evaluate => None,
        };
        Self { metrics, waiting, last_eval: 0, stop_at_step, device: spec.device }
    }

    /// A last word ends a run, so all that was written before it comes first.
    fn after_its_metrics(&mut self, event: Event) -> Event {
        if Outcome::from_last_word(&event).is_none() {
            return event;
        }
        self.read(true);
        match self.waiting.pop_front() {
            None => event,
            Some(earlier) => {
                self.waiting.push_back(event);
                earlier
            }
        }
    }

    fn look(&mut self) {
        if self.metrics.as_ref().is_some_and(|metrics| metrics.last_look.elapsed() >= LOOK) {
            self.read(false);
        }
    }

    /// Reads what is new; a last line needs no end when nothing more is written.
    fn read(&mut self, is_last: bool) {
        if let Some(metrics) = &mut self.metrics {
            let news = metrics.file.news(is_last);
            self.waiting.extend(metrics.reading.entries(&news, &metrics.keys, false));
            metrics.last_look = Instant::now();
        }
    }
}
