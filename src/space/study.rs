//! The checked study: every value is present and in range.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    BatchPlan, DeviceSpec, ExecutorSettings, FitSettings, FloatDomain, GpuSection, LoraSettings, Optimizer,
    Precision, PrunerKind, SamplerKind, TrainerSettings,
};
use crate::units::Bytes;

/// A study that cannot be wrong: what to tune, on what, and what to make of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Study {
    /// Names the results folder.
    pub name: String,
    /// Every random choice of the study follows from it.
    pub seed: u64,
    /// Where trials run; the first device where there are several.
    pub device: DeviceSpec,
    /// The device of each slot: so many trials run at the same time.
    #[serde(skip_serializing_if = "is_one")]
    pub slots: Vec<DeviceSpec>,
    /// Where the children run.
    #[serde(skip_serializing_if = "ExecutorSettings::is_local")]
    pub executor: ExecutorSettings,
    /// Threads of a trial; one for every processor where none are named.
    pub threads: Option<usize>,
    /// Folder that receives everything the study makes.
    pub output: PathBuf,
    /// Most bytes of that folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_quota: Option<Bytes>,
    /// The base model.
    pub model: ModelSettings,
    /// The data set.
    pub data: DataSettings,
    /// What varies.
    pub space: Space,
    /// How it is searched.
    pub search: SearchSettings,
    /// Folders of past studies whose results correct what is expected beforehand.
    pub learn_from: Vec<PathBuf>,
    /// What the full run has in common with each trial.
    pub train: TrainSettings,
    /// What is asked of the device.
    pub fit: FitSettings,
    /// What is made of the result.
    pub quantize: QuantizeSettings,
    /// Who trains, if it is not this program. Absent from the text by which a study is known again where
    /// there is none, so that studies begun before there were others go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trainer: Option<TrainerSettings>,
    /// Cards beside those of the program's table, for `estimate`.
    pub gpu: BTreeMap<String, GpuSection>,
}

/// One slot goes without saying.
const fn is_one(slots: &[DeviceSpec]) -> bool {
    slots.len() == 1
}

/// Where the base model comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSettings {
    /// One that exists.
    Source(ModelSource),
    /// Random weights and a tokenizer trained on the study's own text.
    New(NewModel),
}

/// An existing model, by the text that names it: a path, or a hub id `owner/name[@revision]`.
///
/// Which of both it is depends on what exists, so it is not decided here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ModelSource {
    /// As it was typed.
    pub typed: String,
    /// The path it is, if it is one: relative to the study file's folder, as seen from here.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Sizes of a model that is trained from nothing (Llama architecture, tied embeddings).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NewModel {
    /// Entries of the byte-level BPE vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
}

/// How a data file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFormat {
    /// Comma-separated with a header row.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Plain text, one document a file; a folder is read in the order of its file names.
    Text,
}

/// Which columns hold what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnMapping {
    /// Found by name: prompt/completion, instruction/output, question/answer, term/definition, text …
    Detect,
    /// Named by the user: loss on the completion only.
    PromptCompletion {
        /// Column of the prompt.
        prompt: String,
        /// Column of the completion.
        completion: String,
    },
    /// Named by the user: one text, loss on all of it.
    Text(String),
}

/// The data set and how it becomes examples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataSettings {
    /// File, or folder of plain text files.
    pub source: PathBuf,
    /// Format of the file.
    pub format: DataFormat,
    /// Columns of a table.
    pub columns: ColumnMapping,
    /// Text between prompt and completion.
    pub separator: String,
    /// Longest example in tokens; a plain text is cut into windows of it.
    pub max_length: usize,
    /// Share of the examples that steers the search.
    pub validation_fraction: f64,
    /// Share of the examples seen only at the end.
    pub test_fraction: f64,
}

/// The search space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Space {
    /// Precisions to try.
    pub precision: Vec<Precision>,
    /// Batch sizes to try.
    pub batch: BatchDomain,
    /// Peak learning rates to try.
    pub learning_rate: FloatDomain,
}

