//! REMEMBER: the SQLite file of one study. The only door of rusqlite, and all of its SQL.
//!
//! Each call is one transaction that is on the disk when it returns, so a decision never rests on
//! an event that a power cut could take away. Ended rungs and probes never change; triggers in
//! `schema.sql` hold that against any program that opens the file. One process writes, which
//! [`Lock`] ensures; any number may read. What the records mean is decided elsewhere.

#[cfg(test)]
mod append_only;
mod changes;
mod columns;
mod connection;
mod error;
mod fact;
mod identity;
mod lock;
mod measurement;
mod probe;
mod rung;
mod schema;
#[cfg(test)]
pub(crate) mod testing;
mod trial;

pub use connection::Store;
pub use error::StoreError;
pub use identity::StudyIdentity;
pub use lock::Lock;
