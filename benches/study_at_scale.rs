//! A study of a hundred thousand trials: what its database weighs, and how long one waits for it.
//!
//! `cargo bench --bench study_at_scale` makes such a study with ten million points of curves, trains nothing, and
//! prints a table: appends, growth of the file, and the seconds to open it, to resume the search up to its next run,
//! for `status` and for `report`. Each is the median of `--repeats`. `--folder` is on the disk that is measured and is
//! used again if it holds a study; `--made-in` may be a folder in memory, where making it takes minutes less.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use diapason::executor::{ExecutorError, Scene, Synthetic, Weather};
use diapason::space::{BatchPlan, Hyperparams, Precision, Study};
use diapason::store::Store;
use diapason::study::{Driver, Layout, StudyError, Watcher, read_report};
use diapason::trial::{EvalPoint, Event, Outcome, Phase, StepPoint, TrialId};
use diapason::units::Bytes;

#[derive(Parser)]
struct Arguments {
    /// Trials of the study.
    #[arg(long, default_value_t = 100_000)]
    trials: u32,
    /// Points of each trial's curve, of which a tenth are evaluations.
    #[arg(long, default_value_t = 100)]
    points: usize,
    /// Where the study lies that is measured.
    #[arg(long)]
    folder: PathBuf,
    /// Where it is made before it is copied there [default: there].
    #[arg(long)]
    made_in: Option<PathBuf>,
    /// How often each wait is timed.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = &arguments.folder;
    if !Layout::new(&folder.join("results")).database().exists() {
        let made = arguments.made_in.as_ref().unwrap_or(folder);
        make(&arguments, made)?;
        if made != folder {
            copy(made, folder)?;
        }
    }
    appends(&folder.join("appends"))?;
    let study = study(folder, arguments.trials)?;
    let database = Layout::new(&study.output).database();
    say(&format!("| file | {} |", Bytes(fs::metadata(&database)?.len())))?;
    let wait = |name: &str, action: &dyn Fn() -> Result<()>| -> Result<()> {
        let mut seconds = (0..arguments.repeats).map(|_| timed(action)).collect::<Result<Vec<f64>>>()?;
        seconds.sort_by(f64::total_cmp);
        say(&format!("| {name} | {:.3} s |", seconds[seconds.len() / 2]))
    };
    wait("open", &|| {
        Store::open(&database)?;
        Ok(())
    })?;
    wait("history", &|| {
        Store::open_read_only(&database)?.history()?;
        Ok(())
    })?;
    wait("status", &|| {
        Watcher::open(&study)?.look()?;
        Ok(())
    })?;
    wait("resume, to its next run", &|| resume(&study))?;
    wait("report", &|| {
        read_report(&study)?;
        Ok(())
    })?;
    say(&format!("| page | {} |", Bytes(fs::metadata(study.output.join("report.html"))?.len())))
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

fn timed(action: &dyn Fn() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    action()?;
    Ok(start.elapsed().as_secs_f64())
}

/// A study of a tiny model, of which `trials` have ended and one more is to be suggested.
fn study(folder: &Path, trials: u32) -> Result<Study> {
    let text = format!(
        "[study]\ndevice = 'cpu:100MiB'
         [model.new]\nvocab_size = 270\nhidden_size = 8\nintermediate_size = 16
         num_hidden_layers = 1\nnum_attention_heads = 2
         [data]\nsource = 'rows.csv'\nmax_length = 64
         [space]\neffective_batch_size = 8\nprecision = 'f32'
         learning_rate = {{ low = 1e-5, high = 1e-1, log = true }}
         [search]\ntrials = {}\n[quantize]\ntypes = []",
        trials + 1
    );
    let mut study = Study::from_toml(&text, &folder.join("study.toml"))?;
    study.output = folder.join("results");
    Ok(study)
}

/// 10 MiB and 5 MiB an example; ends before the run of that number.
fn device(interrupt_after: Option<usize>) -> Synthetic {
    Synthetic {
        fixed: Bytes::mib(10),
        per_example: Bytes::mib(5),
        best_learning_rate: 1e-3,
        diverges_at: 5e-2,
        example_spread: 0.0,
        seed_spread: 0.0,
        weights: Bytes(0),
        script: std::collections::BTreeMap::new(),
        broken: std::collections::BTreeMap::new(),
        specs: Vec::new(),
        interrupt_after,
        slots: 1,
        free: std::collections::VecDeque::new(),
        weather: Weather::fair(),
        scene: Scene::default(),
    }
}

/// The driver from its start to its first run.
fn resume(study: &Study) -> Result<()> {
    let (mut device, mut listener) = (device(Some(0)), |_: diapason::study::StudyEvent<'_>| {});
    let mut driver = Driver::open(study, &mut device, &mut listener)?;
    driver.prepare()?;
    match driver.tune() {
        Err(StudyError::Executor(ExecutorError::Interrupted)) => Ok(()),
        other => bail!("the search did not come to a run: {other:?}"),
    }
}

/// Prepares and fits the study as a driver does, then records trials as one would.
fn make(arguments: &Arguments, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut rows = "prompt,completion\n".to_owned();
    for n in 0..60 {
        writeln!(rows, "word {n},it means {}", n * 7)?;
    }
    fs::write(folder.join("rows.csv"), rows)?;
    let study = study(folder, arguments.trials)?;
    let (mut device, mut listener) = (device(None), |_: diapason::study::StudyEvent<'_>| {});
    let mut driver = Driver::open(&study, &mut device, &mut listener)?;
    driver.prepare()?;
    driver.fit()?;
    drop(driver);
    let database = Layout::new(&study.output).database();
    let store = Store::open(&database)?;
    let start = Instant::now();
    say("| | |\n|---|---:|")?;
    for trial in 0..arguments.trials {
        record(&store, trial, arguments.points)?;
        if (trial + 1).is_multiple_of((arguments.trials / 4).max(1)) {
            let bytes = fs::metadata(&database)?.len() / u64::from(trial + 1);
            let seconds = start.elapsed().as_secs_f64();
            let trials = trial + 1;
            say(&format!("| {trials} trials recorded | {seconds:.1} s, {bytes} B a trial |"))?;
        }
    }
    Ok(())
}

fn record(store: &Store, trial: TrialId, points: usize) -> Result<()> {
    let share = f64::from(trial).mul_add(0.618_033_988_75, 0.5).fract();
    let learning_rate = 1e-5 * 1e4f64.powf(share);
    let batch = BatchPlan { micro_batch_size: 8, gradient_accumulation_steps: 1 };
    store.add_trial(trial, &Hyperparams { precision: Precision::F32, batch, learning_rate })?;
    store.start((trial, 0), points)?;
    store.append((trial, 0), &curve(points, learning_rate))?;
    let outcome = if share > 0.8 { Outcome::Diverged { step: points } } else { Outcome::Finished };
    Ok(store.finish((trial, 0), &outcome)?)
}

fn curve(points: usize, learning_rate: f64) -> Vec<Event> {
    let evals = points / 10;
    let loss = |step: usize| 4.0 / (1.0 + as_float(step)).sqrt() + (learning_rate.log10() + 3.0).powi(2);
    let started = Event::Started {
        device: "cpu (cap 100 MiB)".to_owned(),
        dtype: "f32".to_owned(),
        version: "0.1.0".to_owned(),
        resumed_at_step: 0,
        parameters: 1_000,
        overhead_bytes: None,
    };
    let steps = (1..=points - evals).map(|step| Event::Step(step_of(step, loss(step), learning_rate)));
    let evals =
        (1..=evals).map(|n| EvalPoint { step: 9 * n, loss_nats: loss(9 * n), tokens: 999, seconds: 0.1 });
    let peak = |phase| Event::Memory {
        phase,
        peak_bytes: Bytes::mib(50),
        live_bytes: Bytes::mib(40),
        reserved_bytes: None,
    };
    let peaks = Phase::ALL.into_iter().map(peak);
    std::iter::once(started).chain(steps).chain(evals.map(Event::Eval)).chain(peaks).collect()
}

const fn step_of(step: usize, loss_nats: f64, learning_rate: f64) -> StepPoint {
    StepPoint {
        step,
        loss_nats,
        learning_rate,
        grad_norm: Some(0.7),
        update_ratio: Some(1e-3),
        noise: None,
        tokens: 512,
        seconds: 0.25,
    }
}

#[expect(clippy::cast_precision_loss, reason = "steps are few")]
const fn as_float(count: usize) -> f64 {
    count as f64
}

/// Events a second as a driver appends them, each by itself.
fn appends(folder: &Path) -> Result<()> {
    const EVENTS: usize = 20_000;
    fs::create_dir_all(folder)?;
    let file = folder.join("study.db");
    for suffix in ["", "-wal", "-shm"] {
        // There may be none.
        let _ = fs::remove_file(folder.join(format!("study.db{suffix}")));
    }
    let store = Store::open(&file)?;
    record(&store, 0, 10)?;
    store.start((0, 1), EVENTS)?;
    let start = Instant::now();
    for step in 1..=EVENTS {
        store.append((0, 1), &[Event::Step(step_of(step, 2.0, 1e-3))])?;
    }
    store.finish((0, 1), &Outcome::Finished)?;
    let seconds = start.elapsed().as_secs_f64();
    say(&format!("| appends, one a call | {:.0} events/s |", as_float(EVENTS) / seconds))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
