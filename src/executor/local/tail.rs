//! The last lines of a child's standard error.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::refusal;

/// Enough for a panic message with its location.
const LINES: usize = 20;
/// A line without an end must not fill the memory.
const LINE_BYTES: u64 = 4096;
/// Stands before a line that was not among the last.
const EARLIER: &str = "earlier: ";
/// Pause between two looks at whether the stream has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What is kept of a stream.
#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    /// The first line that tells of refused memory, if it is no longer among the last: a launcher of several
    /// processes writes a page more about a death than the process that died.
    refusal: Option<String>,
}

type Lines = Arc<Mutex<Kept>>;

/// Reads a stream to its end in a thread of its own and keeps its last lines.
pub(super) struct Tail {
    lines: Lines,
    reader: JoinHandle<()>,
}

impl Tail {
    /// Starts reading.
    pub(super) fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Lines::default();
        let kept = Arc::clone(&lines);
        Self { lines, reader: thread::spawn(move || keep_last(stream, &kept)) }
    }

    /// The last lines, once the stream has ended.
    ///
    /// A process that left the child's group can hold the stream open for ever, so after `patience` they are
    /// what has come by then.
    pub(super) fn finish(self, patience: Duration) -> String {
        let asked = Instant::now();
        while !self.reader.is_finished() && asked.elapsed() < patience {
            thread::sleep(LOOK);
        }
        let kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = kept.refusal.iter().map(|line| format!("{EARLIER}{line}"));
        kept.lines.iter().cloned().chain(earlier).collect::<Vec<_>>().join("\n")
    }
}

impl Kept {
    fn keep(&mut self, line: String) {
        if self.lines.len() == LINES {
            let oldest = self.lines.pop_front().filter(|line| refusal::is_told_by(line));
            self.refusal = self.refusal.take().or(oldest);
        }
        self.lines.push_back(line);
    }
}

fn keep_last(stream: impl Read, lines: &Lines) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
        let mut kept = lines.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keep(String::from_utf8_lossy(&line).trim_end().to_owned());
        drop(kept);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let text = (0..50).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let tail = Tail::of(std::io::Cursor::new(text)).finish(Duration::from_mins(1));
        assert!(tail.starts_with("line 30\n") && tail.ends_with("line 49"));
    }

    #[test]
    fn a_refusal_of_memory_is_kept_whatever_is_written_behind_it() {
        let text = format!("MemoryError\n{}", "more\n".repeat(50));
        let tail = Tail::of(std::io::Cursor::new(text)).finish(Duration::from_mins(1));
        assert!(tail.ends_with("more\nearlier: MemoryError"), "{tail}");
    }

    #[test]
    fn a_stream_that_never_ends_gives_what_it_has_said() {
        let (stream, mut other_end) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut other_end, b"oh no\nand").unwrap();
        let tail = Tail::of(stream);
        assert_eq!(tail.finish(Duration::from_millis(200)), "oh no");
        drop(other_end);
    }
}
