//! What the store's tests share: a folder of their own, raw SQL, and records with every feature.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::schema::MIGRATIONS;
use super::{Store, StoreError};
use crate::space::{BatchPlan, Hyperparams, Precision};
use crate::trial::{
    EvalPoint, Event, ExampleLosses, FailureClass, Measurement, NoiseSample, Outcome, Phase, PhasePeak,
    Power, Slowdown, SpeedPoint, StepEvent, StepPoint, Totals,
};
use crate::units::Bytes;

thread_local! {
    /// Writes of this thread so far, and after how many of them the writer counts as killed.
    static WRITES: Cell<(usize, usize)> = const { Cell::new((0, usize::MAX)) };
}

/// Counts the writes of this thread from here on, of which the first `allowed` succeed and no others do, as if the
/// process had been killed between the two.
pub(crate) fn kill_after(allowed: usize) {
    WRITES.set((0, allowed));
}

/// Writes since [`kill_after`].
pub(crate) fn writes() -> usize {
    WRITES.get().0
}

/// Called before each write.
pub(super) fn survive(file: &Path) -> Result<(), StoreError> {
    let (done, allowed) = WRITES.get();
    if done >= allowed {
        let source = std::io::Error::other("killed by the test");
        return Err(StoreError::Io { path: file.to_owned(), source });
    }
    WRITES.set((done + 1, allowed));
    Ok(())
}

/// Makes an empty study of an earlier version of the database.
pub(crate) fn of_version(file: &Path, version: usize) {
    drop(Store::open_with(file, &MIGRATIONS[..version]).unwrap());
}

/// The version of a study's database.
pub(crate) fn version(file: &Path) -> i64 {
    let connection = Connection::open(file).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// A temporary output folder with a study's database.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path().join("results").join("study.db")
    }

    pub(super) fn open(&self) -> Store {
        Store::open(&self.file()).unwrap()
    }

    /// As a user does with the `sqlite3` shell; returns the refusal.
    pub(super) fn sql(&self, sql: &str) -> Result<(), String> {
        let connection = Connection::open(self.file()).unwrap();
        connection.execute_batch(sql).map_err(|error| error.to_string())
    }

    /// The first column of the first row.
    pub(super) fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        Connection::open(self.file()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

pub(super) fn hyperparams(learning_rate: f64) -> Hyperparams {
    let batch = BatchPlan { micro_batch_size: 8, gradient_accumulation_steps: 2 };
    Hyperparams { precision: Precision::Bf16, batch, learning_rate }
}

pub(super) fn step(step: usize, loss_nats: f64) -> StepPoint {
    StepEvent {
        step,
        loss_nats,
        learning_rate: 1e-4 / 3.0,
        grad_norm: Some(0.1 + 0.2),
        update_ratio: Some(1e-3 / 7.0),
        noise: Some(NoiseSample { squared_gradient: -0.1 / 3.0, trace: 0.7 }),
        tokens: 4096,
        seconds: 0.7,
    }
}

pub(super) fn eval(step: usize, loss_nats: f64) -> EvalPoint {
    EvalPoint { step, loss_nats, tokens: 1000, seconds: 1.0 / 3.0 }
}

pub(super) fn started(resumed_at_step: usize) -> Event {
    Event::Started {
        device: "cpu (cap 1.00 GiB)".to_owned(),
        dtype: "bf16".to_owned(),
        version: "0.1.0".to_owned(),
        resumed_at_step,
        parameters: 1_000,
        overhead_bytes: None,
    }
}

pub(super) fn memory(phase: Phase, peak_bytes: u64) -> Event {
    Event::Memory { phase, peak_bytes: Bytes(peak_bytes), live_bytes: Bytes(1), reserved_bytes: None }
}

/// A measurement in which nothing is empty, one update was skipped, and phases do not stand in their
/// usual order.
pub(super) fn measurement(loss_nats: f64) -> Measurement {
    Measurement {
        device: "cpu".to_owned(),
        version: "0.1.0".to_owned(),
        steps: vec![
            step(1, loss_nats),
            StepPoint { grad_norm: None, update_ratio: None, noise: None, ..step(2, loss_nats / 3.0) },
        ],
        evals: vec![eval(0, loss_nats), eval(2, loss_nats / 7.0)],
        peaks: vec![
            PhasePeak { phase: Phase::Backward, peak_bytes: Bytes::gib(3) },
            PhasePeak { phase: Phase::Load, peak_bytes: Bytes(17) },
        ],
        timed: vec![SpeedPoint { micro_batch_size: 4, tokens: 512, seconds: 0.1 }],
        examples: Some(ExampleLosses { nats: vec![loss_nats, 0.1 + 0.2, 1.0 / 3.0], tokens: vec![3, 1, 0] }),
        overhead_bytes: Some(Bytes::mib(431)),
        reserved_bytes: Some(Bytes::gib(4)),
        power: Some(Power {
            joules: loss_nats / 9.0,
            seconds: 0.1 + 0.2,
            mean_sm_mhz: Some(1.0 / 3.0),
            max_celsius: Some(83),
            slowed: vec![Slowdown::PowerCap, Slowdown::Heat],
        }),
        condensed: Totals::default(),
    }
}

/// Every way to end, with and without what may be unknown.
pub(super) fn outcomes() -> Vec<Outcome> {
    let message = "no gradient for `lm_head`: \"naïve\"\n\0".to_owned();
    vec![
        Outcome::Finished,
        Outcome::OutOfMemory { requested: Some(Bytes(u64::MAX)), live: Bytes::gib(2), cap: Some(Bytes(7)) },
        Outcome::OutOfMemory { requested: None, live: Bytes(0), cap: None },
        Outcome::Diverged { step: 12 },
        Outcome::Failed { class: FailureClass::Internal, message: message.clone() },
        Outcome::Crashed { signal: Some(9), exit_code: None, stderr_tail: message },
        Outcome::Crashed { signal: None, exit_code: Some(-1), stderr_tail: String::new() },
        Outcome::TimedOut { seconds: 600, stderr_tail: "stuck".to_owned() },
    ]
}

/// The events a measurement is folded from.
pub(super) fn events(of: &Measurement) -> Vec<Event> {
    let started = Event::Started {
        device: of.device.clone(),
        dtype: "bf16".to_owned(),
        version: of.version.clone(),
        resumed_at_step: 0,
        parameters: 1_000,
        overhead_bytes: of.overhead_bytes,
    };
    let steps = of.steps.iter().map(|step| Event::Step(*step));
    let evals = of.evals.iter().map(|eval| Event::Eval(*eval));
    let reserved_bytes = of.reserved_bytes;
    let peaks = of.peaks.iter().map(|peak| Event::Memory {
        phase: peak.phase,
        peak_bytes: peak.peak_bytes,
        live_bytes: Bytes(1),
        reserved_bytes,
    });
    let timed = of.timed.iter().map(|speed| Event::Timed(*speed));
    let examples = of.examples.clone().map(Event::Examples);
    let power = of.power.clone().map(Event::Power);
    let points = std::iter::once(started).chain(steps).chain(evals).chain(peaks).chain(timed);
    points.chain(examples).chain(power).collect()
}
