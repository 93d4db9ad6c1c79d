//! How many bytes will a training step take, and how long will it take, on a card that is not here?
//!
//! Everything follows from shapes: no tensor is made, no file read, no device opened. What a probe
//! measures belongs to `search`, what a machine says of itself to `device`.

mod ledger;
pub mod transformers;

pub use ledger::{Held, Ledger};
