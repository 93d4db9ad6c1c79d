//! What a child says: one JSON object a line on its standard output.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{NoiseSample, Power};
use crate::units::Bytes;

/// One line of the trial protocol. A child ends with exactly one of the last four.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The model is loaded.
    Started {
        /// Device in words.
        device: String,
        /// Number format of the step.
        dtype: String,
        /// Version of this crate.
        version: String,
        /// Step from which a checkpoint is continued; 0 at the start.
        resumed_at_step: usize,
        /// Trainable parameters.
        parameters: u64,
        /// What the device holds for this process besides tensors, where that is known: context and workspaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overhead_bytes: Option<Bytes>,
    },
    /// One optimizer step is done.
    Step(StepEvent),
    /// One evaluation is done.
    Eval(EvalEvent),
    /// The last evaluation of a rung, example by example.
    Examples(ExampleLosses),
    /// A micro-batch size of a probe was timed.
    Timed(SpeedPoint),
    /// The peak of one phase since the last such line.
    Memory {
        /// Which part of the work.
        phase: Phase,
        /// Most bytes alive within the phase.
        peak_bytes: Bytes,
        /// Bytes alive at its end.
        live_bytes: Bytes,
        /// Most bytes the device had set aside for tensors within the phase, alive or not; none where it sets none aside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reserved_bytes: Option<Bytes>,
    },
    /// What the device has drawn and what has slowed it since the rung began, earlier attempts included as far as
    /// their steps count; of several devices, the first.
    Power(Power),
    /// A checkpoint is complete on disk.
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// Optimizer steps it contains.
        step: usize,
    },
    /// All was done.
    Finished,
    /// The device refused memory.
    OutOfMemory {
        /// Bytes of the allocation that was refused, where known.
        requested: Option<Bytes>,
        /// Bytes alive at that moment.
        live: Bytes,
        /// The cap, where there is one.
        cap: Option<Bytes>,
    },
    /// The loss or a gradient is no longer a finite number.
    Diverged {
        /// Step at which it was seen.
        step: usize,
    },
    /// The child knows why it can't go on.
    Failed {
        /// Kind of failure.
        class: FailureClass,
        /// The message a user sees.
        message: String,
    },
}

/// How fast optimizer steps of one micro-batch size were.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpeedPoint {
    /// Examples at once.
    pub micro_batch_size: usize,
    /// Tokens of the timed steps.
    pub tokens: u64,
    /// Wall-clock time of the timed steps.
    pub seconds: f64,
}

/// One optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// Optimizer steps done, from 1.
    pub step: usize,
    /// Mean negative log-likelihood per scored token of the step's examples.
    pub loss_nats: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global gradient norm before clipping; none where the gradients overflowed because the loss is
    /// scaled, as it is in f16, and the update was skipped.
    pub grad_norm: Option<f64>,
    /// ‖Δw‖ / ‖w‖ over all trainable weights together; none where no weight was changed, or a foreign
    /// program does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_ratio: Option<f64>,
    /// What the step's first micro-batch and all of them together tell of the noise of the gradient; none
    /// where there is one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseSample>,
    /// Tokens that went through the model, padding excluded.
    pub tokens: u64,
    /// Wall-clock time of the step.
    pub seconds: f64,
}

/// One evaluation on validation examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalEvent {
    /// Optimizer steps before it.
    pub step: usize,
    /// Mean negative log-likelihood per scored token.
    pub loss_nats: f64,
    /// Scored tokens.
    pub tokens: u64,
    /// Wall-clock time of the evaluation.
    pub seconds: f64,
}

/// What each validation example lost, in the order in which the data set keeps them.
///
/// That order is the same in every run of a study, so two runs can be compared pair by pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExampleLosses {
    /// Negative log-likelihood of each example, summed over its scored tokens.
    pub nats: Vec<f64>,
    /// Scored tokens of each example.
    pub tokens: Vec<u32>,
}

impl ExampleLosses {
    /// Mean negative log-likelihood per scored token.
    #[must_use]
    pub fn loss_nats(&self) -> f64 {
        let tokens: f64 = self.tokens.iter().copied().map(f64::from).sum();
        self.nats.iter().sum::<f64>() / tokens.max(1.0)
    }
}

/// The parts of the work whose memory peaks are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading weights and making optimizer state; also what lies between the other phases.
    Load,
    /// Embedding and decoder layers.
    Forward,
    /// Head and cross-entropy with their gradients.
    Loss,
    /// Decoder layers backwards.
    Backward,
    /// Clipping and the AdamW update.
    Optimizer,
    /// Validation.
    Evaluate,
    /// Writing a checkpoint.
    Checkpoint,
}

impl Phase {
    /// Every phase in the order of a run.
    pub const ALL: [Self; 7] = [
        Self::Load,
        Self::Forward,
        Self::Loss,
        Self::Backward,
        Self::Optimizer,
        Self::Evaluate,
        Self::Checkpoint,
    ];

    /// The name used in tables and the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Forward => "forward",
            Self::Loss => "loss",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
            Self::Evaluate => "evaluate",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// Why a child could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The model's files.
    Model,
    /// The data set's files.
    Data,
    /// The device.
    Device,
    /// A checkpoint or another file of the run.
    Checkpoint,
    /// A defect of the program, such as a tensor without a gradient.
    Internal,
}

impl FailureClass {
    /// The name used in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Data => "data",
            Self::Device => "device",
            Self::Checkpoint => "checkpoint",
            Self::Internal => "internal",
        }
    }
}
