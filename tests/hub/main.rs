//! Models by hub id, against a small hub on loopback: no test meets the network or the user's cache.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

#[path = "../common/mod.rs"]
mod common;

mod cache;
mod fetched;
mod program;
mod refused;
mod server;
mod transfer;
