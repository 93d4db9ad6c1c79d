//! What is told while a model is fetched.

use std::ops::ControlFlow;

use crate::units::Bytes;

/// Hears what happens, and may ask to stop.
pub type Listener<'a> = dyn FnMut(HubEvent<'_>) -> ControlFlow<()> + 'a;

/// One thing that happened on the way from the hub to the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubEvent<'a> {
    /// It is known what has to be fetched.
    Began {
        /// The model, at its commit.
        model: &'a str,
        /// Files that are not in the cache yet.
        files: usize,
        /// Their size, less what an earlier download left of them.
        bytes: Bytes,
    },
    /// Bytes arrived.
    Progress {
        /// The file.
        file: &'a str,
        /// Bytes of it that are there.
        file_done: Bytes,
        /// Its size.
        file_bytes: Bytes,
        /// Bytes of all files that have arrived.
        done: Bytes,
        /// Bytes of all files that had to be fetched.
        bytes: Bytes,
    },
    /// A file is whole and in the cache.
    FileReady {
        /// The file.
        file: &'a str,
        /// Its size.
        bytes: Bytes,
    },
    /// Another process fetches this file; it is waited for.
    Waiting {
        /// The file.
        file: &'a str,
    },
    /// A request failed and is made again.
    Retrying {
        /// Why it failed.
        reason: &'a str,
    },
    /// Everything is in the cache.
    Ready {
        /// The model, at its commit.
        model: &'a str,
    },
    /// The hub can't be asked; what the cache has is used.
    FromCache {
        /// The model, at its commit.
        model: &'a str,
        /// Why the hub can't be asked.
        reason: &'a str,
    },
}
