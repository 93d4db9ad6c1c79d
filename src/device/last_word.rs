//! The out-of-memory line of the trial protocol, made and written without allocating.
//!
//! Whoever needs this line has just been refused memory, so neither `serde_json` nor
//! `std::io::stdout` (which may build its buffer on first use) can be asked to write it.

use std::fmt::{self, Write};

use rustix::io::Errno;

/// Longest line: three 20-digit numbers and 54 bytes around them, rounded up.
const CAPACITY: usize = 128;

/// One line of text on the stack.
pub(super) struct Line {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl Line {
    /// The JSON of [`Event::OutOfMemory`](crate::trial::Event::OutOfMemory) and a newline.
    pub(super) fn out_of_memory(requested: usize, live: usize, cap: Option<usize>) -> Self {
        let mut word = Self { bytes: [0; CAPACITY], length: 0 };
        // A line that is cut short is still better than none, so the result is not looked at; the
        // test below holds the longest possible line against the capacity.
        let _ = word.compose(requested, live, cap);
        word
    }

    fn compose(&mut self, requested: usize, live: usize, cap: Option<usize>) -> fmt::Result {
        write!(self, r#"{{"event":"out_of_memory","requested":{requested},"live":{live},"cap":"#)?;
        match cap {
            Some(cap) => write!(self, "{cap}")?,
            None => self.write_str("null")?,
        }
        self.write_str("}\n")
    }

    /// Writes the line to standard output, past the buffer of `std::io::stdout`.
    pub(super) fn write_to_stdout(&self) {
        let mut rest = self.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(rustix::stdio::stdout(), rest) {
                Ok(written @ 1..) => rest = &rest[written.min(rest.len())..],
                Err(Errno::INTR) => {}
                // Nobody listens any more; the process ends all the same.
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Event;
    use crate::units::Bytes;

    fn check(requested: usize, live: usize, cap: Option<usize>) {
        let word = Line::out_of_memory(requested, live, cap);
        let text = std::str::from_utf8(word.as_bytes()).unwrap().strip_suffix('\n').unwrap();
        let event = Event::OutOfMemory {
            requested: Some(Bytes(requested as u64)),
            live: Bytes(live as u64),
            cap: cap.map(|cap| Bytes(cap as u64)),
        };
        assert_eq!(text, serde_json::to_string(&event).unwrap());
        assert_eq!(serde_json::from_str::<Event>(text).unwrap(), event);
    }

    #[test]
    fn the_line_is_what_serde_would_write_for_the_event() {
        check(3, 2, Some(4));
        check(1 << 33, 123_456_789, None);
        check(0, 0, Some(0));
    }

    #[test]
    fn the_longest_line_fits() {
        check(usize::MAX, usize::MAX, Some(usize::MAX));
    }
}
