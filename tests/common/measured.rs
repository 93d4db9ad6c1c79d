//! What a probe of the core really holds, phase by phase, beside what its replay predicts.
//!
//! Peaks belong to the whole process: whoever measures must be alone in it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use candle_core::DType;
use diapason::arch::ModelConfig;
use diapason::data::{CleaningReport, Dataset, Example, cache};
use diapason::device::{self, allocator};
use diapason::memory::{BatchShape, Machine, Processor, TrainingSetup, replay};
use diapason::model::{Decoder, processor, write_model};
use diapason::space::{
    BatchPlan, BlockFormat, DeviceSpec, Hyperparams, LoraSettings, Optimizer, Precision, Schedule,
};
use diapason::train::{ProbeTask, probe};
use diapason::trial::{Event, Measurement, Outcome, PhasePeak, Task, TrainSpec, TrialSpec};
use diapason::units::Bytes;
use tempfile::TempDir;

/// Threads of every measured run: products pack a part of their input for each.
pub(crate) const THREADS: usize = 2;

/// What a run may take beyond its prediction: the program itself, its data set, and what small objects take.
pub(crate) const MARGIN: Bytes = Bytes::mib(1);

static POOL: LazyLock<rayon::ThreadPool> =
    LazyLock::new(|| rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().unwrap());

/// One way to train.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) precision: Precision,
    pub(crate) recompute: bool,
    pub(crate) lora: Option<LoraSettings>,
    pub(crate) optimizer: Optimizer,
    pub(crate) max_grad_norm: Option<f64>,
    pub(crate) accumulation: usize,
    pub(crate) micro_batch: usize,
    /// Tokens that are inputs, in each example.
    pub(crate) length: usize,
}

impl Setting {
    pub(crate) const fn full(precision: Precision, micro_batch: usize, length: usize) -> Self {
        Self {
            precision,
            recompute: false,
            lora: None,
            optimizer: Optimizer::AdamW,
            max_grad_norm: None,
            accumulation: 1,
            micro_batch,
            length,
        }
    }
}

/// Adapters of rank `rank` on `targets`.
pub(crate) fn lora(rank: usize, targets: &[&str], quantize_base: Option<BlockFormat>) -> LoraSettings {
    let targets = targets.iter().map(|name| (*name).to_owned()).collect();
    LoraSettings { rank, alpha: 16.0, dropout: 0.0, targets, rslora: false, quantize_base }
}

/// A model with random weights, in a folder.
pub(crate) struct Model {
    root: TempDir,
    pub(crate) config: ModelConfig,
    file_bytes: u64,
}

impl Model {
    pub(crate) fn new(config: &serde_json::Value, dtype: DType) -> Self {
        let config = ModelConfig::from_json(&config.to_string()).unwrap();
        let root = tempfile::tempdir().unwrap();
        let model = Decoder::random(config.clone(), 5, Precision::F32, &candle_core::Device::Cpu).unwrap();
        write_model(root.path(), &model, dtype, root.path()).unwrap();
        Self { root, config, file_bytes: dtype.size_in_bytes() as u64 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write_data(&self, setting: &Setting) {
        let vocabulary = u32::try_from(self.config.vocab_size).unwrap();
        let ids = (1u32..).step_by(31).map(|id| id % vocabulary).take(setting.length + 1).collect();
        let example = Example { input_ids: ids, prompt_tokens: 1 };
        let (train, validation, test) = (vec![example.clone()], vec![example.clone()], vec![example]);
        let report = CleaningReport::default();
        let dataset = Dataset { train, validation, test, report, digest: "d".to_owned() };
        cache::write(&dataset, &self.path("data.safetensors")).unwrap();
    }

    fn spec(&self, setting: &Setting) -> TrialSpec {
        let batch = BatchPlan {
            micro_batch_size: setting.micro_batch,
            gradient_accumulation_steps: setting.accumulation,
        };
        TrialSpec {
            device: DeviceSpec::Cpu { cap: None },
            model: self.root.path().to_owned(),
            dataset: self.path("data.safetensors"),
            hyperparams: Hyperparams { precision: setting.precision, batch, learning_rate: 1e-4 },
            train: TrainSpec {
                seed: 1,
                total_steps: 9,
                schedule: Schedule::Cosine,
                warmup_fraction: 0.1,
                optimizer: setting.optimizer,
                weight_decay: 0.1,
                max_grad_norm: setting.max_grad_norm,
                gradient_checkpointing: setting.recompute,
                validation_examples: 64,
                eval_micro_batch_size: setting.micro_batch,
                lora: setting.lora.clone(),
            },
            task: Task::Evaluate,
        }
    }

    /// Peak of each phase beyond what the process held before.
    pub(crate) fn measured(&self, setting: &Setting) -> Vec<PhasePeak> {
        self.measurement(setting).peaks
    }

    /// All that a probe says; peaks are beyond what the process held before.
    pub(crate) fn measurement(&self, setting: &Setting) -> Measurement {
        self.write_data(setting);
        let spec = self.spec(setting);
        let scratch = self.path("scratch");
        let before = allocator::live().0;
        let mut measured = POOL.scope(|_| {
            let device = device::open(&spec.device).unwrap();
            let mut measured = Measurement::default();
            let task = ProbeTask { steps: 2, max_length: None, timed: &[], scratch: &scratch };
            probe(&spec, &*device, task, &mut |event| measured.fold(&event)).unwrap();
            measured
        });
        measured.peaks.iter_mut().for_each(|peak| peak.peak_bytes.0 -= before);
        measured
    }

    /// How the same run ends in a child that may hold what was predicted and [`MARGIN`] more.
    pub(crate) fn capped(&self, setting: &Setting) -> Option<Outcome> {
        self.write_data(setting);
        let mut spec = self.spec(setting);
        let cap = Bytes(highest(&self.predicted(setting)) + MARGIN.0);
        spec.device = DeviceSpec::Cpu { cap: Some(cap) };
        spec.task = Task::Probe { steps: 2, max_length: None, timed: vec![], scratch: self.path("scratch") };
        let mut command = Command::new(env!("CARGO_BIN_EXE_diapason"));
        command.arg("worker").env("RAYON_NUM_THREADS", THREADS.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&serde_json::to_vec(&spec).unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        let last = String::from_utf8(output.stdout).unwrap();
        Outcome::from_last_word(&serde_json::from_str::<Event>(last.lines().last()?).unwrap())
    }

    pub(crate) fn predicted(&self, setting: &Setting) -> Vec<PhasePeak> {
        let setup = TrainingSetup {
            config: &self.config,
            precision: setting.precision,
            lora: setting.lora.as_ref(),
            file_bytes: self.file_bytes,
            optimizer: setting.optimizer,
            gradient_checkpointing: setting.recompute,
            keeps_gradients: TrainingSetup::keeps_gradients(
                setting.precision,
                setting.accumulation,
                setting.max_grad_norm,
            ),
        };
        let batch = BatchShape::equal(setting.micro_batch, setting.length);
        let machine = Machine::Processor(Processor { threads: THREADS, ..processor() });
        replay(&setup, machine, &batch, &batch)
    }
}

/// The most bytes of any phase.
pub(crate) fn highest(peaks: &[PhasePeak]) -> u64 {
    peaks.iter().map(|peak| peak.peak_bytes.0).max().unwrap_or(0)
}
