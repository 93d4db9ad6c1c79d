//! An exact fake: memory, speed and loss follow written formulas, and nothing is trained.
//!
//! It keeps the contract of a real child: it resumes from its checkpoint, says again what the
//! driver may not have heard, and leaves the model folder it was asked for. The whole program
//! above the executor is tested on it in milliseconds.

mod scene;
mod weather;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{Executor, ExecutorError, Heard, Job};
use crate::space::{DeviceSpec, Precision};
use crate::trial::{
    EvalEvent, Event, ExampleLosses, FailureClass, Outcome, Phase, SpeedPoint, StepEvent, Task, TrialSpec,
};
use crate::units::Bytes;
pub use scene::Scene;
use scene::{Leaves, Playing};
use weather::Luck;
pub use weather::Weather;

/// A device and a model as formulas.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// Bytes that do not depend on the micro-batch.
    pub fixed: Bytes,
    /// Bytes of one example in f32; bf16 and f16 take half.
    pub per_example: Bytes,
    /// Learning rate with the lowest loss.
    pub best_learning_rate: f64,
    /// Learning rate from which on training diverges.
    pub diverges_at: f64,
    /// How much examples disagree about a learning rate, in nats per token; together they don't.
    pub example_spread: f64,
    /// How much another seed changes the loss.
    pub seed_spread: f64,
    /// Size of the weights in a checkpoint.
    pub weights: Bytes,
    /// Runs, by number from 0 in the order in which they began, that end so whatever the formulas say, halfway
    /// where they train.
    pub script: BTreeMap<usize, Outcome>,
    /// Slots whose every run ends so, as on a device that is broken.
    pub broken: BTreeMap<usize, Outcome>,
    /// Every specification that was run to its end.
    pub specs: Vec<TrialSpec>,
    /// Interrupts the run after so many, halfway where it trains; its evaluations do not arrive,
    /// as when a driver is killed while they are on their way.
    pub interrupt_after: Option<usize>,
    /// How many runs can be under way at once.
    pub slots: usize,
    /// What is free before each run, one answer after the other; then nobody tells.
    pub free: VecDeque<Bytes>,
    /// What the night brings.
    pub weather: Weather,
    /// What is under way.
    pub scene: Scene,
}

/// The checkpoint of a run that has no weights.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// Step at which the rung began.
    begin: usize,
    /// Step at which the rung stops.
    stop: usize,
    /// Steps done.
    step: usize,
}

/// When the virtual clock begins, in seconds since 1970.
const BEGINNING: f64 = 1.7e9;
const CHECKPOINT: &str = "synthetic.json";

impl Synthetic {
    /// Bytes a micro-batch holds at its peak.
    #[must_use]
    pub fn peak(&self, precision: Precision, micro_batch_size: usize) -> Bytes {
        let per_example = match precision {
            Precision::F32 => self.per_example.0,
            Precision::Bf16 | Precision::F16 => self.per_example.0 / 2,
        };
        Bytes(self.fixed.0 + per_example * micro_batch_size as u64)
    }

    /// Evaluation loss after `step` of `total` steps: a valley in the logarithm of the learning
    /// rate, reached as training goes on.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "step counts stay below 2^53")]
    pub fn loss(&self, learning_rate: f64, step: usize, total: usize) -> f64 {
        let distance = (learning_rate / self.best_learning_rate).ln();
        let progress = step as f64 / total.max(1) as f64;
        2.0 + 0.1 * distance * distance + 2.0 * (-3.0 * progress).exp()
    }

    /// Pairs of examples of which one loses more than `loss` and the other as much less.
    fn examples(&self, learning_rate: f64, loss: f64) -> ExampleLosses {
        let each = |pair: u64| {
            let apart = self.example_spread * noise(pair.wrapping_mul(0x9E37) ^ learning_rate.to_bits());
            [loss + apart, loss - apart].map(|loss| loss * f64::from(TOKENS_OF_EXAMPLE))
        };
        let nats: Vec<f64> = (0..EXAMPLES / 2).flat_map(each).collect();
        ExampleLosses { tokens: vec![TOKENS_OF_EXAMPLE; nats.len()], nats }
    }

