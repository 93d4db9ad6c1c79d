//! What a run learns from: read, clean, split, tokenize, cache, batch.
//!
//! [`prepare`] does everything up to a [`Dataset`] of token numbers; [`cache`] keeps it for the
//! children of a study, so that a trial neither reads text nor tokenizes. [`StepPlan`] says which
//! examples an optimizer step sees and [`collate`] pads them. Only the reading of the source, the
//! tokenizer's folder and the cache touch files; all else is a function of its arguments.
//! Nothing here knows a model's weights, or a device.

mod batch;
mod byte_bpe;
pub mod cache;
mod clean;
mod columns;
mod csv_rows;
mod dataset;
mod digest;
mod error;
mod example;
mod jsonl_rows;
mod prepare;
mod rows;
mod shuffle;
mod source;
mod split;
mod step_plan;
#[cfg(test)]
mod testing;
mod tokenizer;

pub use batch::{Batch, IGNORED, collate, longest_first};
pub use byte_bpe::END_TOKEN;
pub use clean::{CleaningReport, clean};
pub use dataset::Dataset;
pub use error::{DataError, Place};
pub use example::Example;
pub use prepare::{prepare, tokenize};
pub use rows::{Row, read_rows};
pub use source::files as source_files;
pub use split::{Split, split};
pub use step_plan::StepPlan;
pub use tokenizer::{TOKENIZER_FILES, Tokenizer};
