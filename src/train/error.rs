//! Why a run can't go on.

use std::path::PathBuf;

use crate::data::DataError;
use crate::device::{DeviceError, RankError};
use crate::model::ModelError;

/// Why a training run ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model's files or passes.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data set's files.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The devices that train together.
    #[error(transparent)]
    Ranks(#[from] RankError),
    /// A checkpoint that is damaged or belongs to another run.
    #[error("checkpoint {}: {problem}\n  hint: remove the folder to start this trial from the beginning", file.display())]
    Checkpoint {
        /// The checkpoint's file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A GGUF file that was to be evaluated.
    #[error("{0}")]
    Gguf(String),
    /// A step was given another number of micro-batches than its engine was made for.
    #[error("a step of {found} micro-batches in a run of {expected} per step")]
    MicroBatches {
        /// Micro-batches per step of the run.
        expected: usize,
        /// Micro-batches of the step.
        found: usize,
    },
    /// The threads of a device can't be started.
    #[error("the threads of a device can't be started: {0}")]
    Threads(String),
    /// A step cannot be shared by so many devices.
    #[error(
        "the devices of a run can't share a step of {effective_batch_size} examples evenly: {ranks} devices"
    )]
    Uneven {
        /// Examples of a step.
        effective_batch_size: usize,
        /// Devices.
        ranks: usize,
    },
    /// The loss or a gradient is no longer a finite number.
    #[error("the loss is no longer a finite number at step {step}")]
    Diverged {
        /// Optimizer step at which it was seen.
        step: usize,
    },
}

impl TrainError {
    /// Whether another rank has ended the run, and knows why.
    #[must_use]
    pub const fn is_of_another_rank(&self) -> bool {
        matches!(self, Self::Ranks(RankError::Left { .. }))
    }
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}
