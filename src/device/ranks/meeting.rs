//! Where the ranks of a run meet: each brings something and goes on with what all have brought.
//!
//! Nobody waits for a rank that has left: whoever leaves, by an error or by a panic, ends the waiting
//! of all others.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use super::RankError;

/// What a rank brings.
#[derive(Clone, Debug)]
pub(super) enum Brought {
    Numbers(Vec<f64>),
    Tensors(Vec<Tensor>),
    /// It only has to be there.
    Itself,
}

/// The place, shared by the threads of all ranks.
#[derive(Debug)]
pub(super) struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Meetings that have taken place.
    held: u64,
    /// What the ranks that are there have brought to the next one.
    brought: Vec<Option<Brought>>,
    /// What all have brought to the last one, in the order of the ranks.
    last: Arc<[Brought]>,
    /// The first rank that has left.
    left: Option<usize>,
}

impl Meeting {
    pub(super) fn of(ranks: usize) -> Self {
        let (brought, last) = (vec![None; ranks], Arc::from([]));
        Self { state: Mutex::new(State { held: 0, brought, last, left: None }), changed: Condvar::new() }
    }

    /// Waits until every rank is there; what they have brought, in the order of the ranks.
    ///
    /// The last meeting cannot be forgotten before all have seen it: the next one needs all of them.
    ///
    /// # Errors
    /// A rank has left, and will never be there.
    pub(super) fn attend(&self, rank: usize, with: Brought) -> Result<Arc<[Brought]>, RankError> {
        let mut state = self.state();
        state.brought[rank] = Some(with);
        let held = state.held;
        if state.left.is_none() && state.brought.iter().all(Option::is_some) {
            state.last = state.brought.iter_mut().filter_map(Option::take).collect();
            state.held += 1;
            self.changed.notify_all();
        }
        let is_waiting = |state: &mut State| state.held == held && state.left.is_none();
        let state = self.changed.wait_while(state, is_waiting).unwrap_or_else(PoisonError::into_inner);
        match state.left {
            Some(rank) if state.held == held => Err(RankError::Left { rank }),
            _ => Ok(Arc::clone(&state.last)),
        }
    }

    /// Ends the waiting for `rank`: it will not come any more.
    pub(super) fn leave(&self, rank: usize) {
        self.state().left.get_or_insert(rank);
        self.changed.notify_all();
    }

    /// Nothing panics while it holds the lock, and no state is in between.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
