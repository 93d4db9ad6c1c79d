//! A real study whose jobs a made-up Slurm runs: what a night brings, and what the driver makes of it.
//!
//! The same on a real Slurm: `tests/slurm/on-slurm.sh`.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

#[path = "../common/mod.rs"]
mod common;

mod cluster;
mod driver;
mod ends;
