//! What the driver asks of one child process.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::space::{DeviceSpec, Hyperparams, LoraSettings, Optimizer, Schedule};

/// One request to a child, sent as one JSON object on its standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialSpec {
    /// Where to run, and the cap.
    pub device: DeviceSpec,
    /// Base model in the Hugging Face layout; a GGUF file may be evaluated too.
    pub model: PathBuf,
    /// Tokenized data set written by `data::cache`.
    pub dataset: PathBuf,
    /// What varies.
    pub hyperparams: Hyperparams,
    /// What all runs of the study share.
    pub train: TrainSpec,
    /// What to do.
    pub task: Task,
}

/// The part of a specification that all runs of a study share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// Seed of shuffling.
    pub seed: u64,
    /// Optimizer steps of the full run: the schedule is pinned to it in every rung.
    pub total_steps: usize,
    /// Decay after warm-up.
    pub schedule: Schedule,
    /// Share of `total_steps` in which the learning rate rises.
    pub warmup_fraction: f64,
    /// The optimizer, and how it keeps its moments.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// Global norm to which gradients are scaled down; `None` for no clipping.
    pub max_grad_norm: Option<f64>,
    /// Activations are made again in the backward pass instead of being kept.
    pub gradient_checkpointing: bool,
    /// Most validation examples per evaluation.
    pub validation_examples: usize,
    /// Examples per evaluation pass.
    pub eval_micro_batch_size: usize,
    /// Adapters to train instead of all weights.
    pub lora: Option<LoraSettings>,
}

/// What a child is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Task {
    /// Measure memory and speed at the worst the real run will meet: the longest examples,
    /// optimizer steps after accumulation, an evaluation, a checkpoint.
    Probe {
        /// Optimizer steps to run.
        steps: usize,
        /// Longer examples are cut to so many tokens.
        #[serde(default)]
        max_length: Option<usize>,
        /// Smaller micro-batches whose speed is measured at the end.
        #[serde(default)]
        timed: Vec<usize>,
        /// Folder for the checkpoint that is part of the measurement; removed at the end.
        scratch: PathBuf,
    },
    /// Train from the start, or from the checkpoint if there is one, up to a step.
    ///
    /// A checkpoint can be ahead of what the driver has recorded: both may have been killed while
    /// events were on their way. So a child that goes on towards the same `stop_at_step` says
    /// again, after `started`, every step and evaluation on the way to it that the checkpoint
    /// holds.
    Train {
        /// Stop after this optimizer step; a prefix of `total_steps`.
        stop_at_step: usize,
        /// Evaluate after every so many steps, and always at the end.
        evaluate_every: usize,
        /// Folder of the checkpoint to resume from and to write.
        checkpoint: PathBuf,
        /// Also keep the weights of the best evaluation here, in the Hugging Face layout.
        best: Option<PathBuf>,
        /// Also say the last evaluation example by example.
        #[serde(default)]
        examples: bool,
        /// Further devices that train with the child's own: each has a copy of the model and does an equal share of
        /// every step, whose size is that of `hyperparams` for all together. On the processor the cap of the
        /// child's own device is that of the process.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also_on: Vec<DeviceSpec>,
    },
    /// The gradient of every trainable weight, over one micro-batch of the longest examples and in one pass; the
    /// loss of the pass is said as an evaluation.
    Gradients {
        /// File that receives the gradients in f32, each by the name of its weight.
        file: PathBuf,
        /// The pass is composed of tensor operations, as on a device without kernels, also on the processor.
        composed: bool,
    },
    /// Loss of `model` (a folder, or a GGUF file) on the test split.
    Evaluate,
}

impl TrainSpec {
    /// Optimizer steps in which the learning rate rises.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of the steps, which are far below 2^52"
    )]
    pub fn warmup_steps(&self) -> usize {
        (self.warmup_fraction * self.total_steps as f64).round() as usize
    }
}

impl Task {
    /// The folder that belongs to the run alone: of its checkpoint, or of what only the measurement needs.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Probe { scratch, .. } => Some(scratch),
            Self::Train { checkpoint, .. } => Some(checkpoint),
            Self::Gradients { .. } | Self::Evaluate => None,
        }
    }

    /// Whether it is one that a foreign trainer is asked: it knows neither our gradients nor our test split.
    #[must_use]
    pub const fn is_of_trainers(&self) -> bool {
        matches!(self, Self::Probe { .. } | Self::Train { .. })
    }
}
