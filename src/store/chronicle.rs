//! A history that is kept up to date: what has been read once is not read again.

use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::columns::Count;
use super::error::{Fault, StoreError};
use super::{Store, condensed, trial};
use crate::trial::{History, RungRecord, TrialId};

/// All trials with their ended rungs as far as they were read.
///
/// History is append-only, so catching up from any earlier state gives what a fresh reading gives. A driver and
/// whoever watches it each keep one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chronicle {
    history: Arc<History>,
    /// The last row of `ended` that is in it.
    seen: i64,
}

impl Chronicle {
    /// What was read; measurements are condensed.
    #[must_use]
    pub fn history(&self) -> Arc<History> {
        Arc::clone(&self.history)
    }
}

impl Store {
    /// Adds what was recorded since; a rung that still runs is not part of history.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn catch_up(&self, chronicle: &mut Chronicle) -> Result<(), StoreError> {
        self.read(|connection| {
            let known = chronicle.history.trials.len();
            let trials = trial::from(connection, known)?;
            let (rungs, seen) = rungs_after(connection, chronicle.seen)?;
            if !trials.is_empty() || !rungs.is_empty() {
                let history = Arc::make_mut(&mut chronicle.history);
                history.trials.extend(trials);
                for (trial, record) in rungs {
                    add(history, trial, record);
                }
            }
            chronicle.seen = seen;
            Ok(())
        })
    }

    /// All trials with their ended rungs, each measurement condensed: the points are read by [`Self::partial`].
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn history(&self) -> Result<History, StoreError> {
        let mut chronicle = Chronicle::default();
        self.catch_up(&mut chronicle)?;
        Ok(Arc::unwrap_or_clone(chronicle.history))
    }
}

fn add(history: &mut History, trial: TrialId, record: RungRecord) {
    if let Some(trial) = history.trials.get_mut(trial as usize) {
        let place = trial.rungs.partition_point(|known| known.rung < record.rung);
        trial.rungs.insert(place, record);
    }
}

type Rungs = Vec<(TrialId, RungRecord)>;

/// Rungs that ended after row `seen`, and the last row there is.
fn rungs_after(connection: &Connection, seen: i64) -> Result<(Rungs, i64), Fault> {
    let sql = format!(
        "SELECT trial, rung, stop_at_step, outcome_detail, {}
         FROM ended JOIN rung ON rung.measurement = ended.measurement
              JOIN measurement ON measurement.id = ended.measurement
         WHERE ended.id > ?1 ORDER BY ended.id",
        condensed::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rungs = statement.query_map([seen], rung)?.collect::<rusqlite::Result<_>>()?;
    let mut newest = connection.prepare_cached("SELECT coalesce(max(id), 0) FROM ended")?;
    Ok((rungs, newest.query_row([], |row| row.get(0))?))
}

fn rung(row: &Row<'_>) -> rusqlite::Result<(TrialId, RungRecord)> {
    let record = RungRecord {
        rung: row.get(1)?,
        stop_at_step: row.get::<_, Count<usize>>(2)?.0,
        outcome: row.get(3)?,
        measurement: condensed::read(row, 4)?,
    };
    Ok((row.get(0)?, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Folder, events, hyperparams, measurement};
    use crate::trial::Outcome;

    /// Ends rung `rung` of a trial, which is added if need be.
    fn end(store: &Store, trial: TrialId, rung: u32, outcome: &Outcome) {
        if store.history().unwrap().trials.len() == trial as usize {
            store.add_trial(trial, &hyperparams(1e-3)).unwrap();
        }
        store.start((trial, rung), 10).unwrap();
        store.append((trial, rung), &events(&measurement(f64::from(trial) / 3.0))).unwrap();
        store.finish((trial, rung), outcome).unwrap();
    }

    #[test]
    fn what_was_caught_up_is_what_a_fresh_reading_gives_after_every_write() {
        let folder = Folder::new();
        let writer = folder.open();
        let reader = Store::open_read_only(&folder.file()).unwrap();
        let (mut own, mut watching) = (Chronicle::default(), Chronicle::default());
        let mut check = || {
            writer.catch_up(&mut own).unwrap();
            reader.catch_up(&mut watching).unwrap();
            assert_eq!(*own.history(), writer.history().unwrap());
            assert_eq!(watching, own);
        };
        check();
        // Not in the order of trials, as where several run at once; and a rung above before the one below.
        for (trial, rung) in [(0, 0), (1, 1), (2, 0), (1, 0), (0, 1), (3, 0)] {
            end(&writer, trial, rung, &Outcome::Finished);
            check();
        }
        writer.add_trial(4, &hyperparams(1e-2)).unwrap();
        check();
        writer.start((4, 0), 10).unwrap();
        check();
        let history = own.history();
        assert_eq!(history.trials.len(), 5);
        assert_eq!(history.trials[1].rungs.iter().map(|record| record.rung).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_history_someone_still_holds_stays_as_it_was() {
        let folder = Folder::new();
        let store = folder.open();
        let mut chronicle = Chronicle::default();
        end(&store, 0, 0, &Outcome::Finished);
        store.catch_up(&mut chronicle).unwrap();
        let held = chronicle.history();
        end(&store, 1, 0, &Outcome::Finished);
        store.catch_up(&mut chronicle).unwrap();
        assert_eq!((held.trials.len(), chronicle.history().trials.len()), (1, 2));
    }
}
