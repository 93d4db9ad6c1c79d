//! What whoever watches a study wants to know: what runs at the moment, and what ended last.

use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::columns::{Count, Real};
use super::error::StoreError;
use super::{Store, measurement};
use crate::trial::{Outcome, RunKey, StepPoint};
use crate::units::Bytes;

/// A run that was started and has not ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunningRun {
    /// Trial, rung and seed.
    #[serde(flatten)]
    pub run: RunKey,
    /// Device in words, once the child has named it.
    pub device: String,
    /// When it was first started, UTC.
    pub started_at: String,
    /// How often it was started.
    pub attempts: u32,
    /// Where it stops.
    pub stop_at_step: usize,
    /// Its last step.
    pub step: Option<StepPoint>,
    /// Loss of its last evaluation.
    pub eval_loss_nats: Option<f64>,
    /// Tokens per second over its last steps.
    pub tokens_per_second: Option<f64>,
    /// The most bytes it has held.
    pub peak_bytes: Bytes,
}

/// A run or a probe that has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndedRun {
    /// When, UTC.
    pub ended_at: String,
    /// Which run; none for a probe.
    #[serde(flatten)]
    pub run: Option<RunKey>,
    /// Examples at once, of a probe.
    pub micro_batch_size: Option<usize>,
    /// How.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Loss at its end.
    pub eval_loss_nats: Option<f64>,
}

/// So many steps back tell the speed of a run.
const RECENT: usize = 20;