/// Either plane of the batch: what the optimizer sees, or exactly what the device runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchDomain {
    /// Effective sizes; the fastest feasible micro-batch × accumulation is chosen for each.
    Effective(Vec<usize>),
    /// Micro-batch × accumulation exactly as the user listed them.
    Explicit(Vec<BatchPlan>),
}

/// How the space is searched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SearchSettings {
    /// Trials that start at the lowest rung.
    pub trials: usize,
    /// Rungs, the last of which is the full horizon.
    pub rungs: u32,
    /// η: one of so many trials is promoted, and each rung is so many times longer.
    pub reduction_factor: usize,
    /// Most validation examples evaluated in a trial.
    pub validation_examples: usize,
    /// Largest micro-batch worth probing.
    pub max_micro_batch_size: usize,
    /// Most hours that runs may take; none is no limit.
    pub hours: Option<f64>,
    /// Another trial is not worth it whose expected gain is lower; none is no limit.
    pub plateau_nats: Option<f64>,
    /// Who proposes points.
    pub sampler: SamplerKind,
    /// Who decides which trials go on: by their losses, or by the forecast of their full runs.
    pub pruner: PrunerKind,
    /// How the winner is confirmed.
    pub confirm: ConfirmSettings,
}

/// How the best candidates are compared before one of them is trained in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConfirmSettings {
    /// So many of the best are compared; with one the lowest loss wins.
    pub candidates: usize,
    /// Runs of each, if the first tell no winner; each has a seed of its own.
    pub seeds: usize,
}

impl Default for ConfirmSettings {
    /// Two runs of the best two: where they can't be told apart, it costs two runs of the rung below the
    /// full one.
    fn default() -> Self {
        Self { candidates: 2, seeds: 2 }
    }
}

/// Learning-rate schedule after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine down to 10 % of the peak.
    Cosine,
    /// A straight line down to 0.
    Linear,
    /// No decay.
    Constant,
    /// No decay until the last fifth, then down to 0 (warm-up, stable, decay).
    Wsd,
}

/// What every run of the study has in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSettings {
    /// Passes over the training split in the full run.
    pub epochs: f64,
    /// Decay after warm-up.
    pub schedule: Schedule,
    /// Share of all steps in which the learning rate rises linearly.
    pub warmup_fraction: f64,
    /// The optimizer, and how it keeps its moments.
    pub optimizer: Optimizer,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm; `None` leaves them as they are, and lets a
    /// step of one micro-batch update weights inside its backward pass, though not in f16.
    pub max_grad_norm: Option<f64>,
    /// Activations are made again in the backward pass instead of being kept.
    pub gradient_checkpointing: bool,
    /// Evaluations spread over the full run.
    pub evaluations: usize,
    /// Adapters to train instead of all weights.
    pub lora: Option<LoraSettings>,
    /// Whether all devices of the study share the full run; none leaves it to the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_parallel: Option<bool>,
}

/// What is made of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuantizeSettings {
    /// GGUF types, by llama.cpp's names in lower case.
    pub types: Vec<String>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Constant => "constant",
            Self::Wsd => "wsd",
        })
    }
}

impl Space {
    /// The single point of a space in which nothing varies.
    #[must_use]
    pub fn is_single_point(&self) -> bool {
        self.precision.len() == 1 && self.batch.len() == 1 && self.learning_rate.is_fixed()
    }
}

impl BatchDomain {
    /// How many choices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Effective(sizes) => sizes.len(),
            Self::Explicit(plans) => plans.len(),
        }
    }

    /// Never: a checked domain has a choice.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Effective batch size of choice `index`.
    #[must_use]
    pub fn effective(&self, index: usize) -> usize {
        match self {
            Self::Effective(sizes) => sizes[index],
            Self::Explicit(plans) => plans[index].effective_batch_size(),
        }
    }
}
