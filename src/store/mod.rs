//! REMEMBER: the SQLite file of one study. The only door of rusqlite, and all of its SQL.
//!
//! Each call is one transaction that outlives the process when it returns. It is on the disk as well, so a decision
//! never rests on an event that a power cut could take away; only the steps of a run that still runs wait for
//! its next checkpoint, evaluation or end. Ended rungs and probes never change; triggers in
//! `schema.sql` hold that against any program that opens the file. One process writes, which
//! [`Lock`] ensures; any number may read. What the records mean is decided elsewhere.

#[cfg(test)]
mod append_only;
mod changes;
mod chronicle;
mod columns;
mod condensed;
mod connection;
mod error;
mod fact;
mod identity;
mod lock;
mod look;
mod measurement;
mod probe;
mod rung;
mod schema;
#[cfg(test)]
pub(crate) mod testing;
mod trial;

pub use chronicle::Chronicle;
pub use connection::Store;
pub use error::StoreError;
pub use identity::StudyIdentity;
pub use lock::{Lock, holder};
pub use look::{EndedRun, RunningRun};
