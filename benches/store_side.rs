//! The store's side of `benches/peers/store.sh`: one task a process, which prints its seconds as JSON.
//!
//! `cargo bench --bench store_side -- TASK FILE [--trials N] [--values M] [--repeats R]`; the peer's side takes the
//! same. A value is one evaluation: step, loss, tokens and seconds.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use diapason::space::{BatchPlan, Hyperparams, Precision};
use diapason::store::Store;
use diapason::trial::{EvalPoint, Event, Outcome, StepPoint, TrialId};

#[derive(Parser)]
struct Arguments {
    task: Task,
    /// The database.
    file: PathBuf,
    /// Trials to record.
    #[arg(long, default_value_t = 100)]
    trials: u32,
    /// Values of each trial, or appended ones.
    #[arg(long, default_value_t = 100)]
    values: usize,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Task {
    /// Record trials with all of their values, each trial on the disk before the next.
    Record,
    /// Create trials, each on the disk before the next.
    Create,
    /// Append values one by one, each on the disk before the next.
    AppendDurable,
    /// Append values one by one, each of which outlives the process.
    Append,
    /// Open the database of a study.
    Open,
    /// Open it and find the best trial with its parameters.
    Best,
    /// Open it and read every trial with every value.
    All,
    /// Open it and read what the next suggestion rests on.
    History,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (file, trials, values) = (arguments.file.as_path(), arguments.trials, arguments.values);
    let start = Instant::now();
    let seconds = match arguments.task {
        Task::Record => record(file, trials, values)?,
        Task::Create => create(file, trials)?,
        Task::AppendDurable => append(file, values, true)?,
        Task::Append => append(file, values, false)?,
        Task::Open => {
            Store::open(file)?.identity()?;
            start.elapsed().as_secs_f64()
        }
        Task::Best => {
            let history = Store::open_read_only(file)?.history()?;
            history.best().context("a best trial")?;
            start.elapsed().as_secs_f64()
        }
        Task::All => {
            anyhow::ensure!(all(file)? > 0, "no value was read");
            start.elapsed().as_secs_f64()
        }
        Task::History => {
            Store::open_read_only(file)?.history()?;
            start.elapsed().as_secs_f64()
        }
    };
    Ok(writeln!(io::stdout(), "{}", serde_json::json!({ "seconds": seconds }))?)
}

fn record(file: &Path, trials: u32, values: usize) -> Result<f64> {
    let store = Store::open(file)?;
    let start = Instant::now();
    let first = next(&store)?;
    for trial in first..first + trials {
        store.add_trial(trial, &hyperparams(trial))?;
        store.start((trial, 0), values)?;
        let evals: Vec<Event> = (1..=values).map(|step| Event::Eval(value(step, trial))).collect();
        store.append((trial, 0), &evals)?;
        store.finish((trial, 0), &Outcome::Finished)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn create(file: &Path, trials: u32) -> Result<f64> {
    let store = Store::open(file)?;
    let first = next(&store)?;
    let start = Instant::now();
    for trial in first..first + trials {
        store.add_trial(trial, &hyperparams(trial))?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// An evaluation is on the disk at once; a step waits for the next evaluation, checkpoint or end.
fn append(file: &Path, values: usize, durable: bool) -> Result<f64> {
    let store = Store::open(file)?;
    let trial = next(&store)?;
    store.add_trial(trial, &hyperparams(trial))?;
    store.start((trial, 0), values)?;
    let start = Instant::now();
    for step in 1..=values {
        let event = if durable { Event::Eval(value(step, trial)) } else { Event::Step(as_step(step, trial)) };
        store.append((trial, 0), &[event])?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn all(file: &Path) -> Result<usize> {
    let store = Store::open_read_only(file)?;
    let history = store.history()?;
    let runs =
        history.trials.iter().flat_map(|trial| trial.rungs.iter().map(|record| (trial.id, record.rung)));
    runs.map(|run| Ok(store.partial(run)?.evals.len())).sum()
}

fn next(store: &Store) -> Result<TrialId> {
    Ok(TrialId::try_from(store.history()?.trials.len())?)
}

fn hyperparams(trial: TrialId) -> Hyperparams {
    let batch = BatchPlan { micro_batch_size: 8, gradient_accumulation_steps: 2 };
    Hyperparams { precision: Precision::Bf16, batch, learning_rate: 1e-5 * (1.0 + f64::from(trial)) }
}

#[expect(clippy::cast_precision_loss, reason = "steps are few")]
fn loss(step: usize, trial: TrialId) -> f64 {
    4.0 / (1.0 + step as f64) + f64::from(trial % 97) / 97.0
}

fn value(step: usize, trial: TrialId) -> EvalPoint {
    EvalPoint { step, loss_nats: loss(step, trial), tokens: 4096, seconds: 0.25 }
}

fn as_step(step: usize, trial: TrialId) -> StepPoint {
    StepPoint {
        step,
        loss_nats: loss(step, trial),
        learning_rate: 1e-4,
        grad_norm: None,
        update_ratio: None,
        noise: None,
        tokens: 4096,
        seconds: 0.25,
    }
}
