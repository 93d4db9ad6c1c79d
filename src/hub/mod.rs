//! Models by name: a hub id `owner/name[@revision]` becomes a folder on this machine.
//!
//! [`Source::find`] says what a text names: a path that exists wins, a text of the form
//! `owner/name` is a hub id. [`Hub::fetch`] brings what is needed of a repository, and nothing
//! else, into the cache that Python's `huggingface_hub` keeps, so that each uses what the other has
//! downloaded. A file is in the cache whole or not at all; what was cut goes on where it stopped.
//! Whoever computes gets a folder: a trial never meets the network.
//!
//! `hf-hub` makes the authorized requests and knows the cache's names. Sizes, digests, resumption
//! and the words for what can go wrong are ours.

mod access;
mod cache;
mod error;
mod event;
mod fetch;
mod listing;
mod remote;
mod settings;
mod source;
mod spec;
mod transfer;

pub use access::Access;
pub use error::HubError;
pub use event::{HubEvent, Listener};
pub use fetch::{Fetched, Hub};
pub use settings::HubSettings;
pub use source::Source;
pub use spec::HubSpec;
