//! What a child says on its standard output: lines to events, in a thread of its own.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::reading::Reading;
use crate::trial::Event;

/// A child that says more than the driver can record waits.
const QUEUED: usize = 1024;
/// No event is longer: the losses of a million examples take less. What is would fill the memory.
const LINE_BYTES: u64 = 64 << 20;

/// Rings when there is something to look at in any slot.
pub(super) type Bell = SyncSender<()>;

/// A bell, and where it is heard. One ring is kept; more would tell nothing new.
pub(super) fn bell() -> (Bell, Receiver<()>) {
    sync_channel(1)
}

/// When a child was last heard, whether or not the driver has had time to listen.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long the child has been silent.
    pub(super) fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// How the lines of a child are understood.
pub(super) enum Language {
    /// This program's own. A library that prints is no sign of life: our own children know what to say.
    Own,
    /// A foreign program's, whose every line shows that it is alive.
    Foreign(Reading),
}

impl Language {
    fn event(&mut self, line: &[u8]) -> Option<Event> {
        match self {
            Self::Own => serde_json::from_slice(line).ok(),
            Self::Foreign(reading) => reading.line(line),
        }
    }
}

/// The events of a stream, until it ends, and its pulse.
///
/// Lines that are no events (a library that prints, half a line at the end) are passed over.
pub(super) fn events(
    stream: impl Read + Send + 'static,
    mut language: Language,
    bell: Bell,
) -> (Receiver<Event>, Pulse) {
    let (sender, receiver) = sync_channel(QUEUED);
    let pulse = Pulse::new();
    let beats = pulse.clone();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
            let event = language.event(&line);
            if event.is_some() || matches!(language, Language::Foreign(_)) {
                beats.beat();
            }
            if let Some(event) = event {
                if sender.send(event).is_err() {
                    return;
                }
                // A bell that rings already is as good.
                let _ = bell.try_send(());
            }
            line.clear();
        }
        drop(sender);
        let _ = bell.try_send(());
    });
    (receiver, pulse)
}
