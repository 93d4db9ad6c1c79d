//! Loss of the quickstart's model in each precision beside f32's: the proof that none costs more than 1 %.
//!
//! `cargo bench --bench precision_curves` trains the same 200 steps in each precision as a trial of a
//! study does, prints a table, and writes the curves to `results/kept/precision-curves/`. It ends with an
//! error where a precision leaves 1 %.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use diapason::data::{self, Tokenizer};
use diapason::device::{self, CountingAllocator};
use diapason::model::read_config;
use diapason::space::{BatchPlan, DeviceSpec, Hyperparams, ModelSettings, Optimizer, Precision, Study};
use diapason::train::{TrainTask, in_pool, train};
use diapason::trial::{Event, Measurement, Task, TrainSpec, TrialSpec};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The study whose model, data and settings are taken.
const STUDY: &str = "search-spaces/quickstart.toml";
const STEPS: usize = 200;
const BATCH: BatchPlan = BatchPlan { micro_batch_size: 16, gradient_accumulation_steps: 1 };
const LEARNING_RATE: f64 = 1e-3;
/// Steps whose mean loss is compared: a single one's is that of 16 examples.
const WINDOW: usize = 10;
const EVALUATE_EVERY: usize = 10;
/// How far from f32's a loss may be, as a share of it.
const ALLOWED: f64 = 0.01;

#[derive(Parser)]
struct Arguments {
    /// Folder for the curves.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results/kept/precision-curves"))]
    output: PathBuf,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir()?;
    let spec = spec(scratch.path())?;
    let mut runs = Vec::new();
    for precision in Precision::ALL {
        runs.push(Run { precision, measured: in_pool(|| measure(&spec, precision, scratch.path()))? });
    }
    let plain = &runs[0];
    println!("{HEADER}");
    for run in &runs {
        println!("{}", run.row(plain));
    }
    std::fs::create_dir_all(&arguments.output)?;
    write_curves(&arguments.output.join("training.csv"), &runs, Run::losses)?;
    write_curves(&arguments.output.join("validation.csv"), &runs, Run::evaluations)?;
    match runs.iter().find(|run| run.off(plain).into_iter().any(|off| off > ALLOWED)) {
        Some(run) => bail!("{} leaves {} % of f32", run.precision, 100.0 * ALLOWED),
        None => Ok(()),
    }
}

/// What all precisions have in common; the data set is made as a study makes it.
fn spec(scratch: &Path) -> Result<TrialSpec> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join(STUDY);
    let study = Study::from_toml(&std::fs::read_to_string(&file)?, &file)?;
    let ModelSettings::Source(source) = &study.model else { bail!("{STUDY} names no model") };
    let (model, dataset) = (source.path.clone(), scratch.join("data.safetensors"));
    let (config, tokenizer) = (read_config(&model)?, Tokenizer::from_folder(&model)?);
    data::cache::write(&data::prepare(&study.data, study.seed, &tokenizer, &config)?, &dataset)?;
    let settings = &study.train;
    Ok(TrialSpec {
        device: DeviceSpec::Cpu { cap: None },
        model,
        dataset,
        hyperparams: Hyperparams { precision: Precision::F32, batch: BATCH, learning_rate: LEARNING_RATE },
        train: TrainSpec {
            seed: study.seed,
            total_steps: STEPS,
            schedule: settings.schedule,
            warmup_fraction: settings.warmup_fraction,
            optimizer: Optimizer::AdamW,
            weight_decay: settings.weight_decay,
            max_grad_norm: settings.max_grad_norm,
            gradient_checkpointing: false,
            validation_examples: usize::MAX,
            eval_micro_batch_size: BATCH.micro_batch_size,
            lora: None,
        },
        task: Task::Evaluate,
    })
}

fn measure(spec: &TrialSpec, precision: Precision, scratch: &Path) -> Result<Measurement> {
    let hyperparams = Hyperparams { precision, ..spec.hyperparams };
    let spec = TrialSpec { hyperparams, ..spec.clone() };
    let (device, checkpoint) = (device::open(&spec.device)?, scratch.join(precision.name()));
    let mut measured = Measurement::default();
    let task = TrainTask {
        stop_at_step: STEPS,
        evaluate_every: EVALUATE_EVERY,
        checkpoint: &checkpoint,
        best: None,
        examples: false,
    };
    train(&spec, task, &*device, &mut |event: Event| measured.fold(&event))?;
    Ok(measured)
}

const HEADER: &str = "\
| precision | loss of 10 steps, largest difference | validation loss, largest difference | its last value | tokens/s | peak | skipped steps |
|---|---|---|---|---|---|---|";

/// One precision's curves.
struct Run {
    precision: Precision,
    measured: Measurement,
}

impl Run {
    fn losses(&self) -> Vec<(usize, f64)> {
        self.measured.steps.iter().map(|step| (step.step, step.loss_nats)).collect()
    }

    fn evaluations(&self) -> Vec<(usize, f64)> {
        self.measured.evals.iter().map(|eval| (eval.step, eval.loss_nats)).collect()
    }

    /// Mean losses of every [`WINDOW`] steps in a row.
    fn smoothed(&self) -> Vec<f64> {
        let losses: Vec<f64> = self.losses().into_iter().map(|(_, loss)| loss).collect();
        losses.windows(WINDOW).map(|window| window.iter().sum::<f64>() / WINDOW as f64).collect()
    }

    /// Largest differences from `plain`, as shares of its loss: of the smoothed loss, and of validation's.
    fn off(&self, plain: &Self) -> [f64; 2] {
        let largest = |ours: Vec<f64>, plain: Vec<f64>| {
            let off = ours.iter().zip(&plain).map(|(ours, plain)| (ours / plain - 1.0).abs());
            off.fold(if ours.len() == plain.len() { 0.0 } else { f64::INFINITY }, f64::max)
        };
        let evaluated = |run: &Self| run.evaluations().into_iter().map(|(_, loss)| loss).collect();
        [largest(self.smoothed(), plain.smoothed()), largest(evaluated(self), evaluated(plain))]
    }

    fn row(&self, plain: &Self) -> String {
        let [smoothed, validation] = self.off(plain).map(|off| format!("{:.3} %", 100.0 * off));
        let last = self.measured.eval_loss_nats().unwrap_or(f64::NAN);
        let speed = self.measured.tokens_per_second().unwrap_or(f64::NAN);
        let skipped = self.measured.steps.iter().filter(|step| step.grad_norm.is_none()).count();
        let (precision, peak) = (self.precision, self.measured.peak_bytes());
        format!("| {precision} | {smoothed} | {validation} | {last:.4} | {speed:.0} | {peak} | {skipped} |")
    }
}

/// A line a step, a column a precision.
fn write_curves(file: &Path, runs: &[Run], curve: impl Fn(&Run) -> Vec<(usize, f64)>) -> Result<()> {
    let names: Vec<&str> = runs.iter().map(|run| run.precision.name()).collect();
    let mut text = format!("step,{}\n", names.join(","));
    let curves: Vec<Vec<(usize, f64)>> = runs.iter().map(curve).collect();
    for (index, (step, _)) in curves[0].iter().enumerate() {
        write!(text, "{step}")?;
        curves.iter().try_for_each(|curve| write!(text, ",{:.6}", curve[index].1))?;
        text.push('\n');
    }
    std::fs::write(file, text).with_context(|| file.display().to_string())
}
