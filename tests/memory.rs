//! How much memory a run takes, phase by phase: affine in the micro-batch, and less by what is not kept.
//!
//! Peaks are those of [`probe`]: optimizer steps, an evaluation and a checkpoint, as `fit` measures
//! them. They belong to the whole process, so the tests run one after the other. The number of
//! threads is set: products pack a part of their input for each.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]
#![expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use candle_core::DType;
use diapason::arch::{ModelConfig, ParameterSpec, parameters};
use diapason::data::{CleaningReport, Dataset, Example, cache};
use diapason::device::{self, CountingAllocator};
use diapason::model::{Decoder, write_model};
use diapason::space::{
    ALL_LINEAR, BatchPlan, BlockFormat, DeviceSpec, Hyperparams, LoraSettings, Optimizer, Precision, Schedule,
};
use diapason::train::{ProbeTask, probe};
use diapason::trial::{Measurement, Phase, Task, TrainSpec, TrialSpec};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// One test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The same threads for all tests: what one of a pool that ends still holds would be seen by the next test.
static POOL: LazyLock<rayon::ThreadPool> =
    LazyLock::new(|| rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().unwrap());

const THREADS: usize = 2;
const LAYERS: usize = 4;
const WIDTH: usize = 96;
const INNER: usize = 256;
/// So small that the logits' product with the head never is the highest moment of its phase.
const VOCABULARY: u32 = 128;
/// Positions of each example.
const LENGTH: usize = 64;

/// How a run is set up; the micro-batch is what varies.
#[derive(Clone, Copy, Debug)]
struct Setup {
    precision: Precision,
    recompute: bool,
    accumulation: usize,
    max_grad_norm: Option<f64>,
    trained: Trained,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trained {
    Everything,
    /// Adapters, beside a base that is as in its file or in blocks.
    Adapters(Option<BlockFormat>),
}

impl Trained {
    fn lora(self) -> Option<LoraSettings> {
        let Self::Adapters(quantize_base) = self else { return None };
        let targets = vec![ALL_LINEAR.to_owned()];
        Some(LoraSettings { rank: 4, alpha: 8.0, dropout: 0.0, targets, rslora: false, quantize_base })
    }
}

impl Setup {
    /// Whether there are gradient buffers, and an optimizer phase in which they are used.
    const fn has_gradients(self) -> bool {
        self.accumulation > 1 || self.max_grad_norm.is_some() || self.precision.scales_loss()
    }
}

const PLAIN: Setup = Setup {
    precision: Precision::F32,
    recompute: false,
    accumulation: 1,
    max_grad_norm: None,
    trained: Trained::Everything,
};

/// A model and data that are there for as long as a test takes its turn.
struct Folder {
    root: TempDir,
    _turn: MutexGuard<'static, ()>,
}

fn config() -> ModelConfig {
    let json = serde_json::json!({
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": LENGTH, "tie_word_embeddings": true,
    });
    ModelConfig::from_json(&json.to_string()).unwrap()
}

impl Folder {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let this = Self { root: tempfile::tempdir().unwrap(), _turn: turn };
        let model = Decoder::random(config(), 5, Precision::F32, &candle_core::Device::Cpu).unwrap();
        let folder = this.root.path();
        write_model(folder, &model, DType::F32, folder).unwrap();
        // A probe takes the longest examples; here all are alike, in what is scored of them too.
        let ids = |n: u32| (n * 7..).step_by(31).map(|id| id % VOCABULARY).take(LENGTH + 1).collect();
        let example = |n| Example { input_ids: ids(n), prompt_tokens: 9 };
        let split = |count| (0..count).map(example).collect::<Vec<_>>();
        let (train, validation, test) = (split(64), split(64), split(1));
        let report = CleaningReport::default();
        let dataset = Dataset { train, validation, test, report, digest: "d".to_owned() };
        cache::write(&dataset, &this.path("data.safetensors")).unwrap();
        this.peaks(PLAIN, 1);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn spec(&self, setup: Setup, micro_batch_size: usize) -> TrialSpec {
        let batch = BatchPlan { micro_batch_size, gradient_accumulation_steps: setup.accumulation };
        TrialSpec {
            device: DeviceSpec::Cpu { cap: None },
            model: self.root.path().to_owned(),
            dataset: self.path("data.safetensors"),
            hyperparams: Hyperparams { precision: setup.precision, batch, learning_rate: 1e-3 },
            train: TrainSpec {
                seed: 1,
                total_steps: 9,
                schedule: Schedule::Cosine,
                warmup_fraction: 0.1,
                optimizer: Optimizer::AdamW,
                weight_decay: 0.1,
                max_grad_norm: setup.max_grad_norm,
                gradient_checkpointing: setup.recompute,
                validation_examples: 64,
                eval_micro_batch_size: micro_batch_size,
                lora: setup.trained.lora(),
            },
            task: Task::Evaluate,
        }
    }

