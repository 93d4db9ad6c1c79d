//! What the children of a study will hold, by the shapes of its model and its longest examples.

use std::cell::RefCell;
use std::collections::HashMap;

use super::StudyError;
use super::driver::Driver;
use crate::arch::{ModelConfig, parameter_count};
use crate::data;
use crate::device;
use crate::memory::{Advice, BatchShape, Machine, Processor, TrainingSetup, advice, replay};
use crate::model::{self, TensorFiles};
use crate::space::{DeviceSpec, HardwareSetting, LoraSettings, Study};
use crate::trial::PhasePeak;
use crate::units::Bytes;

/// The model and the lengths of its examples.
pub(super) struct Shapes {
    config: ModelConfig,
    file_bytes: u64,
    machine: Machine,
    /// Tokens of each example, the longest first: of the training and of the validation split.
    train: Vec<usize>,
    validation: Vec<usize>,
}

/// What one setting will hold.
pub(super) struct Prediction<'a> {
    shapes: &'a Shapes,
    study: &'a Study,
    setting: HardwareSetting,
    lora: Option<LoraSettings>,
    accumulation: usize,
    known: RefCell<HashMap<usize, Vec<PhasePeak>>>,
}

impl Driver<'_> {
    /// Reads what predictions rest on; nothing where the model's files can't tell it, as with a foreign executor.
    pub(super) fn shapes(&self) -> Result<Option<Shapes>, StudyError> {
        if self.study.own_examples().is_some() {
            return Ok(None);
        }
        let folder = self.base_model();
        let (Ok(config), Ok(files)) = (model::read_config(&folder), TensorFiles::of_model(&folder)) else {
            return Ok(None);
        };
        let dataset = data::cache::read(&self.layout.dataset())?;
        let lengths = |examples: &[data::Example]| {
            let mut lengths: Vec<usize> = examples.iter().map(|example| example.input_ids.len()).collect();
            lengths.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
            lengths
        };
        let slots = self.study.slots.len().max(1);
        let machine = match self.device {
            DeviceSpec::Cpu { .. } => Machine::Processor(Processor {
                threads: self.study.threads.unwrap_or_else(|| (device::threads() / slots).max(1)),
                ..model::processor()
            }),
            DeviceSpec::Cuda { .. } => Machine::Card,
        };
        Ok(Some(Shapes {
            config,
            file_bytes: files.dtype().size_in_bytes() as u64,
            machine,
            train: lengths(&dataset.train),
            validation: lengths(&dataset.validation),
        }))
    }
}

impl Shapes {
    /// Weights of the base model.
    pub(super) fn parameters(&self) -> u64 {
        parameter_count(&self.config)
    }

    pub(super) fn predict<'a>(
        &'a self,
        study: &'a Study,
        setting: HardwareSetting,
        accumulation: usize,
    ) -> Prediction<'a> {
        let lora = study.lora_of(setting);
        Prediction { shapes: self, study, setting, lora, accumulation, known: RefCell::default() }
    }
}

/// The inputs of the longest examples, `size` of them, a small set repeated.
fn longest(lengths: &[usize], size: usize, most: Option<usize>) -> BatchShape {
    let inputs = |length: &usize| most.map_or(*length, |most| most.min(*length)).saturating_sub(1);
    BatchShape { lengths: lengths.iter().map(inputs).cycle().take(size).collect() }
}

impl Prediction<'_> {
    fn setup(&self) -> TrainingSetup<'_> {
        let train = &self.study.train;
        TrainingSetup {
            config: &self.shapes.config,
            precision: self.setting.precision,
            lora: self.lora.as_ref(),
            file_bytes: self.shapes.file_bytes,
            optimizer: train.optimizer,
            gradient_checkpointing: self.setting.gradient_checkpointing,
            keeps_gradients: TrainingSetup::keeps_gradients(
                self.setting.precision,
                self.accumulation,
                train.max_grad_norm,
            ),
        }
    }

    /// The peaks of a run that trains and evaluates so many examples at once.
    pub(super) fn peaks(&self, size: usize) -> Vec<PhasePeak> {
        let make = || {
            let most = self.setting.max_length;
            let train = longest(&self.shapes.train, size, most);
            replay(&self.setup(), self.shapes.machine, &train, &longest(&self.shapes.validation, size, most))
        };
        self.known.borrow_mut().entry(size).or_insert_with(make).clone()
    }

    /// What would make a single example fit, where so many bytes are held besides what shapes tell.
    pub(super) fn advice(&self, budget: Bytes, extra: Bytes) -> Vec<Advice> {
        let length = longest(&self.shapes.train, 1, self.setting.max_length).positions();
        advice(&self.setup(), self.shapes.machine, length, budget, extra)
    }
}
