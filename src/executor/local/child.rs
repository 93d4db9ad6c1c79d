//! One child process under way: what it says, and how it ended.

use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::launch::Launch;
use super::output::{Bell, Pulse, events};
use super::tail::Tail;
use crate::executor::{ExecutorError, Job};
use crate::space::DeviceSpec;
use crate::trial::{Event, Outcome};

/// How long the streams of a child that has exited may stay open: only a process that left its group holds them.
const GRACE: Duration = Duration::from_secs(1);

/// A child that runs.
pub(super) struct Running {
    child: Child,
    events: Receiver<Event>,
    pulse: Pulse,
    listened: Instant,
    tail: Option<Tail>,
    /// How it exited, and when that was seen.
    exited: Option<(ExitStatus, Instant)>,
    /// The card it was given, which it calls its first.
    card: Option<usize>,
}

/// What a look at a child finds.
pub(super) enum Look {
    /// It said something.
    Said(Event),
    /// It said its last word.
    LastWord(Outcome),
    /// It is gone without one.
    Gone(ExitStatus),
    /// It has been silent for too long.
    Silent,
    /// Nothing new.
    Quiet,
}

impl Running {
    pub(super) fn start(
        launch: &Launch,
        job: &Job<'_>,
        threads: Option<usize>,
        bell: Bell,
    ) -> Result<Self, ExecutorError> {
        let mut child = launch.start(job, threads)?;
        let missing = || ExecutorError::Start(std::io::Error::other("it has no standard output"));
        let (events, pulse) = events(child.stdout.take().ok_or_else(missing)?, bell);
        let card = match job.spec.device {
            DeviceSpec::Cuda { index, .. } => Some(index),
            DeviceSpec::Cpu { .. } => None,
        };
        let tail = child.stderr.take().map(Tail::of);
        Ok(Self { child, events, pulse, listened: Instant::now(), tail, exited: None, card })
    }

    /// Looks once, without waiting. What was said comes before how it ended.
    pub(super) fn look(&mut self, silence: Duration) -> Result<Look, ExecutorError> {
        match self.events.try_recv() {
            Ok(event) => {
                self.listened = Instant::now();
                let event = self.named(event);
                Ok(Outcome::from_last_word(&event).map_or(Look::Said(event), Look::LastWord))
            }
            Err(TryRecvError::Empty) => self.judge(silence, false),
            Err(TryRecvError::Disconnected) => self.judge(silence, true),
        }
    }

    fn judge(&mut self, silence: Duration, is_closed: bool) -> Result<Look, ExecutorError> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().map_err(ExecutorError::Start)?.map(|status| {
                // What is left of the group must not hold the pipes.
                kill_group(&self.child);
                (status, Instant::now())
            });
        }
        // A driver that had no time to listen has not heard a silence.
        let silent = self.pulse.silence().min(self.listened.elapsed());
        Ok(match self.exited {
            Some((status, seen)) if is_closed || seen.elapsed() > GRACE => Look::Gone(status),
            None if silent > silence => Look::Silent,
            _ => Look::Quiet,
        })
    }

    /// Ends what is left of the child and its group; gives the end of its standard error.
    pub(super) fn end(mut self) -> Result<String, ExecutorError> {
        // Grandchildren, too, must not hold memory or the pipes.
        kill_group(&self.child);
        let ended = self.child.wait();
        let tail = self.tail.map(|tail| tail.finish(GRACE)).unwrap_or_default();
        ended.map(|_| tail).map_err(ExecutorError::Start)
    }

    /// A child that sees one card calls it `cuda:0`; on record stands which of the machine's it was.
    fn named(&self, event: Event) -> Event {
        match (event, self.card) {
            (Event::Started { device, dtype, version, resumed_at_step, parameters }, Some(card)) => {
                let device = device.replacen("cuda:0", &format!("cuda:{card}"), 1);
                Event::Started { device, dtype, version, resumed_at_step, parameters }
            }
            (event, _) => event,
        }
    }
}

pub(super) fn crashed(status: ExitStatus, stderr_tail: String) -> Outcome {
    Outcome::Crashed { signal: signal_of(status), exit_code: status.code(), stderr_tail }
}

pub(super) fn signal_of(status: ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    return None;
}

fn kill_group(child: &Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // An error means that the group has already ended.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}
