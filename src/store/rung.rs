//! A run while it runs: started, fed with events, finished once.
//!
//! A run is a rung of a trial, or a confirmation of one by another seed.

use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use super::columns::Count;
use super::error::{Fault, StoreError};
use super::{Store, measurement};
use crate::trial::{EvalPoint, Event, ExampleLosses, Measurement, Outcome, RunKey, TrialId};

/// Where a run stands.
struct RunState {
    measurement: i64,
    stop_at_step: usize,
    has_ended: bool,
}

impl Store {
    /// Records that a run runs from now on; returns how often it was started, this time included.
    ///
    /// A run that was running when the driver died is started again; what it recorded stays.
    ///
    /// # Errors
    /// [`StoreError::UnknownTrial`], [`StoreError::RungEnded`], or [`StoreError::RungDiffers`] if
    /// it was first started to stop at another step.
    pub fn start(&self, run: impl Into<RunKey>, stop_at_step: usize) -> Result<u32, StoreError> {
        let run = run.into();
        self.write(|connection| {
            let Some(state) = state(connection, run)? else {
                return open(connection, run, stop_at_step);
            };
            if state.has_ended {
                return Err(StoreError::RungEnded { run }.into());
            }
            if state.stop_at_step != stop_at_step {
                let stored = state.stop_at_step;
                return Err(StoreError::RungDiffers { run, stored, given: stop_at_step }.into());
            }
            Ok(one(connection, AGAIN, run, &[], |row| row.get(0))?.unwrap_or_default())
        })
    }

    /// Records events of a running run; the end of the process does not undo them.
    ///
    /// They are on the disk too, except steps and peaks alone: a power cut may take the last of these, until a
    /// checkpoint, an evaluation or the end of the run is recorded. No decision rests on them before.
    ///
    /// A step or an evaluation that is already there is overwritten, and of each phase the highest
    /// peak is kept. `Started` drops what was recorded after the step from which the child resumes.
    /// Last words leave no row. All of a slice is one transaction.
    ///
    /// # Errors
    /// [`StoreError::UnknownRung`] or [`StoreError::RungEnded`].
    pub fn append(&self, run: impl Into<RunKey>, events: &[Event]) -> Result<(), StoreError> {
        let run = run.into();
        let record = |connection: &Connection| {
            let id = running(connection, run)?;
            for event in events {
                measurement::add(connection, id, event)?;
            }
            Ok(())
        };
        if events.iter().all(can_wait) { self.write_soon(record) } else { self.write(record) }
    }

    /// Records how a run ended; from here on it never changes.
    ///
    /// # Errors
    /// [`StoreError::UnknownRung`] or [`StoreError::RungEnded`].
    pub fn finish(&self, run: impl Into<RunKey>, outcome: &Outcome) -> Result<(), StoreError> {
        let run = run.into();
        self.write(|connection| {
            let id = running(connection, run)?;
            Ok(measurement::end(connection, id, outcome)?)
        })
    }

