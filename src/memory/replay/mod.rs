//! A training step of our own core, replayed by shapes alone: every allocation, and none of the work.
//!
//! The files stand for those of `model` and `train` and follow them line by line: what is made there is held
//! here, what is dropped there is dropped here. `tests/replay.rs` holds the replay against what the
//! core allocates.

mod attention;
mod card;
mod decoder;
mod layer;
mod machine;
mod ops;
mod processor;
mod projection;
mod setup;
mod sink;
mod stored;

use crate::memory::Ledger;
use crate::trial::{Phase, PhasePeak};
use card::CardOps;
use decoder::Decoder;
use layer::Heads;
pub use machine::{Machine, Processor};
use ops::Ops;
use processor::ProcessorOps;
pub use setup::{BatchShape, TrainingSetup};

/// Most bytes alive in each phase of a run: two steps over `train`, an evaluation of `evaluation`, a
/// checkpoint.
///
/// What a process holds besides (the data set, the pool of threads) is not in it.
#[must_use]
pub fn replay(
    setup: &TrainingSetup,
    machine: Machine,
    train: &BatchShape,
    evaluation: &BatchShape,
) -> Vec<PhasePeak> {
    let ledger = Ledger::new(Phase::Load);
    let ops: Box<dyn Ops> = match machine {
        Machine::Processor(processor) => Box::new(ProcessorOps::new(&ledger, processor, setup.precision)),
        Machine::Card => Box::new(CardOps::new(&ledger, setup.precision)),
    };
    let mut decoder = Decoder::load(setup, machine, &ledger, &*ops);
    for _ in 0..2 {
        decoder.step(train);
        ledger.enter(Phase::Load);
    }
    ledger.enter(Phase::Evaluate);
    decoder.evaluate(evaluation);
    ledger.enter(Phase::Checkpoint);
    decoder.checkpoint();
    ledger.peaks()
}
