//! What a run allocates and releases, in its order.

use std::cell::RefCell;
use std::rc::Rc;

use crate::trial::Phase;

/// One thing that happened to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A phase begins.
    Enter(Phase),
    /// A storage is made; its number is new.
    Allocate { id: usize, bytes: u64 },
    /// The storage of that number is gone.
    Release { id: usize },
}

/// Writes the trace while a run is replayed; clones write into the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder(Rc<RefCell<Book>>);

#[derive(Debug, Default)]
struct Book {
    events: Vec<Event>,
    storages: usize,
}

/// A storage: alive until it is dropped.
#[derive(Debug)]
pub(super) struct Storage {
    id: usize,
    recorder: Recorder,
}

impl Recorder {
    pub(super) fn enter(&self, phase: Phase) {
        self.0.borrow_mut().events.push(Event::Enter(phase));
    }

    pub(super) fn allocate(&self, bytes: u64) -> Storage {
        let mut book = self.0.borrow_mut();
        let id = book.storages;
        book.storages += 1;
        book.events.push(Event::Allocate { id, bytes });
        Storage { id, recorder: self.clone() }
    }

    /// What has happened so far.
    pub(super) fn events(&self) -> Vec<Event> {
        self.0.borrow().events.clone()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.recorder.0.borrow_mut().events.push(Event::Release { id: self.id });
    }
}
