//! One random setting under a random cap: what `fit` promises of it, and whether that holds.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use diapason::arch::ModelConfig;
use diapason::executor::Local;
use diapason::memory::{BatchShape, Machine, Processor, TrainingSetup, highest, replay};
use diapason::model::processor;
use diapason::search::{Boundary, FrontierPoint};
use diapason::space::{BatchPlan, DeviceSpec, Hyperparams, ModelSettings, Study};
use diapason::study::{Driver, Layout, StudyEvent};
use diapason::trial::{Event, Measurement, Outcome, Task, TrainSpec, TrialSpec};
use diapason::units::Bytes;
use tempfile::TempDir;

/// Threads of every child.
const THREADS: usize = 2;
/// Examples of the table, before some are found too long.
const ROWS: usize = 200;
/// Largest micro-batch that a cap is made for.
const LARGEST: u64 = 40;

/// What became of a promise.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) setting: String,
    pub(crate) point: Option<FrontierPoint>,
    pub(crate) probes: usize,
    pub(crate) refusals: usize,
    /// How one example more ended under what probes may hold; none where the search ended at its limit.
    pub(crate) one_more: Option<Outcome>,
    /// Bytes by which it was over, where it did not run out of memory.
    pub(crate) room: Option<Bytes>,
    /// How a full fine-tune of the largest ended under the cap.
    pub(crate) full_run: Option<Outcome>,
}

/// Numbers that follow from a seed (the finalizer of `SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

/// A study file of random sizes, and the cap left open.
struct Setting {
    text: String,
    max_length: usize,
}

fn setting(random: &mut Random) -> Setting {
    let head = random.one_of(&[16_u64, 32]);
    let (heads, groups) = random.one_of(&[(4, 2), (6, 3), (4, 4), (8, 1)]);
    let hidden = heads * head;
    let max_length = usize::try_from(32 + random.below(160)).unwrap();
    let lora = if random.below(3) == 0 {
        format!("[lora]\nrank = {}\n", random.one_of(&[4, 16]))
    } else {
        String::new()
    };
    let clip = random.one_of(&["max_grad_norm = 0.0", "max_grad_norm = 1.0"]);
    let text = format!(
        "[model.new]\nvocab_size = {}\nhidden_size = {hidden}\nintermediate_size = {}\nnum_hidden_layers = {}\n\
         num_attention_heads = {heads}\nnum_key_value_heads = {groups}\n\
         [data]\nsource = 'rows.csv'\nmax_length = {max_length}\n\
         [space]\nprecision = '{}'\neffective_batch_size = 8\nlearning_rate = 1e-4\n\
         [search]\ntrials = 1\nrungs = 1\nmax_micro_batch_size = 400\n\
         [train]\nepochs = 1\n{clip}\ngradient_checkpointing = {}\noptimizer = '{}'\n{lora}\
         [quantize]\ntypes = []\n",
        random.one_of(&[280, 400, 600]),
        hidden * (2 + random.below(3)),
        1 + random.below(5),
        random.one_of(&["f32", "bf16", "f16"]),
        random.below(2) == 0,
        random.one_of(&["adamw", "adamw_8bit"]),
    );
    Setting { text, max_length }
}

/// Rows of random lengths, most of which fit.
fn table(random: &mut Random, max_length: usize) -> String {
    let mut text = "prompt,completion\n".to_owned();
    for row in 0..ROWS {
        let length = random.below(max_length as u64 * 3 / 2) + 4;
        let words: String =
            (0..length / 4).map(|_| random.one_of(&[" the", " an", " of", " xyz", " quill"])).collect();
        writeln!(text, "word {row},it is{words} {row}").unwrap();
    }
    text
}

/// Bytes that a micro-batch of a random size takes, and some more.
fn cap(random: &mut Random, study: &Study) -> Bytes {
    let new = match &study.model {
        ModelSettings::New(new) => Some(new),
        ModelSettings::Source(_) => None,
    };
    let config = ModelConfig::new(new.unwrap(), 4 * study.data.max_length, 0).unwrap();
    let own = study.trained_as(study.space.precision[0]);
    let lora = study.lora_of(own);
    let setup = TrainingSetup {
        config: &config,
        precision: own.precision,
        lora: lora.as_ref(),
        file_bytes: 2,
        optimizer: study.train.optimizer,
        gradient_checkpointing: own.gradient_checkpointing,
        keeps_gradients: true,
    };
    let size = usize::try_from(1 + random.below(LARGEST)).unwrap();
    let batch = BatchShape::equal(size, study.data.max_length);
    let machine = Machine::Processor(Processor { threads: THREADS, ..processor() });
    let peak = highest(&replay(&setup, machine, &batch, &batch)).peak_bytes;
    Bytes(peak.0 + study.fit.margin.0.0 + random.below(1 << 20))
}

