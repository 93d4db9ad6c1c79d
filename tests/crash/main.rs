//! A real study that is killed at any moment and started again is the study that never was killed.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

#[path = "../common/mod.rs"]
mod common;

mod child;
mod found;
mod killed;
mod running;
mod together;