impl Store {
    /// What runs at the moment, rungs first, in the order in which they were started.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn running_runs(&self) -> Result<Vec<RunningRun>, StoreError> {
        self.read(|connection| {
            let sql = "WITH run (trial, rung, seed, stop_at_step, attempts, measurement) AS (
                           SELECT trial, rung, NULL, stop_at_step, attempts, measurement FROM rung
                           UNION ALL
                           SELECT trial, rung, seed, stop_at_step, attempts, measurement FROM confirmation)
                       SELECT trial, rung, seed, stop_at_step, attempts, measurement.id AS id, device, started_at,
                              (SELECT max(peak_bytes) FROM peak WHERE peak.measurement = measurement.id) AS peak,
                              (SELECT loss_nats FROM eval WHERE eval.measurement = measurement.id
                               ORDER BY step DESC LIMIT 1) AS eval_loss_nats
                       FROM measurement JOIN run ON run.measurement = measurement.id
                       WHERE measurement.ended_at IS NULL ORDER BY measurement.id";
            let mut statement = connection.prepare_cached(sql)?;
            let runs = statement.query_map([], |row| running(connection, row))?;
            Ok(runs.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The runs and probes that ended last, the latest at the end.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn last_ended(&self, most: usize) -> Result<Vec<EndedRun>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT ended_at, outcome_detail, eval_loss_nats, evals, eval_step,
                              coalesce(rung.trial, confirmation.trial) AS trial,
                              coalesce(rung.rung, confirmation.rung) AS rung, seed, micro_batch_size
                       FROM (SELECT * FROM ended ORDER BY id DESC LIMIT ?1) AS ended
                            JOIN measurement ON measurement.id = ended.measurement
                            LEFT JOIN rung ON rung.measurement = ended.measurement
                            LEFT JOIN confirmation ON confirmation.measurement = ended.measurement
                            LEFT JOIN probe ON probe.measurement = ended.measurement
                       ORDER BY ended.id";
            let mut statement = connection.prepare_cached(sql)?;
            let runs = statement.query_map([Count(most)], ended)?;
            Ok(runs.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn key(row: &Row<'_>) -> rusqlite::Result<Option<RunKey>> {
    let Some(trial) = row.get("trial")? else { return Ok(None) };
    let seed = row.get::<_, Option<Count<u64>>>("seed")?.map(|seed| seed.0);
    Ok(Some(RunKey { trial, rung: row.get("rung")?, seed }))
}

fn running(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<RunningRun> {
    let id = row.get("id")?;
    let recent = last_steps(connection, id)?;
    let seconds: f64 = recent.iter().map(|step| step.seconds).sum();
    let tokens: u64 = recent.iter().map(|step| step.tokens).sum();
    #[expect(clippy::cast_precision_loss, reason = "some steps' tokens")]
    let speed = tokens as f64 / seconds;
    Ok(RunningRun {
        run: key(row)?.unwrap_or(RunKey { trial: 0, rung: 0, seed: None }),
        device: row.get("device")?,
        started_at: row.get("started_at")?,
        attempts: row.get("attempts")?,
        stop_at_step: row.get::<_, Count<usize>>("stop_at_step")?.0,
        step: recent.first().copied(),
        eval_loss_nats: row.get("eval_loss_nats")?,
        tokens_per_second: (seconds > 0.0).then_some(speed),
        peak_bytes: Bytes(row.get::<_, Option<Count<u64>>>("peak")?.map_or(0, |peak| peak.0)),
    })
}

/// The latest first.
fn last_steps(connection: &Connection, id: i64) -> rusqlite::Result<Vec<StepPoint>> {
    let sql = "SELECT * FROM step WHERE measurement = ?1 ORDER BY step DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map(params![id, Count(RECENT)], measurement::step)?.collect()
}

fn ended(row: &Row<'_>) -> rusqlite::Result<EndedRun> {
    let was_evaluated = row.get::<_, Option<Count<usize>>>("eval_step")?.is_some();
    let loss = row.get::<_, Real>("eval_loss_nats")?.0;
    Ok(EndedRun {
        ended_at: row.get("ended_at")?,
        run: key(row)?,
        micro_batch_size: row.get::<_, Option<Count<usize>>>("micro_batch_size")?.map(|size| size.0),
        outcome: row.get("outcome_detail")?,
        eval_loss_nats: was_evaluated.then_some(loss),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Folder, eval, events, hyperparams, measurement, memory, started, step};
    use crate::trial::{Event, Phase};

    #[test]
    fn what_runs_is_told_with_its_last_step_its_speed_and_its_peak() {
        let folder = Folder::new();
        let store = folder.open();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
        let again = RunKey { trial: 0, rung: 0, seed: Some(7) };
        store.start((0, 0), 10).unwrap();
        store.start(again, 20).unwrap();
        let said = [started(0), Event::Step(step(1, 4.0)), Event::Step(step(2, 3.0)), memory(Phase::Loss, 9)];
        store.append((0, 0), &said).unwrap();
        store.append((0, 0), &[Event::Eval(eval(2, 3.5))]).unwrap();
        let reader = Store::open_read_only(&folder.file()).unwrap();
        let runs = reader.running_runs().unwrap();
        assert_eq!(runs.iter().map(|run| run.run).collect::<Vec<_>>(), [(0, 0).into(), again]);
        let first = &runs[0];
        assert_eq!((first.step, first.eval_loss_nats), (Some(step(2, 3.0)), Some(3.5)));
        assert_eq!((first.peak_bytes, first.stop_at_step, first.attempts), (Bytes(9), 10, 1));
        assert!((first.tokens_per_second.unwrap() - 4096.0 / 0.7).abs() < 1e-9);
        assert_eq!((runs[1].step, runs[1].tokens_per_second), (None, None));
        store.finish((0, 0), &Outcome::Finished).unwrap();
        assert_eq!(reader.running_runs().unwrap().len(), 1);
    }

    #[test]
    fn the_last_that_ended_are_told_in_their_order() {
        let folder = Folder::new();
        let store = folder.open();
        for trial in 0..4 {
            store.add_trial(trial, &hyperparams(1e-3)).unwrap();
            store.start((trial, 0), 10).unwrap();
        }
        for trial in [2, 0, 3] {
            store.append((trial, 0), &events(&measurement(7.0))).unwrap();
            store.finish((trial, 0), &Outcome::Finished).unwrap();
        }
        store.finish((1, 0), &Outcome::Diverged { step: 1 }).unwrap();
        let last = store.last_ended(3).unwrap();
        let runs: Vec<_> = last.iter().map(|one| (one.run.unwrap().trial, one.eval_loss_nats)).collect();
        assert_eq!(runs, [(0, Some(1.0)), (3, Some(1.0)), (1, None)]);
        assert_eq!(last[2].outcome, Outcome::Diverged { step: 1 });
        assert!(last[0].ended_at <= last[1].ended_at);
    }
}
