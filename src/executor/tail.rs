//! The last lines of a child's standard error.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::thread::{self, JoinHandle};

use super::refusal;

/// Enough for a panic message with its location.
const LINES: usize = 20;
/// A line without an end must not fill the memory.
const LINE_BYTES: u64 = 4096;

/// Stands before a line that was not among the last.
const EARLIER: &str = "earlier: ";

/// Reads a stream to its end in a thread of its own and keeps its last lines.
pub(super) struct Tail(JoinHandle<String>);

impl Tail {
    /// Starts reading.
    pub(super) fn of(stream: impl Read + Send + 'static) -> Self {
        Self(thread::spawn(move || last_lines(stream)))
    }

    /// The last lines; waits for the stream to end.
    pub(super) fn finish(self) -> String {
        self.0.join().unwrap_or_default()
    }
}

fn last_lines(stream: impl Read) -> String {
    let mut reader = BufReader::new(stream);
    let mut lines = VecDeque::new();
    let mut line = Vec::new();
    let mut refusal = None;
    while matches!(reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
        if lines.len() == LINES {
            // A launcher of several processes writes a page more about a death than the process that died.
            refusal = refusal.or(lines.pop_front().filter(|line: &String| refusal::is_told_by(line)));
        }
        lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    lines.extend(refusal.map(|line| format!("{EARLIER}{line}")));
    Vec::from(lines).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let text = (0..50).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let tail = Tail::of(std::io::Cursor::new(text)).finish();
        assert!(tail.starts_with("line 30\n") && tail.ends_with("line 49"));
    }

    #[test]
    fn a_refusal_of_memory_is_kept_whatever_is_written_behind_it() {
        let text = format!("MemoryError\n{}", "more\n".repeat(50));
        let tail = Tail::of(std::io::Cursor::new(text)).finish();
        assert!(tail.ends_with("more\nearlier: MemoryError"), "{tail}");
    }
}
