//! From batches to better weights: schedule, optimizer, steps, evaluation, checkpoints.
//!
//! [`probe`] and [`train`] do what one [`crate::trial::TrialSpec`] asks and say what happens through
//! events. They print nothing and know nothing of processes.

mod after_passes;
mod checkpoint;
mod engine;
mod error;
mod evaluate;
mod gradients;
mod in_backward;
mod loss_scale;
mod noise_scale;
mod optimizer;
mod phases;
mod pool;
mod probe;
mod ranks;
mod schedule;
mod session;
#[cfg(test)]
mod tests;
mod trainer;

pub use engine::{Engine, StepOutcome, StepSettings};
pub use error::TrainError;
pub use evaluate::{Evaluation, evaluate, evaluate_each, evaluate_watched};
pub use gradients::{gradients, read_gradients};
pub use pool::in_pool;
pub use probe::{ProbeTask, probe};
pub use ranks::{Work, as_ranks};
pub use schedule::learning_rate;
pub use trainer::{TrainTask, train, train_as};
