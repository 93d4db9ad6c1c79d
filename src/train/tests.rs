//! A run that was cut and goes on is the run that was not.

use std::path::{Path, PathBuf};

use candle_core::DType;

use super::session::Session;
use super::{TrainTask, train};
use crate::arch::ModelConfig;
use crate::data::{CleaningReport, Dataset, Example, cache};
use crate::device;
use crate::model::{Decoder, elsewhere, read_adapter, read_config, read_weights, write_folder};
use crate::space::{
    BatchPlan, BlockFormat, DeviceSpec, Hyperparams, LoraSettings, Optimizer, Precision, Schedule,
};
use crate::trial::{Event, ExampleLosses, Task, TrainSpec, TrialSpec};

mod composed_memory;
mod engine;
mod loss_scale;
mod meters;
mod power;
mod ranks;

const EVALUATE_EVERY: usize = 2;

/// A tiny model and 24 examples, what is trained of it, and how.
struct Folder {
    root: tempfile::TempDir,
    lora: Option<LoraSettings>,
    precision: Precision,
    optimizer: Optimizer,
}

impl Folder {
    fn new() -> Self {
        Self::of_width(32)
    }

    fn of_width(hidden: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let json = format!(
            r#"{{"model_type":"llama","vocab_size":19,"hidden_size":{hidden},"intermediate_size":64,
            "num_hidden_layers":1,"num_attention_heads":4}}"#
        );
        let config = ModelConfig::from_json(&json).unwrap();
        let device = candle_core::Device::Cpu;
        let model = Decoder::random(config.clone(), 5, Precision::F32, &device).unwrap();
        write_folder(folder.path(), &config, &model.weights(), DType::F32, folder.path()).unwrap();
        let example = |n: u32| Example {
            input_ids: (0..4 + n % 5).map(|i| (i * 7 + n) % 19).collect(),
            prompt_tokens: 2,
        };
        let split = |from: u32, to: u32| (from..to).map(example).collect::<Vec<_>>();
        let (train, validation, test) = (split(0, 24), split(24, 28), split(28, 32));
        let report = CleaningReport::default();
        let dataset = Dataset { train, validation, test, report, digest: "d".to_owned() };
        cache::write(&dataset, &folder.path().join("data.safetensors")).unwrap();
        Self { root: folder, lora: None, precision: Precision::F32, optimizer: Optimizer::AdamW }
    }

    /// Adapters on two linear layers, with dropout.
    fn with_adapters() -> Self {
        let targets = vec!["q_proj".to_owned(), "down_proj".to_owned()];
        let lora =
            LoraSettings { rank: 2, alpha: 4.0, dropout: 0.2, targets, rslora: false, quantize_base: None };
        Self { lora: Some(lora), ..Self::new() }
    }

    /// Some matrices are large enough that their moments are kept in codes.
    fn with_codes() -> Self {
        Self { optimizer: Optimizer::AdamW8Bit, ..Self::of_width(64) }
    }

    /// Adapters on a base in blocks.
    fn with_adapters_on_blocks() -> Self {
        let plain = Self::with_adapters();
        let in_blocks = |lora| LoraSettings { quantize_base: Some(BlockFormat::Q4_0), ..lora };
        Self { lora: plain.lora.map(in_blocks), ..plain }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn spec(&self) -> TrialSpec {
        let batch = BatchPlan { micro_batch_size: 2, gradient_accumulation_steps: 2 };
        TrialSpec {
            device: DeviceSpec::Cpu { cap: None },
            model: self.root.path().to_owned(),
            dataset: self.path("data.safetensors"),
            hyperparams: Hyperparams { precision: self.precision, batch, learning_rate: 1e-2 },
            train: TrainSpec {
                seed: 1,
                total_steps: 12,
                schedule: Schedule::Cosine,
                warmup_fraction: 0.1,
                optimizer: self.optimizer,
                weight_decay: 0.1,
                max_grad_norm: Some(1.0),
                gradient_checkpointing: false,
                validation_examples: 4,
                eval_micro_batch_size: 2,
                lora: self.lora.clone(),
            },
            task: Task::Evaluate,
        }
    }

    /// Trains to `stop_at_step` in the checkpoint `name`; all events but those about memory.
    fn train(&self, name: &str, stop_at_step: usize) -> Vec<Event> {
        self.train_keeping(name, stop_at_step, None)
    }

    fn train_keeping(&self, name: &str, stop_at_step: usize, best: Option<&Path>) -> Vec<Event> {
        let spec = self.spec();
        let device = device::open(&spec.device).unwrap();
        let (checkpoint, mut events) = (self.path(name), Vec::new());
        let checkpoint: &Path = &checkpoint;
        let task =
            TrainTask { stop_at_step, evaluate_every: EVALUATE_EVERY, checkpoint, best, examples: true };
        train(&spec, task, &*device, &mut |event| events.push(event)).unwrap();
        events.retain(|event| !matches!(event, Event::Memory { .. }));
        events
    }
}