    /// Most bytes alive in each phase.
    fn peaks(&self, setup: Setup, micro_batch_size: usize) -> BTreeMap<Phase, f64> {
        let spec = self.spec(setup, micro_batch_size);
        let scratch = self.path("scratch");
        let measured = POOL.scope(|_| {
            let device = device::open(&spec.device).unwrap();
            let mut measured = Measurement::default();
            let task = ProbeTask { steps: 2, max_length: None, timed: &[], scratch: &scratch };
            probe(&spec, &*device, task, &mut |event| measured.fold(&event)).unwrap();
            measured
        });
        measured.peaks.iter().map(|peak| (peak.phase, peak.peak_bytes.0 as f64)).collect()
    }

    /// Most bytes alive in any phase.
    fn peak(&self, setup: Setup, micro_batch_size: usize) -> f64 {
        self.peaks(setup, micro_batch_size).values().copied().fold(0.0, f64::max)
    }
}

/// A phase's peak is that of its highest moment, and which moment that is changes with the size: the
/// parts of a product that threads pack grow up to a fixed number of rows each, so do the rows that
/// are narrowed to bf16 or f16 at once. A line holds on one side of such a change. With this model and two
/// threads the last lies at 2432 positions, in f16; logits grow with the rows up to 75 thousand.
const FITTED: [usize; 2] = [40, 52];
const PREDICTED: [usize; 3] = [44, 48, 60];

#[test]
fn a_line_through_two_sizes_predicts_the_peak_of_each_phase_at_others() {
    let folder = Folder::new();
    let bf16 = Setup { precision: Precision::Bf16, ..PLAIN };
    let f16 = Setup { precision: Precision::F16, ..PLAIN };
    let clipped = |setup| Setup { max_grad_norm: Some(1.0), ..setup };
    let again = |setup| Setup { recompute: true, ..setup };
    let cut = |setup| Setup { accumulation: 2, ..setup };
    let blocks = Setup { trained: Trained::Adapters(Some(BlockFormat::Q4_0)), ..PLAIN };
    for setup in [PLAIN, again(cut(PLAIN)), bf16, again(clipped(bf16)), f16, blocks] {
        let [at_low, at_high] = FITTED.map(|size| folder.peaks(setup, size));
        assert_eq!(at_low.len(), if setup.has_gradients() { 7 } else { 6 }, "{at_low:?}");
        for size in PREDICTED {
            for (phase, found) in folder.peaks(setup, size) {
                let slope = (at_high[&phase] - at_low[&phase]) / (FITTED[1] - FITTED[0]) as f64;
                let predicted = at_low[&phase] + slope * (size as f64 - FITTED[0] as f64);
                let off = (found / predicted - 1.0).abs();
                assert!(off < 1e-3, "{setup:?}, {phase:?} at {size}: {found} bytes, not {predicted}");
            }
        }
    }
}

#[test]
fn updates_inside_the_backward_pass_save_the_gradients() {
    let folder = Folder::new();
    let kept = Setup { max_grad_norm: Some(1e9), ..PLAIN };
    let saved = folder.peak(kept, 2) - folder.peak(PLAIN, 2);
    let all: Vec<usize> = parameters(&config()).iter().map(ParameterSpec::elements).collect();
    // One buffer for each size of weight is used again and again.
    let sizes: BTreeSet<&usize> = all.iter().collect();
    let expected = 4.0 * (all.iter().sum::<usize>() - sizes.into_iter().sum::<usize>()) as f64;
    assert!((saved / expected - 1.0).abs() < 0.01, "{saved} of {expected} bytes");
}

#[test]
fn recomputation_saves_what_all_layers_but_one_would_keep() {
    let folder = Folder::new();
    let (size, again) = (28, Setup { recompute: true, ..PLAIN });
    let backward = |setup| folder.peaks(setup, size)[&Phase::Backward];
    let saved = backward(PLAIN) - backward(again);
    // Queries and the middle; keys and values, half as wide; gate and up.
    let a_position = 2 * WIDTH + 2 * WIDTH / 2 + 2 * INNER;
    let kept = (4 * (LAYERS - 1) * size * LENGTH * a_position) as f64;
    assert!((saved / kept - 1.0).abs() < 1e-3, "{saved} of {kept} bytes");
    assert!(folder.peak(PLAIN, size) - folder.peak(again, size) > 0.9 * kept);
}

/// 34 bytes for 32 values instead of 128, in every phase: none holds the values of a whole matrix.
#[test]
fn a_base_in_blocks_saves_what_its_values_would_take() {
    let folder = Folder::new();
    let peaks = |base| folder.peaks(Setup { trained: Trained::Adapters(base), ..PLAIN }, 8);
    let (plain, blocks) = (peaks(None), peaks(Some(BlockFormat::Q8_0)));
    let is_linear = |spec: &ParameterSpec| spec.is_matrix() && spec.name.contains(".layers.");
    let all = parameters(&config());
    let values: usize = all.iter().filter(|spec| is_linear(spec)).map(ParameterSpec::elements).sum();
    let expected = values as f64 * (4.0 - 34.0 / 32.0);
    for (phase, plain) in &plain {
        let saved = plain - blocks[phase];
        // While it is loaded, one matrix is there twice.
        let tolerance = if *phase == Phase::Load { 0.2 } else { 5e-3 };
        assert!((saved / expected - 1.0).abs() < tolerance, "{phase:?}: {saved} of {expected} bytes");
    }
}