    /// The rungs that were started and have not ended, in the order of trials.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn running(&self) -> Result<Vec<(TrialId, u32)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT trial, rung FROM rung JOIN measurement ON measurement.id = rung.measurement
                       WHERE ended_at IS NULL ORDER BY trial, rung";
            let mut statement = connection.prepare_cached(sql)?;
            let rungs = statement.query_map([], |row| Ok((row.get("trial")?, row.get("rung")?)))?;
            Ok(rungs.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// What a started run has recorded so far, or until its end: every point of it.
    ///
    /// # Errors
    /// [`StoreError::UnknownRung`].
    pub fn partial(&self, run: impl Into<RunKey>) -> Result<Measurement, StoreError> {
        let run = run.into();
        self.read(|connection| {
            let state = state(connection, run)?.ok_or(StoreError::UnknownRung { run })?;
            Ok(measurement::read(connection, state.measurement)?)
        })
    }

    /// The evaluations of a started run.
    ///
    /// # Errors
    /// [`StoreError::UnknownRung`].
    pub fn evals(&self, run: impl Into<RunKey>) -> Result<Vec<EvalPoint>, StoreError> {
        let run = run.into();
        self.read(|connection| {
            let state = state(connection, run)?.ok_or(StoreError::UnknownRung { run })?;
            Ok(measurement::evals_of(connection, state.measurement)?)
        })
    }

    /// What a started run's last evaluation lost, example by example, if it told.
    ///
    /// # Errors
    /// [`StoreError::UnknownRung`].
    pub fn examples(&self, run: impl Into<RunKey>) -> Result<Option<ExampleLosses>, StoreError> {
        let run = run.into();
        self.read(|connection| {
            let state = state(connection, run)?.ok_or(StoreError::UnknownRung { run })?;
            Ok(measurement::examples_of(connection, state.measurement)?)
        })
    }
}

/// Whether the disk may have an event later than the log.
const fn can_wait(event: &Event) -> bool {
    matches!(event, Event::Step(_) | Event::Memory { .. } | Event::Timed(_) | Event::Power(_))
}

/// A statement on `rung`, and the same on `confirmation`, whose last parameter is the seed.
type Twins = [&'static str; 2];

const STATE: Twins = [
    "SELECT measurement, stop_at_step, ended_at IS NOT NULL AS has_ended
     FROM rung JOIN measurement ON measurement.id = rung.measurement WHERE trial = ?1 AND rung = ?2",
    "SELECT measurement, stop_at_step, ended_at IS NOT NULL AS has_ended
     FROM confirmation JOIN measurement ON measurement.id = confirmation.measurement
     WHERE trial = ?1 AND rung = ?2 AND seed = ?3",
];

const AGAIN: Twins = [
    "UPDATE rung SET attempts = attempts + 1 WHERE trial = ?1 AND rung = ?2 RETURNING attempts",
    "UPDATE confirmation SET attempts = attempts + 1 WHERE trial = ?1 AND rung = ?2 AND seed = ?3
     RETURNING attempts",
];

const OPEN: Twins = [
    "INSERT INTO rung (trial, rung, stop_at_step, measurement) VALUES (?1, ?2, ?3, ?4) RETURNING attempts",
    "INSERT INTO confirmation (trial, rung, stop_at_step, measurement, seed) VALUES (?1, ?2, ?3, ?4, ?5)
     RETURNING attempts",
];

/// The row that the statement for `run` gives, if it gives one.
fn one<T>(
    connection: &Connection,
    [of_rung, of_confirmation]: Twins,
    run: RunKey,
    more: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    let seed = run.seed.map(Count);
    let mut values: Vec<&dyn ToSql> = vec![&run.trial, &run.rung];
    values.extend(more);
    values.extend(seed.as_ref().map(|seed| seed as &dyn ToSql));
    let sql = if seed.is_some() { of_confirmation } else { of_rung };
    connection.prepare_cached(sql)?.query_row(&*values, read).optional()
}

fn state(connection: &Connection, run: RunKey) -> rusqlite::Result<Option<RunState>> {
    one(connection, STATE, run, &[], |row| {
        Ok(RunState {
            measurement: row.get("measurement")?,
            stop_at_step: row.get::<_, Count<usize>>("stop_at_step")?.0,
            has_ended: row.get("has_ended")?,
        })
    })
}

fn open(connection: &Connection, run: RunKey, stop_at_step: usize) -> Result<u32, Fault> {
    let trial = run.trial;
    let sql = "SELECT 1 FROM trial WHERE id = ?1";
    if connection.query_row(sql, [trial], |_| Ok(())).optional()?.is_none() {
        return Err(StoreError::UnknownTrial { trial }.into());
    }
    let id = measurement::open(connection)?;
    let attempts = one(connection, OPEN, run, &[&Count(stop_at_step), &id], |row| row.get(0))?;
    Ok(attempts.unwrap_or_default())
}

/// The measurement of a run that may still be written.
fn running(connection: &Connection, run: RunKey) -> Result<i64, Fault> {
    match state(connection, run)? {
        Some(state) if !state.has_ended => Ok(state.measurement),
        Some(_) => Err(StoreError::RungEnded { run }.into()),
        None => Err(StoreError::UnknownRung { run }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Folder, eval, hyperparams, memory, started, step};
    use crate::trial::Phase;

    /// A store with one trial whose rung 0 runs.
    fn with_running_rung(folder: &Folder) -> Store {
        let store = folder.open();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
        assert_eq!(store.start((0, 0), 10).unwrap(), 1);
        store
    }

    #[test]
    fn a_rung_that_was_running_when_the_driver_died_still_runs_with_what_it_measured() {
        let folder = Folder::new();
        let events = [started(0), Event::Step(step(1, 2.0)), memory(Phase::Loss, 9)];
        let store = with_running_rung(&folder);
        store.append((0, 0), &events).unwrap();
        drop(store);
        let store = folder.open();
        let mut expected = Measurement::default();
        for event in &events {
            expected.fold(event);
        }
        assert_eq!(store.running().unwrap(), [(0, 0)]);
        assert_eq!(store.partial((0, 0)).unwrap(), expected);
        assert!(store.history().unwrap().trials[0].rungs.is_empty());
        assert_eq!(store.start((0, 0), 10).unwrap(), 2);
    }

    #[test]
    fn a_rung_resumed_from_a_checkpoint_overwrites_the_steps_it_repeats() {
        let folder = Folder::new();
        let store = with_running_rung(&folder);
        for event in [step(1, 4.0), step(2, 3.0), step(3, 2.0)].map(Event::Step) {
            store.append((0, 0), &[event]).unwrap();
        }
        store.append((0, 0), &[Event::Eval(eval(2, 3.5)), Event::Eval(eval(2, 3.25))]).unwrap();
        store.append((0, 0), &[Event::Step(step(2, 2.5)), Event::Step(step(3, 1.5))]).unwrap();
        let partial = store.partial((0, 0)).unwrap();
        assert_eq!(partial.steps, [step(1, 4.0), step(2, 2.5), step(3, 1.5)]);
        assert_eq!(partial.evals, [eval(2, 3.25)]);
    }

    #[test]
    fn a_new_start_drops_what_lies_after_its_checkpoint() {
        let folder = Folder::new();
        let store = with_running_rung(&folder);
        let steps = [step(1, 4.0), step(2, 3.0), step(3, 2.0)].map(Event::Step);
        store.append((0, 0), &steps).unwrap();
        let examples = Event::Examples(ExampleLosses { nats: vec![2.0], tokens: vec![1] });
        store.append((0, 0), &[Event::Eval(eval(1, 4.0)), Event::Eval(eval(3, 2.0)), examples]).unwrap();
        store.append((0, 0), &[started(1)]).unwrap();
        let partial = store.partial((0, 0)).unwrap();
        assert_eq!((partial.steps, partial.evals), (vec![step(1, 4.0)], vec![eval(1, 4.0)]));
        assert_eq!(partial.examples, None);
    }

    #[test]
    fn the_highest_peak_of_a_phase_is_kept_over_all_attempts() {
        let folder = Folder::new();
        let store = with_running_rung(&folder);
        for peak in [5, 9, 7] {
            store.append((0, 0), &[started(0), memory(Phase::Loss, peak), memory(Phase::Load, 1)]).unwrap();
        }
        let peaks: Vec<_> = store.partial((0, 0)).unwrap().peaks;
        assert_eq!(
            peaks.iter().map(|peak| (peak.phase, peak.peak_bytes.0)).collect::<Vec<_>>(),
            [(Phase::Loss, 9), (Phase::Load, 1)]
        );
    }

    #[test]
    fn an_ended_rung_is_history_and_takes_nothing_more() {
        let folder = Folder::new();
        let store = with_running_rung(&folder);
        store.append((0, 0), &[Event::Step(step(1, 2.0))]).unwrap();
        store.finish((0, 0), &Outcome::Diverged { step: 2 }).unwrap();
        let ended = store.history().unwrap();
        for result in [
            store.start((0, 0), 10).map(|_| ()),
            store.append((0, 0), &[Event::Step(step(2, 2.0))]),
            store.finish((0, 0), &Outcome::Finished),
        ] {
            assert!(
                matches!(
                    result,
                    Err(StoreError::RungEnded { run: RunKey { trial: 0, rung: 0, seed: None } })
                ),
                "{result:?}"
            );
        }
        assert_eq!(store.history().unwrap(), ended);
        assert!(store.running().unwrap().is_empty());
        assert_eq!(store.start((0, 1), 20).unwrap(), 1);
        assert_eq!(store.running().unwrap(), [(0, 1)]);
    }

    #[test]
    fn what_was_not_started_is_an_error_that_names_it() {
        let folder = Folder::new();
        let store = with_running_rung(&folder);
        assert!(matches!(store.start((3, 0), 10), Err(StoreError::UnknownTrial { trial: 3 })));
        assert!(matches!(
            store.append((0, 1), &[]),
            Err(StoreError::UnknownRung { run: RunKey { trial: 0, rung: 1, seed: None } })
        ));
        assert!(matches!(store.partial((0, 1)), Err(StoreError::UnknownRung { .. })));
        assert!(matches!(store.finish((0, 1), &Outcome::Finished), Err(StoreError::UnknownRung { .. })));
        let error = store.start((0, 0), 11).unwrap_err();
        assert!(matches!(error, StoreError::RungDiffers { stored: 10, given: 11, .. }), "{error}");
    }
}
