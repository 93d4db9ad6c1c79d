//! The whole driver on the exact fake: every stage, every decision, no training.

mod confirm;
mod disk;
mod failures;
mod killed;
mod nights;
mod origin;
mod past;
mod resume;
mod retry;
mod search;
mod slots;
mod stop;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Deadline, Driver, Stage, StudyError, StudyEvent, Summary};
use crate::executor::{Scene, Synthetic, Weather};
use crate::space::{SamplerKind, Study};
use crate::trial::{Confirmation, History, Outcome, RunKey, Task, TrialSpec};
use crate::units::Bytes;

/// Rows of the fixture's table, of which four fifths are trained on.
const ROWS: usize = 60;
/// Largest f32 micro-batch of [`device`] under the study's cap, less the margin of probes.
const LARGEST: usize = 16;

/// A folder with a table; the study makes its own base model.
struct Folder(tempfile::TempDir);

impl Folder {
    /// In memory where the system has such a place: nothing here tests the disk, and thousands of
    /// syncs to it take many seconds.
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.unwrap();
        let mut text = "prompt,completion\n".to_owned();
        for n in 0..ROWS {
            writeln!(text, "word {n},it means {}", n * 7).unwrap();
        }
        fs::write(folder.path().join("rows.csv"), text).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The study of this folder, after `change`.
    fn study(&self, change: impl FnOnce(&mut Study)) -> Study {
        let text = "
            [study]\ndevice = 'cpu:100MiB'\nseed = 3
            [model.new]\nvocab_size = 270\nhidden_size = 8\nintermediate_size = 16
            num_hidden_layers = 1\nnum_attention_heads = 2
            [data]\nsource = 'rows.csv'\nmax_length = 64
            [space]\neffective_batch_size = 8
            learning_rate = { low = 1e-3, high = 1e-1, log = true }
            [search]\ntrials = 9\nrungs = 3\nreduction_factor = 3
            [train]\nepochs = 3\nevaluations = 4
            [quantize]\ntypes = 'f32'";
        let mut study = Study::from_toml(text, &self.path("study.toml")).unwrap();
        study.output = self.path("results");
        change(&mut study);
        study
    }
}

/// 10 MiB and 5 MiB an example, of which 16 fit under the study's cap of 100 MiB.
fn device() -> Synthetic {
    Synthetic {
        fixed: Bytes::mib(10),
        per_example: Bytes::mib(5),
        best_learning_rate: 1e-2,
        diverges_at: 8e-2,
        example_spread: 0.0,
        seed_spread: 0.0,
        weights: Bytes(0),
        script: BTreeMap::new(),
        broken: BTreeMap::new(),
        specs: Vec::new(),
        interrupt_after: None,
        slots: 1,
        free: VecDeque::new(),
        weather: Weather::fair(),
        scene: Scene::default(),
    }
}

/// What a drive to the end found.
#[derive(Debug)]
struct Told {
    stages: Vec<Stage>,
    log: Vec<String>,
    history: History,
    confirmations: Vec<Confirmation>,
    summary: Summary,
}

/// Drives a study as `diapason run` does.
fn drive(study: &Study, device: &mut Synthetic) -> Result<Told, StudyError> {
    drive_until(study, device, None)
}

/// The same with a moment after which the search begins nothing, in seconds since 1970.
fn drive_until(study: &Study, device: &mut Synthetic, deadline: Option<f64>) -> Result<Told, StudyError> {
    drive_by(study, device, deadline.map(|moment| Deadline { moment, covers_ending: false }))
}

fn drive_by(study: &Study, device: &mut Synthetic, deadline: Option<Deadline>) -> Result<Told, StudyError> {
    drive_watched(study, device, deadline, &mut |_| ())
}

/// The same while somebody looks at each event.
fn drive_watched(
    study: &Study,
    device: &mut Synthetic,
    deadline: Option<Deadline>,
    watch: &mut dyn FnMut(StudyEvent<'_>),
) -> Result<Told, StudyError> {
    let (mut stages, mut log) = (Vec::new(), Vec::new());
    let mut listener = |event: StudyEvent<'_>| {
        watch(event);
        if let StudyEvent::Stage(stage) = event {
            stages.push(stage);
        }
        log.push(name(&event));
    };
    let mut driver = Driver::open(study, device, &mut listener)?.with_deadline(deadline);
    driver.prepare()?;
    driver.tune()?;
    let trial = driver.train()?;
    driver.quantize(trial)?;
    driver.report()?;
    let (history, summary) = (driver.store.history()?, driver.summary()?);
    let confirmations = driver.store.confirmations()?;
    drop(driver);
    Ok(Told { stages, log, history, confirmations, summary })
}

/// An event without its measurements.
fn name(event: &StudyEvent<'_>) -> String {
    match event {
        StudyEvent::Stage(stage) => format!("{stage:?}"),
        StudyEvent::RunStarted { run, .. } => format!("start {}", key(run)),
        StudyEvent::RunEnded { run, .. } => format!("end {}", key(run)),
        StudyEvent::ProbeStarted { micro_batch_size, .. } => format!("probe {micro_batch_size}"),
        StudyEvent::ProbeEnded(probe) => format!("probed {}", probe.micro_batch_size),
        StudyEvent::Evaluated { name, .. } => format!("evaluated {name}"),
        StudyEvent::Child { .. } => "child".to_owned(),
        other => {
            let text = format!("{other:?}");
            text.split([' ', '(']).next().unwrap().to_owned()
        }
    }
}

/// `2.1` is rung 1 of trial 2, `2.1/9` the same by seed 9.
fn key(run: &RunKey) -> String {
    let seed = run.seed.map(|seed| format!("/{seed}")).unwrap_or_default();
    format!("{}.{}{seed}", run.trial, run.rung)
}

/// Trials that lie apart whatever the others told, so that the best is clearly the best.
fn spread(study: &mut Study) {
    study.search.sampler = SamplerKind::Sobol;
}

/// Number of the first run that trains, after all probes.
fn first_trial(change: impl FnOnce(&mut Study)) -> usize {
    let (folder, mut device) = (Folder::new(), device());
    drive(&folder.study(change), &mut device).unwrap();
    device.specs.iter().position(|spec| trains(spec).is_some()).unwrap()
}

/// Checkpoint and stop of a specification that trains.
fn trains(spec: &TrialSpec) -> Option<(&Path, usize)> {
    match &spec.task {
        Task::Train { stop_at_step, checkpoint, .. } => Some((checkpoint, *stop_at_step)),
        _ => None,
    }
}

fn crash() -> Outcome {
    Outcome::Crashed { signal: Some(9), exit_code: None, stderr_tail: "oh no".to_owned() }
}

fn silence() -> Outcome {
    Outcome::TimedOut { seconds: 1, stderr_tail: String::new() }
}
