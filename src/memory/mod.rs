//! How many bytes will a training step take, and how long will it take, on a card that is not here?
//!
//! Everything follows from shapes: no tensor is made, no file read, no device opened. What a probe
//! measures belongs to `search`, what a machine says of itself to `device`.

mod advice;
mod answer;
mod blocking;
pub mod gpu;
pub mod kernels;
mod ledger;
mod replay;
pub mod roofline;
pub mod transformers;

pub use advice::{Advice, Change, advice, highest};
pub use answer::{Answer, Beside, OwnCore, Stack, answer};
pub use blocking::{BLOCK_ROWS, Blocking, PACKED, PASS, ProductSize, Tile, WIDEST};
pub use ledger::{Held, Ledger};
pub use replay::{BatchShape, Machine, Processor, TrainingSetup, replay};