    /// What a run says and leaves by the formulas; one that `is_cut` trains only half of what it was to.
    fn obey(&self, spec: &TrialSpec, is_cut: bool) -> Result<Played, io::Error> {
        let peak = self.peak(spec.hyperparams.precision, spec.hyperparams.batch.micro_batch_size);
        if let Some(cap) = spec.device.cap().filter(|cap| peak > *cap) {
            return Ok(Played::ended(Outcome::OutOfMemory { requested: None, live: cap, cap: Some(cap) }));
        }
        let checkpoint = resume(spec)?;
        let mut played = Played::ended(Outcome::Finished);
        played.events.push_back(started(checkpoint.step));
        let memory = Event::Memory {
            phase: Phase::Backward,
            peak_bytes: peak,
            live_bytes: self.fixed,
            reserved_bytes: None,
        };
        played.events.push_back(memory);
        match &spec.task {
            Task::Probe { steps, timed, .. } => {
                played.events.push_back(Event::Step(step_event(*steps, 4.0, spec)));
                played.events.extend(timed.iter().map(|micro_batch_size| {
                    let (micro_batch_size, seconds) = (*micro_batch_size, seconds(*micro_batch_size));
                    Event::Timed(SpeedPoint { micro_batch_size, tokens: TOKENS, seconds })
                }));
            }
            Task::Gradients { .. } | Task::Evaluate => {
                played.events.push_back(Event::Eval(eval_event(0, 3.0)));
            }
            Task::Train { .. } => self.train(spec, checkpoint, is_cut, &mut played),
        }
        Ok(played)
    }

    /// Says one step and one evaluation each time it would evaluate.
    fn train(&self, spec: &TrialSpec, mut checkpoint: Checkpoint, is_cut: bool, played: &mut Played) {
        let Task::Train { evaluate_every, checkpoint: folder, best, examples, .. } = &spec.task else {
            return;
        };
        if spec.hyperparams.learning_rate >= self.diverges_at {
            played.outcome = Outcome::Diverged { step: checkpoint.step + 1 };
            return;
        }
        let end = if is_cut { usize::midpoint(checkpoint.step, checkpoint.stop) } else { checkpoint.stop };
        for step in checkpoint.begin + 1..=end {
            if step.is_multiple_of(*evaluate_every) || step == checkpoint.stop {
                let rate = spec.hyperparams.learning_rate;
                let luck = self.seed_spread * noise(spec.train.seed ^ rate.to_bits());
                let loss = self.loss(rate, step, spec.train.total_steps) + luck;
                played.events.push_back(Event::Step(step_event(step, loss, spec)));
                played.events.push_back(Event::Eval(eval_event(step, loss)));
                if *examples && step == checkpoint.stop {
                    played.events.push_back(Event::Examples(self.examples(rate, loss)));
                }
            }
        }
        // One that has come further is asked for its weights alone.
        if end >= checkpoint.step {
            checkpoint.step = end;
            played.leaves.checkpoint = Some((folder.clone(), checkpoint));
            played.leaves.weights = self.weights;
        }
        played.leaves.best = best.as_ref().map(|best| (spec.model.clone(), best.clone()));
    }
}

/// What a run by the formulas says and leaves.
struct Played {
    events: VecDeque<Event>,
    outcome: Outcome,
    leaves: Leaves,
}

impl Played {
    fn ended(outcome: Outcome) -> Self {
        Self { events: VecDeque::new(), outcome, leaves: Leaves::default() }
    }
}

