//! Trials, and their runs by other seeds.

use rusqlite::{Connection, Row, params};

use super::columns::Count;
use super::error::StoreError;
use super::{Store, measurement};
use crate::space::{BatchPlan, Hyperparams};
use crate::trial::{Confirmation, RungRecord, Trial, TrialId};

impl Store {
    /// Adds the trial that was just suggested.
    ///
    /// # Errors
    /// [`StoreError::NotNextTrial`] if `id` is not the number of trials recorded so far.
    pub fn add_trial(&self, id: TrialId, hyperparams: &Hyperparams) -> Result<(), StoreError> {
        self.write(|connection| {
            let expected =
                connection.query_row("SELECT coalesce(max(id) + 1, 0) FROM trial", [], |row| row.get(0))?;
            if id != expected {
                return Err(StoreError::NotNextTrial { given: id, expected }.into());
            }
            let sql = "INSERT INTO trial
                           (id, precision, micro_batch_size, gradient_accumulation_steps, learning_rate)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            connection.execute(
                sql,
                params![
                    id,
                    hyperparams.precision,
                    Count(hyperparams.batch.micro_batch_size),
                    Count(hyperparams.batch.gradient_accumulation_steps),
                    hyperparams.learning_rate,
                ],
            )?;
            Ok(())
        })
    }

