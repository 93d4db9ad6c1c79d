//! A tiny model and data set in a temporary folder, and what is asked of children that train it.
//!
//! Small enough to be trained in a second on any processor, large enough that what a process holds besides does not
//! drown what is predicted of its tensors.

use std::error::Error;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::arch::ModelConfig;
use crate::data::{self, CleaningReport, Dataset, Example};
use crate::memory::{BatchShape, Machine, TrainingSetup, replay};
use crate::model;
use crate::space::{
    BatchPlan, DeviceSpec, Hyperparams, LoraSettings, NewModel, Optimizer, Precision, Schedule,
};
use crate::trial::{PhasePeak, Task, TrainSpec, TrialSpec};

const SIZES: NewModel = NewModel {
    vocab_size: 512,
    hidden_size: 256,
    intermediate_size: 640,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
};

/// Tokens of each example.
const LENGTH: usize = 96;
const EXAMPLES: usize = 32;
const SEED: u64 = 7;
/// Examples of one training step, and of the pass whose gradients are compared.
const BATCH: usize = 4;
/// Examples of the step whose memory is measured.
pub(super) const PROBED: usize = 16;
/// Optimizer steps of a training run.
pub(super) const STEPS: usize = 8;

const MAX_GRAD_NORM: Option<f64> = Some(1.0);

/// The folder; it is removed with this value.
#[derive(Debug)]
pub(super) struct Tiny {
    folder: TempDir,
    config: ModelConfig,
}

impl Tiny {
    /// Makes model and data, the same every time.
    pub(super) fn make() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::Builder::new().prefix("diapason-doctor-").tempdir()?;
        let config = ModelConfig::new(&SIZES, 2 * LENGTH, 0)?;
        let tiny = Self { folder, config };
        model::write_random(&tiny.model(), &tiny.config, SEED)?;
        data::cache::write(&dataset(), &tiny.dataset())?;
        Ok(tiny)
    }

    pub(super) fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    fn dataset(&self) -> PathBuf {
        self.folder.path().join("data.safetensors")
    }

    /// A file or folder for one run.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// So many steps of training, an evaluation, a checkpoint.
    pub(super) fn training(&self, device: DeviceSpec, precision: Precision, place: &Path) -> TrialSpec {
        let task = Task::Train {
            stop_at_step: STEPS,
            evaluate_every: STEPS,
            checkpoint: place.to_owned(),
            best: None,
            examples: false,
            also_on: Vec::new(),
        };
        self.spec(device, precision, BATCH, task)
    }

    /// The same with adapters on every linear layer.
    pub(super) fn adapters(&self, device: DeviceSpec, place: &Path) -> TrialSpec {
        let mut spec = self.training(device, Precision::F32, place);
        spec.train.lora = Some(LoraSettings::of_rank(4));
        spec
    }

    /// One pass whose gradients are written to `file`.
    pub(super) fn gradients(
        &self,
        device: DeviceSpec,
        precision: Precision,
        file: &Path,
        composed: bool,
    ) -> TrialSpec {
        self.spec(device, precision, BATCH, Task::Gradients { file: file.to_owned(), composed })
    }

    /// Two steps of the batch whose memory is predicted.
    pub(super) fn probe(&self, device: DeviceSpec, scratch: &Path) -> TrialSpec {
        let task = Task::Probe { steps: 2, max_length: None, timed: vec![], scratch: scratch.to_owned() };
        self.spec(device, Precision::F32, PROBED, task)
    }

    fn spec(
        &self,
        device: DeviceSpec,
        precision: Precision,
        micro_batch_size: usize,
        task: Task,
    ) -> TrialSpec {
        let batch = BatchPlan { micro_batch_size, gradient_accumulation_steps: 1 };
        TrialSpec {
            device,
            model: self.model(),
            dataset: self.dataset(),
            hyperparams: Hyperparams { precision, batch, learning_rate: 2e-3 },
            train: TrainSpec {
                seed: SEED,
                total_steps: STEPS,
                schedule: Schedule::Constant,
                warmup_fraction: 0.0,
                optimizer: Optimizer::AdamW,
                weight_decay: 0.01,
                max_grad_norm: MAX_GRAD_NORM,
                gradient_checkpointing: false,
                validation_examples: BATCH,
                eval_micro_batch_size: BATCH,
                lora: None,
            },
            task,
        }
    }

    /// What [`Self::probe`] will hold in each phase, by shapes alone.
    pub(super) fn predicted(&self, device: DeviceSpec) -> Vec<PhasePeak> {
        let machine = match device {
            DeviceSpec::Cpu { .. } => Machine::Processor(model::processor()),
            DeviceSpec::Cuda { .. } => Machine::Card,
        };
        let setup = TrainingSetup {
            config: &self.config,
            precision: Precision::F32,
            lora: None,
            // A new model is written in bf16.
            file_bytes: 2,
            optimizer: Optimizer::AdamW,
            gradient_checkpointing: false,
            keeps_gradients: TrainingSetup::keeps_gradients(Precision::F32, 1, MAX_GRAD_NORM),
        };
        let shape = |examples| BatchShape::equal(examples, LENGTH - 1);
        replay(&setup, machine, &shape(PROBED), &shape(BATCH))
    }
}

/// Each example counts on by a step of its own: something that a few optimizer steps begin to learn.
fn dataset() -> Dataset {
    let vocabulary = u32::try_from(SIZES.vocab_size).unwrap_or(u32::MAX);
    let example = |n: usize| {
        let (first, step) = (97 * n + 3, 1 + n % 4);
        let ids = (0..LENGTH).map(|t| u32::try_from(first + step * t).unwrap_or_default() % vocabulary);
        Example { input_ids: ids.collect(), prompt_tokens: 0 }
    };
    let mut examples: Vec<Example> = (0..EXAMPLES).map(example).collect();
    let validation = examples.split_off(EXAMPLES - BATCH);
    Dataset {
        train: examples,
        validation,
        test: vec![],
        report: CleaningReport { rows_read: EXAMPLES, kept: EXAMPLES, ..CleaningReport::default() },
        digest: "doctor".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_material_is_the_same_every_time_and_goes_with_its_value() {
        let (one, other) = (Tiny::make().unwrap(), Tiny::make().unwrap());
        for file in ["model/model.safetensors", "data.safetensors"] {
            let bytes = |tiny: &Tiny| std::fs::read(tiny.place(file)).unwrap();
            assert_eq!(bytes(&one), bytes(&other), "{file}");
        }
        let folder = one.place("");
        drop(one);
        assert!(!folder.exists());
    }
}
