//! What a child says while it runs: lines of its standard output and, of a foreign one, its metrics file.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::metrics_file::MetricsFile;
use super::reading::Reading;
use super::refusal;
use crate::space::{MetricsKeys, TrainerSettings};
use crate::trial::{Event, Outcome, Task, TrialSpec};

/// A line of standard output without its end.
type Line = Vec<u8>;

/// The events of one child.
pub(super) struct Voice {
    lines: Receiver<Line>,
    foreign: Option<ForeignVoice>,
}

/// What is heard of a foreign trainer besides lines that are events by themselves.
struct ForeignVoice {
    reading: Reading,
    metrics: Option<(MetricsFile, MetricsKeys)>,
    waiting: VecDeque<Event>,
    last_look: Option<Instant>,
    last_eval: usize,
}

impl Voice {
    /// Of a child that obeys `spec`: a foreign `trainer`, or this program.
    pub(super) fn of(
        stdout: Option<ChildStdout>,
        trainer: Option<&TrainerSettings>,
        spec: &TrialSpec,
    ) -> Self {
        Self { lines: lines(stdout), foreign: trainer.map(|trainer| ForeignVoice::new(trainer, spec)) }
    }

    /// The next thing said within about `patience`; none if it was no event, yet a sign of life.
    ///
    /// # Errors
    /// Nothing was said, or the child has closed its output.
    pub(super) fn hear(&mut self, patience: Duration) -> Result<Option<Event>, RecvTimeoutError> {
        let Some(foreign) = &mut self.foreign else {
            let line = self.lines.recv_timeout(patience)?;
            // A library that prints is no sign of life: our own children know what to say.
            return serde_json::from_slice(&line).map(Some).map_err(|_| RecvTimeoutError::Timeout);
        };
        if let Some(event) = foreign.next(patience) {
            return Ok(Some(event));
        }
        let line = self.lines.recv_timeout(patience)?;
        Ok(foreign.heard(&line))
    }

    /// What a child has written that has closed its output; looked for no more often than every `patience`.
    pub(super) fn news(&mut self, patience: Duration) -> Vec<Event> {
        let Some(foreign) = &mut self.foreign else { return vec![] };
        std::iter::from_fn(|| foreign.next(patience)).collect()
    }

    /// What a child that is gone had still to say.
    pub(super) fn rest(&mut self) -> Vec<Event> {
        let Some(foreign) = &mut self.foreign else { return vec![] };
        foreign.look(true);
        std::iter::from_fn(|| foreign.next(Duration::MAX)).collect()
    }

    /// How a foreign child ended that said no last word; none where that must be a crash.
    pub(super) fn ending(&self, spec: &TrialSpec, status: ExitStatus, stderr_tail: &str) -> Option<Outcome> {
        let foreign = self.foreign.as_ref()?;
        if !status.success() {
            return refusal::of(stderr_tail, spec.device);
        }
        // A program that only writes metrics knows no last words.
        foreign.metrics.as_ref()?;
        let is_done = match spec.task {
            Task::Train { stop_at_step, .. } => foreign.last_eval >= stop_at_step,
            Task::Probe { .. } | Task::Evaluate => true,
        };
        is_done.then_some(Outcome::Finished)
    }
}

impl ForeignVoice {
    fn new(trainer: &TrainerSettings, spec: &TrialSpec) -> Self {
        let folder = spec.task.folder().map(|folder| folder.display().to_string()).unwrap_or_default();
        let metrics = trainer.metrics.as_ref().map(|metrics| {
            let path = trainer.folder.join(metrics.file.filled(|_| folder.clone()));
            (MetricsFile::new(path, metrics.form), metrics.keys.clone())
        });
        let reading = Reading::new(spec.hyperparams.learning_rate);
        let mut voice = Self { reading, metrics, waiting: VecDeque::new(), last_look: None, last_eval: 0 };
        voice.look(false);
        voice
    }

    /// An event of the metrics file; it is looked at no more often than every `patience`.
    fn next(&mut self, patience: Duration) -> Option<Event> {
        if self.last_look.is_none_or(|last| last.elapsed() >= patience) {
            self.look(false);
        }
        let event = self.waiting.pop_front()?;
        self.remember(&event);
        Some(event)
    }

    fn look(&mut self, is_gone: bool) {
        if let Some((file, keys)) = &mut self.metrics {
            let news = file.news(is_gone);
            self.waiting.extend(self.reading.entries(&news, keys, self.last_look.is_none()));
        }
        self.last_look = Some(Instant::now());
    }

    fn heard(&mut self, line: &[u8]) -> Option<Event> {
        let event = self.reading.line(line)?;
        self.remember(&event);
        Some(event)
    }

    const fn remember(&mut self, event: &Event) {
        if let Event::Eval(eval) = event {
            self.last_eval = eval.step;
        }
    }
}

fn lines(stdout: Option<ChildStdout>) -> Receiver<Line> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = stdout {
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}
