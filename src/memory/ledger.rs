//! A replay's book of bytes: what is alive, and how much was alive at once in each phase.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::trial::{Phase, PhasePeak};
use crate::units::Bytes;

/// Counts the bytes of things that are made and dropped, as an allocator would.
#[derive(Clone, Debug)]
pub struct Ledger(Rc<Book>);

#[derive(Debug)]
struct Book {
    live: Cell<u64>,
    phase: Cell<Phase>,
    peaks: RefCell<Vec<PhasePeak>>,
}

/// Bytes that are alive until this is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: u64,
    book: Rc<Book>,
}

impl Ledger {
    /// An empty book that begins in `phase`.
    #[must_use]
    pub fn new(phase: Phase) -> Self {
        let book = Book { live: Cell::new(0), phase: Cell::new(phase), peaks: RefCell::default() };
        let ledger = Self(Rc::new(book));
        ledger.0.note();
        ledger
    }

    /// Begins `phase`; what is alive stays alive in it.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.set(phase);
        self.0.note();
    }

    /// Makes something of so many bytes.
    #[must_use = "what is not held is dropped at once"]
    pub fn hold(&self, bytes: u64) -> Held {
        self.0.live.set(self.0.live.get() + bytes);
        self.0.note();
        Held { bytes, book: Rc::clone(&self.0) }
    }

    /// Something of so many bytes that is gone at once: only the peak remembers it.
    pub fn touch(&self, bytes: u64) {
        drop(self.hold(bytes));
    }

    /// Bytes alive now.
    #[must_use]
    pub fn live(&self) -> Bytes {
        Bytes(self.0.live.get())
    }

    /// The peak of each phase that was entered, in the order they were first entered.
    #[must_use]
    pub fn peaks(&self) -> Vec<PhasePeak> {
        self.0.peaks.borrow().clone()
    }
}

impl Book {
    fn note(&self) {
        let (phase, live) = (self.phase.get(), Bytes(self.live.get()));
        let mut peaks = self.peaks.borrow_mut();
        match peaks.iter_mut().find(|peak| peak.phase == phase) {
            Some(known) => known.peak_bytes = known.peak_bytes.max(live),
            None => peaks.push(PhasePeak { phase, peak_bytes: live }),
        }
    }
}

impl Held {
    /// How many.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.book.live.set(self.book.live.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_remembers_what_was_alive_at_once_and_what_it_began_with() {
        let ledger = Ledger::new(Phase::Load);
        let kept = ledger.hold(10);
        ledger.touch(5);
        ledger.enter(Phase::Forward);
        {
            let _first = ledger.hold(3);
        }
        let _second = ledger.hold(2);
        assert_eq!((kept.bytes(), ledger.live()), (10, Bytes(12)));
        let peak = |phase, bytes| PhasePeak { phase, peak_bytes: Bytes(bytes) };
        assert_eq!(ledger.peaks(), [peak(Phase::Load, 15), peak(Phase::Forward, 13)]);
    }
}
