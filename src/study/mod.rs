//! THE LOOP: prepare → fit → tune → train → quantize → report.
//!
//! Each stage is a function of what the store remembers: it does what is missing and nothing
//! twice, so the same command goes on wherever the last one was stopped. Every event is durable
//! before the decision that rests on it. Nothing is printed: a closed set of [`StudyEvent`]s says
//! what happens.

mod base;
mod base_gguf;
mod breaker;
mod confirm;
mod deadline;
mod disk;
mod driver;
mod error;
mod event;
mod fit;
mod foreign;
mod history;
mod horizon;
mod layout;
mod leftovers;
mod look;
mod origin;
mod predicted;
mod prepare;
mod quantize;
mod report;
mod room;
mod runs;
mod ship;
mod stop;
mod summary;
mod task;
#[cfg(test)]
mod tests;
mod together;
mod train;
mod tune;
mod under_way;

pub use deadline::{CutShort, Deadline};
pub use driver::{Driver, Listener};
pub use error::StudyError;
pub use event::{Stage, StudyEvent};
pub use horizon::{Horizon, horizon};
pub use layout::Layout;
pub use look::{Look, Memory, Plan, RungState, Watcher};
pub use report::read_report;
pub use summary::{
    Best, ConfirmationRun, ConfirmationSummary, Counts, QuantizedFile, Summary, TestLosses, read_summary,
};
