//! Where gradients go: persistent buffers, or ones that live from the first product to the update.

use crate::memory::{Held, Ledger};

/// A trained weight: its number and its values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) number: usize,
    pub(super) elements: usize,
}

/// Takes gradients as a backward pass makes them.
pub(super) struct Sink {
    ledger: Ledger,
    /// Whether all gradients have buffers of their own.
    keeps: bool,
    free: Vec<Held>,
    begun: Vec<(usize, Held)>,
    filled: Vec<usize>,
}

impl Sink {
    pub(super) fn new(ledger: &Ledger, keeps: bool) -> Self {
        Self { ledger: ledger.clone(), keeps, free: vec![], begun: vec![], filled: vec![] }
    }

    /// Makes room for a gradient; says whether one is there already.
    pub(super) fn receive(&mut self, slot: Slot) -> bool {
        let Slot { number, elements } = slot;
        if self.keeps {
            let known = self.filled.contains(&number);
            self.filled.push(number);
            return known;
        }
        if self.begun.iter().any(|(begun, _)| *begun == number) {
            return true;
        }
        let bytes = 4 * elements as u64;
        let known = self.free.iter().position(|buffer| buffer.bytes() == bytes);
        let buffer = known.map_or_else(|| self.ledger.hold(bytes), |index| self.free.swap_remove(index));
        self.begun.push((number, buffer));
        false
    }

    /// The pass is done with the weight.
    pub(super) fn complete(&mut self, slot: Slot) {
        if let Some(index) = self.begun.iter().position(|(begun, _)| *begun == slot.number) {
            self.free.push(self.begun.swap_remove(index).1);
        }
    }
}
