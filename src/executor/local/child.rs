//! One child process under way: what it says, and how it ended.

use std::process::{Child, ExitStatus};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use super::command::Programs;
use super::launch::{self, Share};
use super::output::Bell;
use super::tail::Tail;
use super::voice::{ForeignVoice, Voice};
use crate::executor::ExecutorError;
use crate::space::CardName;
use crate::trial::{Event, Outcome, TrialSpec};

/// How long the streams of a child that has exited may stay open: only a process that left its group holds them.
const GRACE: Duration = Duration::from_secs(1);

/// A child that runs.
pub(super) struct Running {
    child: Child,
    voice: Voice,
    /// How long it may say nothing.
    silence: Duration,
    tail: Option<Tail>,
    /// How it exited, and when that was seen.
    exited: Option<(ExitStatus, Instant)>,
    /// The first card it was given.
    card: Option<CardName>,
}

/// What a look at a child finds.
pub(super) enum Look {
    /// It said something.
    Said(Event),
    /// It is over.
    Over(Over),
    /// Nothing new.
    Quiet,
}

/// How a child came to its end.
pub(super) enum Over {
    /// It said its last word.
    LastWord(Outcome),
    /// It is gone without one.
    Gone(ExitStatus),
    /// It has been silent for too long.
    Silent,
}

impl Running {
    /// Starts a child that may be silent for so long, if nothing else is said of the program it is.
    pub(super) fn start(
        programs: &Programs,
        spec: &TrialSpec,
        share: &Share,
        silence: Duration,
        bell: Bell,
    ) -> Result<Self, ExecutorError> {
        let trainer = programs.trainer(spec);
        let foreign = trainer.map(|trainer| ForeignVoice::new(trainer, spec));
        let silence =
            trainer.map_or(silence, |trainer| Duration::from_secs_f64(60.0 * trainer.silence_minutes));
        let mut child = launch::start(programs, spec, share)?;
        let missing = || ExecutorError::Start(std::io::Error::other("it has no standard output"));
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let voice = Voice::of(stdout, foreign, spec.hyperparams.learning_rate, bell);
        let tail = child.stderr.take().map(Tail::of);
        Ok(Self { child, voice, silence, tail, exited: None, card: share.cards.first().copied() })
    }

    /// Looks once, without waiting. What was said comes before how it ended.
    pub(super) fn look(&mut self) -> Result<Look, ExecutorError> {
        match self.voice.next() {
            Ok(event) => Ok(self.said(event)),
            Err(TryRecvError::Empty) => self.judge(false),
            Err(TryRecvError::Disconnected) => self.judge(true),
        }
    }

    fn said(&self, event: Event) -> Look {
        let event = self.named(event);
        Outcome::from_last_word(&event)
            .map_or(Look::Said(event), |outcome| Look::Over(Over::LastWord(outcome)))
    }

    fn judge(&mut self, is_closed: bool) -> Result<Look, ExecutorError> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().map_err(ExecutorError::Start)?.map(|status| {
                // What is left of the group must not hold the pipes.
                kill_group(&self.child);
                (status, Instant::now())
            });
        }
        Ok(match self.exited {
            Some((status, seen)) if is_closed || seen.elapsed() > GRACE => match self.voice.rest() {
                Some(event) => self.said(event),
                None => Look::Over(Over::Gone(status)),
            },
            None if self.voice.silence() > self.silence => Look::Over(Over::Silent),
            _ => Look::Quiet,
        })
    }

    /// Ends what is left of the child and its group.
    pub(super) fn end(&mut self, over: Over) -> Result<Outcome, ExecutorError> {
        let stderr_tail = self.kill()?;
        Ok(match over {
            Over::LastWord(outcome) => outcome,
            Over::Silent => Outcome::TimedOut { seconds: self.silence.as_secs(), stderr_tail },
            Over::Gone(status) => {
                let told = self.voice.ending(status, &stderr_tail);
                told.unwrap_or_else(|| crashed(status, stderr_tail))
            }
        })
    }

    /// Ends what is left of the child and its group; gives the end of its standard error.
    pub(super) fn kill(&mut self) -> Result<String, ExecutorError> {
        // Grandchildren, too, must not hold memory or the pipes.
        kill_group(&self.child);
        let ended = self.child.wait();
        let tail = self.tail.take().map(|tail| tail.finish(GRACE)).unwrap_or_default();
        ended.map(|_| tail).map_err(ExecutorError::Start)
    }

    /// A child that sees one card calls it `cuda:0`; on record stands which of the machine's it was.
    fn named(&self, event: Event) -> Event {
        match (event, self.card) {
            (mut event @ Event::Started { .. }, Some(card)) => {
                if let Event::Started { device, .. } = &mut event {
                    *device = device.replacen("cuda:0", &format!("cuda:{card}"), 1);
                }
                event
            }
            (event, _) => event,
        }
    }
}

fn crashed(status: ExitStatus, stderr_tail: String) -> Outcome {
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