/// Steps and evaluations with their losses.
fn losses(events: &[Event]) -> Vec<(char, usize, u64)> {
    let loss = |event: &Event| match event {
        Event::Step(step) => Some(('s', step.step, step.loss_nats.to_bits())),
        Event::Eval(eval) => Some(('e', eval.step, eval.loss_nats.to_bits())),
        _ => None,
    };
    events.iter().filter_map(loss).collect()
}

/// The lowest loss of an evaluation.
fn lowest(events: &[Event]) -> f64 {
    let evaluations = losses(events).into_iter().filter(|(kind, ..)| *kind == 'e');
    evaluations.map(|(.., loss)| f64::from_bits(loss)).fold(f64::MAX, f64::min)
}

/// What was told of each example.
fn examples(events: &[Event]) -> Vec<&ExampleLosses> {
    let mut told = Vec::new();
    for event in events {
        if let Event::Examples(losses) = event {
            told.push(losses);
        }
    }
    told
}

#[test]
fn the_last_evaluation_of_a_rung_is_told_example_by_example_and_told_again() {
    let folder = Folder::new();
    for stop in [4, 12] {
        let events = folder.train("trial", stop);
        let [told] = examples(&events)[..] else { panic!("{events:?}") };
        let Some(Event::Eval(last)) = events.iter().rfind(|event| matches!(event, Event::Eval(_))) else {
            panic!("{events:?}")
        };
        assert_eq!(last.step, stop);
        assert!((told.loss_nats() - last.loss_nats).abs() < 1e-9, "{told:?} {last:?}");
        // The validation split as it is kept: examples of 8, 4, 5 and 6 tokens behind a prompt of two.
        assert_eq!(told.tokens, [6, 2, 3, 4]);
        // A driver that was killed may not have heard it.
        assert_eq!(examples(&folder.train("trial", stop)), [told]);
    }
}

#[test]
fn rungs_one_after_the_other_are_the_full_run_to_the_last_bit() {
    let folders =
        [Folder::new(), Folder::with_adapters(), Folder::with_adapters_on_blocks(), Folder::with_codes()];
    for folder in folders {
        let whole = folder.train("whole", 12);
        let parts: Vec<Event> = [4, 8, 12].into_iter().flat_map(|stop| folder.train("parts", stop)).collect();
        assert_eq!(losses(&parts), losses(&whole));
    }
}

/// Every kernel refuses a tensor of a device that has none, so a whole run that ends well has reached none.
#[test]
fn on_a_device_without_kernels_a_whole_run_reaches_none_of_them() {
    let narrow = |precision| Folder { precision, ..Folder::new() };
    for folder in [
        Folder::new(),
        narrow(Precision::Bf16),
        narrow(Precision::F16),
        Folder::with_adapters(),
        Folder::with_adapters_on_blocks(),
        Folder::with_codes(),
    ] {
        let best = folder.path("best");
        let last = |events: Vec<Event>| events.into_iter().rfind(|event| matches!(event, Event::Eval(_)));
        let composed = elsewhere::pretended(|| {
            folder.train_keeping("composed", 4, Some(&best));
            last(folder.train_keeping("composed", 8, Some(&best)))
        });
        folder.train("ours", 4);
        let ours = last(folder.train("ours", 8));
        let (Some(Event::Eval(composed)), Some(Event::Eval(ours))) = (composed, ours) else {
            panic!("both are evaluations")
        };
        let tolerance = if folder.precision == Precision::F32 { 1e-3 } else { 3e-2 };
        assert!((composed.loss_nats - ours.loss_nats).abs() < tolerance, "{composed:?} {ours:?}");
    }
}

