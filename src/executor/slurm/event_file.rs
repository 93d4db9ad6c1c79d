//! The file into which a job says its events, read as it grows.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::trial::Event;

/// Read at a time: a job that says more waits in its file.
const BLOCK: u64 = 1 << 20;
/// No event is longer; what is would fill the memory.
const LINE_BYTES: usize = 64 << 20;
/// The end of standard error: enough for a panic message with its location.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 << 10;

/// How far a file has been read.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    offset: u64,
    /// The line that has not yet ended.
    half: Vec<u8>,
    events: VecDeque<Event>,
    /// Pause between two reads that find nothing more.
    pace: Duration,
    read_at: Option<Instant>,
}

impl EventFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            half: Vec::new(),
            events: VecDeque::new(),
            pace: Duration::ZERO,
            read_at: None,
        }
    }

    /// Asks the file system no more often than this.
    pub(super) fn with_pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Looks at once: nothing more will come.
    pub(super) fn hurry(&mut self) {
        self.read_at = None;
    }

    /// The next event, if one has come.
    ///
    /// A file that is not there yet, or can't be read for a while, is one that says nothing.
    pub(super) fn next(&mut self) -> Option<Event> {
        if self.events.is_empty() && self.read_at.is_none_or(|read_at| read_at.elapsed() >= self.pace) {
            let is_full = self.read().is_ok_and(|bytes| bytes == BLOCK);
            self.read_at = (!is_full).then(Instant::now);
        }
        self.events.pop_front()
    }

    /// The file is opened anew at each look: by that a network file system asks for what others have written.
    fn read(&mut self) -> io::Result<u64> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut block = Vec::new();
        let bytes = file.take(BLOCK).read_to_end(&mut block)? as u64;
        self.offset += bytes;
        for part in block.split_inclusive(|byte| *byte == b'\n') {
            self.half.extend_from_slice(part);
            if part.ends_with(b"\n") {
                // Lines that are no events (a library that prints, half a line of a killed job) are passed over.
                self.events.extend(serde_json::from_slice::<Event>(&self.half).ok());
                self.half.clear();
            } else if self.half.len() > LINE_BYTES {
                self.half.clear();
            }
        }
        Ok(bytes)
    }
}

/// The last lines of a file; empty where there is none.
pub(super) fn tail(path: &Path) -> String {
    let Ok(mut file) = File::open(path) else { return String::new() };
    let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))
        .and_then(|_| file.take(TAIL_BYTES).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    read.map_or_else(|_| String::new(), |_| lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn half_a_line_waits_for_its_other_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut events = EventFile::new(path.clone());
        assert_eq!(events.next(), None, "there is no file yet");
        let mut file = File::create(path).unwrap();
        let mut say = |text: &str| file.write_all(text.as_bytes()).unwrap();
        say("\nnoise\n{\"event\":\"diverged\",\"st");
        assert_eq!(events.next(), None);
        say("ep\":3}\n{\"event\":\"finished\"}\n");
        assert_eq!(events.next(), Some(Event::Diverged { step: 3 }));
        assert_eq!(events.next(), Some(Event::Finished));
        assert_eq!(events.next(), None);
    }

    #[test]
    fn what_a_killed_job_left_half_said_spoils_nothing_that_the_next_one_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        // The script of a job begins with an empty line.
        fs::write(&path, "\n{\"event\":\"fin\n{\"event\":\"finished\"}\n").unwrap();
        let mut events = EventFile::new(path);
        assert_eq!((events.next(), events.next()), (Some(Event::Finished), None));
    }

    #[test]
    fn more_than_a_block_is_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let lines = (0..90_000).map(|step| format!("{{\"event\":\"diverged\",\"step\":{step}}}\n"));
        fs::write(&path, lines.collect::<String>()).unwrap();
        assert!(fs::metadata(&path).unwrap().len() > 2 * BLOCK);
        let mut events = EventFile::new(path);
        let heard = std::iter::from_fn(|| events.next());
        assert!(heard.eq((0..90_000).map(|step| Event::Diverged { step })));
    }

    #[test]
    fn only_the_last_lines_of_standard_error_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stderr");
        assert_eq!(tail(&path), "");
        fs::write(&path, (0..5000).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n")).unwrap();
        let tail = tail(&path);
        assert!(tail.starts_with("line 4980\n") && tail.ends_with("line 4999"), "{tail}");
    }
}
