//! What a study does at the moment, for whoever looks on: it only reads, and takes no lock.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::stop::known_deadline;
use super::summary::read;
use super::{Layout, StudyError, Summary};
use crate::space::Study;
use crate::store::{Chronicle, EndedRun, RunningRun, Store, holder};
use crate::trial::{History, Outcome};
use crate::units::Bytes;

/// Lines of the log.
const LOG: usize = 8;

/// A study as it is at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Look {
    /// What is known of the study.
    #[serde(flatten)]
    pub summary: Summary,
    /// The process that drives it, if one does.
    pub driver: Option<u32>,
    /// What runs, as far as the database tells.
    pub running: Vec<RunningRun>,
    /// One entry a rung that a trial has ended.
    pub rungs: Vec<RungState>,
    /// Failures by class, over all rungs.
    pub failures: BTreeMap<String, usize>,
    /// Memory of the runs.
    pub memory: Memory,
    /// How much is planned, and how much of it is done.
    pub plan: Plan,
    /// What ended last, the latest at the end.
    pub log: Vec<EndedRun>,
}

/// How far the trials are on one rung.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RungState {
    /// Which.
    pub rung: u32,
    /// Trials that finished it.
    pub finished: usize,
    /// Trials that failed in it.
    pub failed: usize,
    /// The lowest loss at its end.
    pub best_loss_nats: Option<f64>,
}

/// Memory of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// The most that a trial has held so far.
    pub peak_bytes: Bytes,
    /// What one may hold.
    pub cap_bytes: Option<Bytes>,
}

/// How much is planned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Trials that the study file asks for.
    pub trials: usize,
    /// Hours of runs that the study file allows.
    pub hours: Option<f64>,
    /// Seconds of all ended runs.
    pub run_seconds: f64,
    /// Moment after which no run of the search begins, in seconds since 1970.
    pub deadline: Option<f64>,
    /// Seconds until then, from the moment of the look.
    pub seconds_left: Option<f64>,
}

/// Looks at one study again and again; what was read once is not read again.
#[derive(Debug)]
pub struct Watcher<'a> {
    study: &'a Study,
    store: Store,
    chronicle: Chronicle,
}

impl<'a> Watcher<'a> {
    /// Opens the study's database for reading.
    ///
    /// # Errors
    /// There is no study yet, or the database can't be read.
    pub fn open(study: &'a Study) -> Result<Self, StudyError> {
        let store = Store::open_read_only(&Layout::new(&study.output).database())?;
        Ok(Self { study, store, chronicle: Chronicle::default() })
    }

    /// The study as it is now.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn look(&mut self) -> Result<Look, StudyError> {
        // Before the database: what a driver wrote before it ended is then seen.
        let driver = holder(&self.study.output);
        self.store.catch_up(&mut self.chronicle)?;
        let history = self.chronicle.history();
        let summary = read(self.study, &self.store, &history)?;
        let deadline = known_deadline(&self.store)?;
        let records = || history.trials.iter().flat_map(|trial| &trial.rungs);
        let running = self.store.running_runs()?;
        let peaks = records().map(|record| record.measurement.peak_bytes());
        let peak_bytes = peaks.chain(running.iter().map(|run| run.peak_bytes)).max().unwrap_or_default();
        Ok(Look {
            rungs: rungs(&history),
            failures: failures(&history),
            memory: Memory {
                peak_bytes,
                cap_bytes: super::driver::known_device(self.study, &self.store)?.cap(),
            },
            plan: Plan {
                trials: self.study.search.trials,
                hours: self.study.search.hours,
                run_seconds: records().map(|record| record.measurement.seconds()).sum(),
                deadline,
                seconds_left: deadline.map(|deadline| (deadline - now()).max(0.0)),
            },
            log: self.store.last_ended(LOG)?,
            summary,
            driver,
            running,
        })
    }
}

fn rungs(history: &History) -> Vec<RungState> {
    let mut states: BTreeMap<u32, RungState> = BTreeMap::new();
    for record in history.trials.iter().flat_map(|trial| &trial.rungs) {
        let empty = RungState { rung: record.rung, finished: 0, failed: 0, best_loss_nats: None };
        let state = states.entry(record.rung).or_insert(empty);
        if record.outcome == Outcome::Finished {
            state.finished += 1;
            let losses = state.best_loss_nats.into_iter().chain(record.measurement.eval_loss_nats());
            state.best_loss_nats = losses.reduce(f64::min);
        } else {
            state.failed += 1;
        }
    }
    states.into_values().collect()
}

fn failures(history: &History) -> BTreeMap<String, usize> {
    let mut failures = BTreeMap::new();
    for record in history.trials.iter().flat_map(|trial| &trial.rungs) {
        let name = match &record.outcome {
            Outcome::Finished => continue,
            Outcome::Failed { class, .. } => format!("failed ({})", class.name()),
            other => other.name().replace('_', " "),
        };
        *failures.entry(name).or_default() += 1;
    }
    failures
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
