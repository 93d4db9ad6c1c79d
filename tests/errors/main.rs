//! Bad input, run through the real program: one message that says what, where and what is right.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

#[path = "../common/mod.rs"]
mod common;
mod data;
mod device;
mod help;
mod model;
mod other_commands;
mod refusal;
mod results;
mod study_file;