#[test]
fn adapters_are_kept_beside_the_model_they_are_merged_into() {
    let folder = Folder::with_adapters();
    let best = folder.path("best");
    let events = folder.train_keeping("trial", 12, Some(&best));
    let Event::Started { parameters, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(*parameters, 2 * (32 + 32) + 2 * (64 + 32));
    let config = read_config(&best).unwrap();
    let (lora, adapters) = read_adapter(&best.join("adapter"), &config).unwrap();
    assert_eq!(Some(&lora).map(|lora| (lora.rank, lora.targets.len())), Some((2, 2)));
    let base = read_weights(folder.root.path(), &config).unwrap();
    let decoder = |weights| Decoder::new(config.clone(), weights, Precision::F32, &candle_core::Device::Cpu);
    let merged = decoder(read_weights(&best, &config).unwrap()).unwrap();
    let plain = decoder(base.clone()).unwrap();
    let beside = decoder(base).unwrap().with_adapter_weights(&lora, adapters).unwrap();
    let examples: Vec<Example> = cache::read(&folder.path("data.safetensors")).unwrap().validation;
    let loss = |model: &Decoder| super::evaluate(model, &examples, 2).unwrap().loss_nats();
    assert!((loss(&merged) - loss(&beside)).abs() < 1e-6, "{} {}", loss(&merged), loss(&beside));
    assert!((lowest(&events) - loss(&beside)).abs() < 1e-6);
    assert!(loss(&plain) > loss(&beside) + 1e-4, "{} {}", loss(&plain), loss(&beside));
}

/// The adapters have learned beside the quantized base, so it is that base they are merged into.
#[test]
fn the_model_of_adapters_on_blocks_is_what_was_evaluated() {
    let folder = Folder::with_adapters_on_blocks();
    let best = folder.path("best");
    let events = folder.train_keeping("trial", 12, Some(&best));
    let config = read_config(&best).unwrap();
    let merged = read_weights(&best, &config).unwrap();
    let merged = Decoder::new(config, merged, Precision::F32, &candle_core::Device::Cpu).unwrap();
    let examples: Vec<Example> = cache::read(&folder.path("data.safetensors")).unwrap().validation;
    let loss = super::evaluate(&merged, &examples, 2).unwrap().loss_nats();
    assert!((lowest(&events) - loss).abs() < 1e-6, "{loss}");
}

/// Else the longest examples, which come first, would stand for all in the noise of the gradient.
#[test]
fn each_step_begins_with_another_of_its_micro_batches() {
    let (folder, examples) = (Folder::new(), [0, 1, 2, 3, 4, 5]);
    let spec = folder.spec();
    let device = device::open(&spec.device).unwrap();
    let session = Session::open(&spec, (&*device, device::Rank::alone()), None, &mut |_| ()).unwrap();
    let ids = |step| -> Vec<Vec<u32>> {
        session.micro_batches(step, &examples).into_iter().map(|batch| batch.input_ids).collect()
    };
    let [first, second, third] = [3, 4, 5].map(ids);
    assert!(first[0] != second[0] && second[0] != third[0] && third[0] != first[0]);
    for mut step in [second, third] {
        step.sort();
        let mut right = first.clone();
        right.sort();
        assert_eq!(step, right, "all of them are there");
    }
}

#[test]
fn a_child_that_goes_on_says_again_what_the_driver_may_not_have_heard() {
    let folder = Folder::new();
    folder.train("trial", 4);
    let rung = folder.train("trial", 8);
    // The driver was killed before it recorded anything of the rung, or its end.
    let again = folder.train("trial", 8);
    let Event::Started { resumed_at_step, .. } = &again[0] else { panic!("{again:?}") };
    assert_eq!(*resumed_at_step, 8);
    assert_eq!(losses(&again), losses(&rung));
    assert_eq!(losses(&folder.train("trial", 12))[0].1, 9, "a new rung says nothing of the old ones");
}

#[test]
fn a_checkpoint_may_be_moved_but_not_taken_for_another_run() {
    let folder = Folder::new();
    folder.train("trial", 4);
    let mut spec = folder.spec();
    let moved = folder.path("./data.safetensors");
    let device = device::open(&spec.device).unwrap();
    let checkpoint: &Path = &folder.path("trial");
    let task = TrainTask {
        stop_at_step: 6,
        evaluate_every: EVALUATE_EVERY,
        checkpoint,
        best: None,
        examples: false,
    };
    spec.dataset = moved;
    train(&spec, task, &*device, &mut |_| ()).unwrap();
    spec.hyperparams.learning_rate = 2e-2;
    let error = train(&spec, task, &*device, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("run with other settings") && error.contains("hint:"), "{error}");
    spec = TrialSpec { train: TrainSpec { optimizer: Optimizer::AdamW8Bit, ..spec.train }, ..folder.spec() };
    let error = train(&spec, task, &*device, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("run with other settings") && error.contains("hint:"), "{error}");
}