/// Fits the setting of `seed`, then asks for one example more, and for a full fine-tune if `trains`.
pub(crate) fn kept(seed: u64, trains: bool) -> Kept {
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let Setting { text, max_length } = setting(&mut random);
    fs::write(folder.path().join("rows.csv"), table(&mut random, max_length)).unwrap();
    let mut study = Study::from_toml(&text, &folder.path().join("study.toml")).unwrap();
    study.output = folder.path().join("results");
    study.threads = Some(THREADS);
    let cap = cap(&mut random, &study);
    study.device = DeviceSpec::Cpu { cap: Some(cap) };
    let (mut probes, mut refusals) = (0, 0);
    let point = {
        let program = env!("CARGO_BIN_EXE_diapason").into();
        let stop = Arc::new(AtomicBool::new(false));
        let mut executor = Local::new(program, vec!["worker".to_owned()], Duration::from_mins(5), stop)
            .with_threads(Some(THREADS));
        let mut listener = |event: StudyEvent<'_>| {
            if let StudyEvent::ProbeEnded(probe) = event {
                probes += 1;
                refusals += usize::from(probe.outcome != Outcome::Finished);
            }
        };
        let mut driver = Driver::open(&study, &mut executor, &mut listener).unwrap();
        driver.prepare().unwrap();
        driver.fit().ok().and_then(|frontier| frontier.into_iter().next())
    };
    let (mut one_more, mut room, mut full_run) = (None, None, None);
    if let Some(point) = &point {
        let budget = cap.saturating_sub(study.fit.margin.0);
        if point.boundary != Boundary::Limit {
            let (outcome, peak) = more(&folder, &study, point, budget);
            room = (outcome == Outcome::Finished).then(|| budget.saturating_sub(peak));
            one_more = Some(outcome);
        }
        full_run = trains.then(|| full(&folder, &study, point, cap));
    }
    let setting = format!("{} · {} bytes", study.trained_as(study.space.precision[0]), cap.0);
    Kept { setting, point, probes, refusals, one_more, room, full_run }
}

fn spec(study: &Study, point: &FrontierPoint, micro_batch_size: usize, cap: Bytes, task: Task) -> TrialSpec {
    let layout = Layout::new(&study.output);
    let clips = study.train.max_grad_norm.is_some() || point.setting.precision.scales_loss();
    let is_probe = matches!(task, Task::Probe { .. });
    let batch =
        BatchPlan { micro_batch_size, gradient_accumulation_steps: if clips || !is_probe { 1 } else { 2 } };
    TrialSpec {
        device: DeviceSpec::Cpu { cap: Some(cap) },
        model: layout.new_base(),
        dataset: layout.dataset(),
        hyperparams: Hyperparams { precision: point.setting.precision, batch, learning_rate: 1e-4 },
        train: TrainSpec {
            seed: study.seed,
            total_steps: 1000,
            schedule: study.train.schedule,
            warmup_fraction: study.train.warmup_fraction,
            optimizer: study.train.optimizer,
            weight_decay: study.train.weight_decay,
            max_grad_norm: study.train.max_grad_norm,
            gradient_checkpointing: point.setting.gradient_checkpointing,
            validation_examples: 256,
            eval_micro_batch_size: point.max_eval_micro_batch,
            lora: study.lora_of(point.setting),
        },
        task,
    }
}

/// One example more than the largest, under what probes may hold.
fn more(folder: &TempDir, study: &Study, point: &FrontierPoint, budget: Bytes) -> (Outcome, Bytes) {
    let scratch = folder.path().join("scratch");
    let task = Task::Probe { steps: 2, max_length: None, timed: vec![], scratch };
    let mut spec = spec(study, point, point.max_micro_batch + 1, budget, task);
    spec.train.eval_micro_batch_size = 1;
    run(&spec)
}

/// Three passes over all examples, so that the longest stand in every place; with evaluations and checkpoints.
fn full(folder: &TempDir, study: &Study, point: &FrontierPoint, cap: Bytes) -> Outcome {
    let steps = 3 * ROWS.div_ceil(point.max_micro_batch);
    let task = Task::Train {
        stop_at_step: steps,
        evaluate_every: steps.div_ceil(3),
        checkpoint: folder.path().join("checkpoint"),
        best: None,
        examples: false,
        also_on: Vec::new(),
    };
    run(&spec(study, point, point.max_micro_batch, cap, task)).0
}

fn run(spec: &TrialSpec) -> (Outcome, Bytes) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diapason"));
    command.arg("worker").env("RAYON_NUM_THREADS", THREADS.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(spec).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Event> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut measurement = Measurement::default();
    for event in &events {
        measurement.fold(event);
    }
    let crashed =
        Outcome::Crashed { signal: None, exit_code: output.status.code(), stderr_tail: String::new() };
    (events.last().and_then(Outcome::from_last_word).unwrap_or(crashed), measurement.training_peak_bytes())
}
