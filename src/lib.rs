//! Diapason finds how to fine-tune a language model on the hardware at hand, then does it.
//!
//! A *study* takes a model, a data set and a device. It finds the largest feasible batch by
//! running it, searches precision, batch and learning rate by short trials, trains the best
//! configuration over its full horizon, quantizes the result and reports what every step cost.
//!
//! # The map
//!
//! Data flows space → search → trial → store → report. A module imports only modules listed
//! above it; `tests/architecture.rs` holds the exact table and the doors of each outside crate.
//!
//! | module | its question |
//! |---|---|
//! | [`units`] | How are quantities told apart and printed? |
//! | [`files`] | How is a file whole or not there? |
//! | [`fingerprint`] | What was this made from? |
//! | [`spelling`] | Which name was meant? |
//! | [`space`] | What may vary: study file, search space, one point of it? |
//! | [`trial`] | What is one run asked, what does it say, how did it end? |
//! | [`search`] | What is probed, suggested, promoted and confirmed next, and when does it end? |
//! | [`arch`] | What is a model: configuration, shapes, counts? |
//! | [`memory`] | How many bytes and seconds will a step take on a card that is not here? |
//! | [`device`] | Which machine computes, and how much memory has it? |
//! | [`data`] | How does a file become batches? |
//! | [`model`] | How does a decoder go forward and backward? |
//! | [`hub`] | How does a model's name become a folder? |
//! | [`train`] | How do batches become better weights? |
//! | [`quantize`] | How does a model become a GGUF file, and back? |
//! | [`worker`] | How does a child obey a trial's specification? |
//! | [`executor`] | How does the driver run a child? |
//! | [`store`] | What has happened, and is it on disk? |
//! | [`report`] | What does a person see of it? |
//! | [`study`] | What is done next, until all is done? |
//! | [`doctor`] | Is this machine sound? |
//! | [`cli`] | What was typed, and what is printed? |
//!
//! # Invariants
//!
//! 1. `space`, `trial`, `search`, `arch` and `memory` touch no clock, file, device or global random generator.
//! 2. A suggestion is a function of (space, history, seed): to resume is to replay.
//! 3. History is append-only; an ended rung never changes.
//! 4. Running out of memory is an observation; a point known not to fit is never proposed again.
//! 5. Each event is durable before the decision that rests on it.
//! 6. Only `cli` prints; a study emits [`study::StudyEvent`]s.
//! 7. A batch size that is returned was run and passed.
//! 8. Every trainable tensor receives a finite gradient, or the run does not start.
//!
//! # Example
//!
//! ```
//! use diapason::search::{Plane, Task};
//! use diapason::space::Study;
//! use diapason::trial::History;
//!
//! let text = "[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n";
//! let study = Study::from_toml(text, "my-study.toml".as_ref())?;
//! assert_eq!(study.name, "my-study");
//! // The same history gives the same suggestion, always.
//! let suggested = || Plane::new(&study, &Task::default(), &History::default()).suggest(&|_| true);
//! assert_eq!(suggested(), suggested());
//! # Ok::<(), diapason::space::StudyFileError>(())
//! ```

pub mod arch;
pub mod cli;
pub mod data;
pub mod device;
pub mod doctor;
pub mod executor;
pub mod files;
pub mod fingerprint;
pub mod hub;
pub mod memory;
pub mod model;
pub mod quantize;
pub mod report;
pub mod search;
pub mod space;
pub mod spelling;
pub mod store;
pub mod study;
pub mod train;
pub mod trial;
pub mod units;
pub mod worker;