    /// The ended runs by other seeds, in the order in which they were started.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn confirmations(&self) -> Result<Vec<Confirmation>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT trial, seed, rung, stop_at_step, outcome_detail, measurement
                       FROM confirmation JOIN measurement ON measurement.id = confirmation.measurement
                       WHERE ended_at IS NOT NULL ORDER BY measurement";
            let mut statement = connection.prepare_cached(sql)?;
            let runs = statement.query_map([], |row| confirmation(connection, row))?;
            Ok(runs.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn confirmation(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Confirmation> {
    let seed = row.get::<_, Count<u64>>("seed")?.0;
    Ok(Confirmation { trial: row.get("trial")?, seed, record: record(connection, row)? })
}

/// By place, for there are many rows.
fn trial(row: &Row<'_>) -> rusqlite::Result<Trial> {
    Ok(Trial {
        id: row.get(0)?,
        hyperparams: Hyperparams {
            precision: row.get(1)?,
            batch: BatchPlan {
                micro_batch_size: row.get::<_, Count<usize>>(2)?.0,
                gradient_accumulation_steps: row.get::<_, Count<usize>>(3)?.0,
            },
            learning_rate: row.get(4)?,
        },
        rungs: Vec::new(),
    })
}

/// The trials from number `first` on, without their rungs.
pub(super) fn from(connection: &Connection, first: usize) -> rusqlite::Result<Vec<Trial>> {
    let sql = "SELECT id, precision, micro_batch_size, gradient_accumulation_steps, learning_rate
               FROM trial WHERE id >= ?1 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([Count(first)], trial)?.collect()
}

fn record(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<RungRecord> {
    Ok(RungRecord {
        rung: row.get("rung")?,
        stop_at_step: row.get::<_, Count<usize>>("stop_at_step")?.0,
        outcome: row.get("outcome_detail")?,
        measurement: measurement::read(connection, row.get("measurement")?)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::testing::{Folder, eval, events, hyperparams, measurement, outcomes, step};
    use crate::trial::{Event, History, Outcome, RunKey};

    #[test]
    fn history_is_read_back_as_it_was_recorded_with_every_outcome() {
        let folder = Folder::new();
        let mut expected = History::default();
        for (id, outcome) in (0..).zip(outcomes()) {
            let (store, measurement) = (folder.open(), measurement(f64::from(id) / 3.0));
            store.add_trial(id, &hyperparams(0.1 / f64::from(id + 3))).unwrap();
            let mut rungs = Vec::new();
            for (rung, outcome) in [(0, Outcome::Finished), (1, outcome)] {
                store.start((id, rung), 10).unwrap();
                store.append((id, rung), &events(&measurement)).unwrap();
                store.finish((id, rung), &outcome).unwrap();
                assert_eq!(store.partial((id, rung)).unwrap(), measurement, "no point is lost by the end");
                rungs.push(RungRecord {
                    rung,
                    stop_at_step: 10,
                    outcome,
                    measurement: measurement.condense(),
                });
            }
            expected.trials.push(Trial { id, hyperparams: hyperparams(0.1 / f64::from(id + 3)), rungs });
        }
        assert_eq!(folder.open().history().unwrap(), expected);
    }

    #[test]
    fn a_trial_is_added_with_the_next_number_only() {
        let folder = Folder::new();
        let store = folder.open();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
        for wrong in [0, 2] {
            let error = store.add_trial(wrong, &hyperparams(1e-3)).unwrap_err();
            assert!(error.to_string().contains("the next trial is number 1"), "{error}");
        }
        assert_eq!(store.history().unwrap().trials.len(), 1);
    }

    #[test]
    fn a_user_finds_names_and_numbers_in_the_columns() {
        let folder = Folder::new();
        let store = folder.open();
        store.add_trial(0, &hyperparams(0.25)).unwrap();
        store.start((0, 0), 10).unwrap();
        store.append((0, 0), &[Event::Eval(eval(10, 1.5))]).unwrap();
        store.finish((0, 0), &Outcome::TimedOut { seconds: 60, stderr_tail: String::new() }).unwrap();
        let line: String = folder.ask(
            "SELECT concat_ws(' ', precision, micro_batch_size, learning_rate, rung, outcome, loss_nats)
             FROM trial JOIN rung ON trial.id = trial JOIN measurement ON measurement.id = measurement
             JOIN eval USING (measurement) WHERE ended_at >= started_at AND ended_at LIKE '20__-__-__T%Z'",
        );
        assert_eq!(line, "bf16 8 0.25 0 timed_out 1.5");
    }

    #[test]
    fn a_confirmation_is_read_back_with_its_seed_and_is_no_rung_of_its_trial() {
        let folder = Folder::new();
        let store = folder.open();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
        let largest = u64::MAX >> 1;
        let mut expected = Vec::new();
        for (seed, outcome) in [(9, Outcome::Finished), (largest, Outcome::Diverged { step: 3 })] {
            let (run, measurement) = (RunKey { trial: 0, rung: 1, seed: Some(seed) }, measurement(2.0));
            assert_eq!((store.start(run, 30).unwrap(), store.start(run, 30).unwrap()), (1, 2));
            store.append(run, &events(&measurement)).unwrap();
            assert_eq!(store.partial(run).unwrap(), measurement);
            assert_eq!(store.confirmations().unwrap(), expected, "a run that has not ended is no history");
            store.finish(run, &outcome).unwrap();
            let record = RungRecord { rung: 1, stop_at_step: 30, outcome, measurement };
            expected.push(Confirmation { trial: 0, seed, record });
        }
        assert_eq!(folder.open().confirmations().unwrap(), expected);
        assert_eq!(store.history().unwrap().trials[0].rungs, []);
        let ended = RunKey { trial: 0, rung: 1, seed: Some(9) };
        let error = store.start(ended, 30).unwrap_err();
        assert!(error.to_string().starts_with("rung 1 of trial 0 with seed 9 has ended"), "{error}");
        let error = store.start(RunKey { seed: Some(largest + 1), ..ended }, 30).unwrap_err();
        assert!(error.to_string().contains("above 2^63 - 1"), "{error}");
    }

    #[test]
    fn a_number_that_sqlite_cannot_hold_is_refused_not_cut() {
        let folder = Folder::new();
        let store = folder.open();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
        store.start((0, 0), 10).unwrap();
        let huge = Event::Eval(crate::trial::EvalPoint { tokens: 1 << 63, ..eval(1, 1.0) });
        let error = store.append((0, 0), &[Event::Step(step(1, 1.0)), huge]).unwrap_err();
        assert!(error.to_string().contains("9223372036854775808 is above 2^63 - 1"), "{error}");
        assert!(store.partial((0, 0)).unwrap().steps.is_empty(), "half of a slice was kept");
    }

    /// The losses as the database gives them back.
    fn stored(losses: &[f64]) -> Vec<f64> {
        let folder = Folder::new();
        let store = folder.open();
        store.add_trial(0, &hyperparams(losses[0])).unwrap();
        store.start((0, 0), 1000).unwrap();
        let events: Vec<Event> = (1..).zip(losses).map(|(n, loss)| Event::Step(step(n, *loss))).collect();
        store.append((0, 0), &events).unwrap();
        assert_eq!(
            store.history().unwrap().trials[0].hyperparams.learning_rate.to_bits(),
            losses[0].to_bits()
        );
        store.partial((0, 0)).unwrap().steps.iter().map(|step| step.loss_nats).collect()
    }

    #[test]
    fn a_loss_that_is_no_number_comes_back_as_none() {
        let back = stored(&[1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        assert!(back[1].is_nan());
        assert_eq!(back[2..], [f64::INFINITY, f64::NEG_INFINITY]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn every_float_comes_back_to_the_last_bit(
            // Adding zero turns −0.0, which SQLite does not keep, into 0.0.
            losses in prop::collection::vec(any::<f64>().prop_map(|loss| loss + 0.0), 1..200)
        ) {
            let bits = |floats: &[f64]| floats.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&stored(&losses)), bits(&losses));
        }
    }
}
