//! The whole pipeline on a tiny study, through the real program and its trial protocol.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

#[path = "../common/mod.rs"]
mod common;

mod boundary;
mod child;
mod gguf;
mod micro_batches;
mod ranks;
mod stopping;
mod trainers;
mod watched;
mod whole_run;