/// Where a run begins: at its checkpoint, if it trains and has one.
fn resume(spec: &TrialSpec) -> Result<Checkpoint, io::Error> {
    let Task::Train { stop_at_step: stop, checkpoint: folder, .. } = &spec.task else {
        return Ok(Checkpoint::default());
    };
    let saved = match fs::read(folder.join(CHECKPOINT)) {
        Ok(json) => serde_json::from_slice(&json)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Checkpoint::default(),
        Err(error) => return Err(error),
    };
    let begin = if saved.stop == *stop { saved.begin } else { saved.step };
    Ok(Checkpoint { begin, stop: *stop, step: saved.step })
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn started(resumed_at_step: usize) -> Event {
    Event::Started {
        device: "synthetic".to_owned(),
        dtype: "f32".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        resumed_at_step,
        parameters: 1,
        overhead_bytes: None,
    }
}

const fn eval_event(step: usize, loss_nats: f64) -> EvalEvent {
    EvalEvent { step, loss_nats, tokens: EXAMPLES * TOKENS_OF_EXAMPLE as u64, seconds: 0.1 }
}

/// Examples of an evaluation, and scored tokens of each.
const EXAMPLES: u64 = 20;
const TOKENS_OF_EXAMPLE: u32 = 5;

/// A number in [-1, 1] that follows from `seed` (the finalizer of `SplitMix64`, Steele et al. 2014).
#[expect(clippy::cast_precision_loss, reason = "noise")]
const fn noise(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Tokens of each step.
const TOKENS: u64 = 1000;

fn take_longer(event: &mut Event, factor: f64) {
    match event {
        Event::Step(step) => step.seconds *= factor,
        Event::Eval(eval) => eval.seconds *= factor,
        Event::Timed(speed) => speed.seconds *= factor,
        _ => {}
    }
}

/// Twice the micro-batch is faster, up to eight.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn seconds(micro_batch_size: usize) -> f64 {
    1.0 / micro_batch_size.min(8) as f64
}

fn step_event(step: usize, loss_nats: f64, spec: &TrialSpec) -> StepEvent {
    let seconds = seconds(spec.hyperparams.batch.micro_batch_size);
    let learning_rate = spec.hyperparams.learning_rate;
    StepEvent {
        step,
        loss_nats,
        learning_rate,
        grad_norm: Some(1.0),
        update_ratio: None,
        noise: None,
        tokens: TOKENS,
        seconds,
    }
}

/// What dies or falls silent halfway has trained before, even if it has not evaluated yet.
fn tell_a_step(events: &mut VecDeque<Event>, spec: &TrialSpec) {
    let Some(Event::Started { resumed_at_step, .. }) = events.front() else { return };
    let step = resumed_at_step + 1;
    if !events.iter().any(|event| matches!(event, Event::Step(_))) {
        events.push_back(Event::Step(step_event(step, 4.0, spec)));
    }
}

impl Executor for Synthetic {
    fn slots(&self) -> usize {
        self.slots
    }

    fn start(&mut self, job: &Job<'_>) -> Result<(), ExecutorError> {
        let number = self.specs.len() + self.scene.runs.len();
        let is_interrupted = self.interrupt_after.is_some_and(|limit| number >= limit);
        let Luck { factor, end: fate, silence } = self.weather.luck(number, &job.spec.task);
        let scripted = self.script.get(&number).or_else(|| self.broken.get(&job.slot)).cloned();
        let is_fate = scripted.is_none() && fate.is_some();
        let scripted = scripted.or(fate);
        let failed =
            |error: io::Error| Outcome::Failed { class: FailureClass::Internal, message: error.to_string() };
        let played = self.obey(job.spec, is_interrupted || scripted.is_some());
        let Played { mut events, outcome, leaves } =
            played.unwrap_or_else(|error| Played::ended(failed(error)));
        if is_interrupted {
            events.retain(|event| !matches!(event, Event::Eval(_) | Event::Examples(_)));
        }
        if is_fate {
            tell_a_step(&mut events, job.spec);
        }
        for event in &mut events {
            take_longer(event, factor);
        }
        let end = (!is_interrupted).then(|| scripted.unwrap_or(outcome));
        let spec = job.spec.clone();
        self.scene.begin(job.slot, Playing { spec, events, end, leaves, silence, time: 0.0 });
        Ok(())
    }

    fn next(&mut self, patience: Option<Duration>) -> Result<Option<(usize, Heard)>, ExecutorError> {
        let next = self.scene.next(patience);
        if next.is_err() {
            self.abandon();
        }
        let Some((slot, heard, ended)) = next? else { return Ok(None) };
        self.specs.extend(ended);
        Ok(Some((slot, heard)))
    }

    fn abandon(&mut self) {
        self.scene.runs.clear();
    }

    fn now(&self) -> f64 {
        BEGINNING + self.scene.clock
    }

    fn free(&mut self, _device: &DeviceSpec, _overhead: Option<Bytes>) -> Option<Bytes> {
        self.free.pop_front()
    }
}
