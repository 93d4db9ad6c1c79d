//! Which version a file has, and how an older one becomes the newest.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::columns::Count;
use super::error::{Fault, StoreError};

/// Migration `i` turns version `i` into version `i + 1`; version 0 is an empty file.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
];

/// "diap" in ASCII: marks the file as ours, for `file(1)` and against mistaking another's.
const APPLICATION_ID: i64 = 0x6469_6170;

/// A file of so many bytes is checked in about a tenth of a second.
const CHECKED_WHOLE: u64 = 16 << 20;

const DECIDING: &[&str] =
    &["study", "fact", "trial", "rung", "confirmation", "probe", "measurement", "ended"];

/// The file's version and the newest known one; an error unless the file is ours and sound.
pub(super) fn inspect(
    connection: &Connection,
    file: &Path,
    migrations: &[&str],
) -> Result<(i64, i64), Fault> {
    let (file, found) = (file.to_owned(), version(connection)?);
    let known = newest(migrations);
    let application_id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let is_empty = application_id == 0 && found == 0 && !has_tables(connection)?;
    if application_id != APPLICATION_ID && !is_empty {
        return Err(StoreError::NotAStudy { file }.into());
    }
    if found > known {
        return Err(StoreError::Newer { file, found, known }.into());
    }
    if let Some(detail) = damage(connection)? {
        return Err(StoreError::Corrupt { file, detail }.into());
    }
    Ok((found, known))
}

/// What is wrong with the file: with all of it where it is small, else with the tables that decisions rest on.
///
/// A damaged page of the others, the points of the curves, is found when it is read.
fn damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let bytes: u64 = connection.query_row(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        [],
        |row| row.get::<_, Count<u64>>(0).map(|count| count.0),
    )?;
    let checks: &[&str] = if bytes <= CHECKED_WHOLE { &["1"] } else { DECIDING };
    for check in checks {
        let sql = format!("PRAGMA quick_check({check})");
        // A table that an older version does not have is no damage.
        let detail = connection.query_row(&sql, [], |row| row.get::<_, String>(0)).optional();
        match detail {
            Ok(Some(detail)) if detail != "ok" => return Ok(Some(detail)),
            Err(error) if error.to_string().starts_with("no such table") => {}
            other => drop(other?),
        }
    }
    Ok(None)
}

/// Brings the file to the newest version in one transaction, or leaves it.
pub(super) fn migrate(connection: &Connection, migrations: &[&str]) -> Result<(), Fault> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let done = usize::try_from(version(&transaction)?).unwrap_or(0);
    let missing = migrations.get(done..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest(migrations))?;
    transaction.commit()?;
    Ok(())
}

fn newest(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let any = connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional()?;
    Ok(any.is_some())
}

#[cfg(test)]
mod tests {
    use crate::space::{HardwareSetting, Precision};
    use crate::store::testing::{Folder, hyperparams, step};
    use crate::store::{Store, StoreError};
    use crate::trial::{Event, Outcome, RunKey};

    use super::MIGRATIONS;

    const ADD_NOTE: &str = "ALTER TABLE study ADD COLUMN note TEXT; CREATE TABLE tag (name TEXT) STRICT;";

    /// The newest version this program knows.
    fn known() -> i64 {
        super::newest(MIGRATIONS)
    }

    #[test]
    fn an_older_file_is_brought_up_to_date_and_keeps_its_records() {
        let folder = Folder::new();
        folder.open().add_trial(0, &hyperparams(1e-3)).unwrap();
        let migrations = [MIGRATIONS, &[ADD_NOTE, "CREATE INDEX by_name ON tag (name);"]].concat();
        for _ in 0..2 {
            let store = Store::open_with(&folder.file(), &migrations).unwrap();
            assert_eq!(store.history().unwrap().trials.len(), 1);
            assert_eq!(folder.ask::<i64>("SELECT count(*) FROM tag"), 0);
        }
        assert_eq!(folder.ask::<i64>("PRAGMA user_version"), known() + 2);
    }

    #[test]
    fn a_file_of_version_one_keeps_its_steps_and_takes_the_meters_of_new_ones() {
        let folder = Folder::new();
        drop(Store::open_with(&folder.file(), &MIGRATIONS[..1]).unwrap());
        folder
            .sql(
                "INSERT INTO trial (id, precision, micro_batch_size, gradient_accumulation_steps, learning_rate)
                     VALUES (0, 'f32', 2, 4, 1e-3);
                 INSERT INTO measurement (id) VALUES (1);
                 INSERT INTO rung (trial, rung, stop_at_step, measurement) VALUES (0, 0, 9, 1);
                 INSERT INTO step VALUES (1, 1, 4.0, 1e-3, 0.5, 100, 1.0);
                 INSERT INTO measurement (id) VALUES (2);
                 INSERT INTO probe (precision, micro_batch_size, measurement) VALUES ('bf16', 7, 2);
                 UPDATE measurement SET outcome_detail = '{\"outcome\":\"finished\"}', ended_at = '' WHERE id = 2;",
            )
            .unwrap();
        let store = folder.open();
        let probe = &store.probes().unwrap()[0];
        let setting = HardwareSetting::plain(Precision::Bf16);
        assert_eq!((probe.setting, probe.micro_batch_size, probe.budget), (setting, 7, None));
        let old = store.partial((0, 0)).unwrap().steps[0];
        assert_eq!((old.loss_nats, old.grad_norm, old.update_ratio, old.noise), (4.0, Some(0.5), None, None));
        store.append((0, 0), &[Event::Step(step(2, 3.0))]).unwrap();
        assert_eq!(store.partial((0, 0)).unwrap().steps, [old, step(2, 3.0)]);
        assert!(step(2, 3.0).noise.is_some() && step(2, 3.0).update_ratio.is_some());
    }

    #[test]
    fn a_file_of_version_three_has_no_examples_and_takes_confirmations() {
        let folder = Folder::new();
        drop(Store::open_with(&folder.file(), &MIGRATIONS[..3]).unwrap());
        folder
            .sql(
                "INSERT INTO trial (id, precision, micro_batch_size, gradient_accumulation_steps, learning_rate)
                     VALUES (0, 'f32', 2, 4, 1e-3);
                 INSERT INTO measurement (id) VALUES (1);
                 INSERT INTO rung (trial, rung, stop_at_step, measurement) VALUES (0, 0, 9, 1);
                 INSERT INTO eval VALUES (1, 9, 4.0, 100, 1.0);
                 UPDATE measurement SET outcome_detail = '{\"outcome\":\"finished\"}', ended_at = '' WHERE id = 1;",
            )
            .unwrap();
        let store = folder.open();
        let trial = store.history().unwrap().trials.remove(0);
        assert_eq!((trial.loss_at(0), &trial.rungs[0].measurement.examples), (Some(4.0), &None));
        let run = RunKey { trial: 0, rung: 0, seed: Some(5) };
        store.start(run, 9).unwrap();
        store.finish(run, &Outcome::Finished).unwrap();
        assert_eq!(store.confirmations().unwrap()[0].key(), run);
    }

    #[test]
    fn the_ended_runs_of_a_file_of_version_four_are_summed_up() {
        let folder = Folder::new();
        drop(Store::open_with(&folder.file(), &MIGRATIONS[..4]).unwrap());
        folder
            .sql(
                "INSERT INTO trial (id, precision, micro_batch_size, gradient_accumulation_steps, learning_rate)
                     VALUES (0, 'f32', 2, 4, 1e-3), (1, 'f32', 2, 4, 1e-3), (2, 'f32', 2, 4, 1e-3);
                 INSERT INTO measurement (id, device) VALUES (1, 'a'), (2, 'b'), (3, 'c');
                 INSERT INTO rung (trial, rung, stop_at_step, measurement)
                     VALUES (0, 0, 9, 1), (1, 0, 9, 2), (2, 0, 9, 3);
                 INSERT INTO step VALUES (1, 1, 4.0, 1e-3, 0.5, 100, 1.0, NULL, 0.5, 2.0),
                     (1, 2, 3.0, 1e-3, 0.5, 200, 0.25, NULL, 0.25, 4.0), (1, 3, 3.0, 1e-3, 0.5, 300, 0.5, NULL, NULL, NULL),
                     (2, 1, 4.0, 1e-3, 0.5, 100, 1.0, NULL, NULL, NULL);
                 INSERT INTO eval VALUES (1, 0, 5.0, 10, 0.125), (1, 2, 4.5, 10, 0.25), (1, 3, NULL, 10, 0.5);
                 INSERT INTO peak VALUES (1, 'load', 7), (1, 'loss', 9);
                 UPDATE measurement SET outcome_detail = '{\"outcome\":\"finished\"}', ended_at = '2' WHERE id = 1;
                 UPDATE measurement SET outcome_detail = '{\"outcome\":\"finished\"}', ended_at = '1' WHERE id = 3;",
            )
            .unwrap();
        let store = folder.open();
        let history = store.history().unwrap();
        assert_eq!(history.trials.iter().map(|trial| trial.rungs.len()).collect::<Vec<_>>(), [1, 0, 1]);
        for trial in [0, 2] {
            let condensed = store.partial((trial, 0)).unwrap().condense();
            let read = &history.trials[trial as usize].rungs[0].measurement;
            // A loss that is no number is not equal to itself.
            assert_eq!(format!("{read:?}"), format!("{condensed:?}"));
        }
        let order = store.last_ended(9).unwrap();
        assert_eq!(order.iter().map(|one| one.run.unwrap().trial).collect::<Vec<_>>(), [2, 0]);
        store.finish((1, 0), &Outcome::Finished).unwrap();
        assert_eq!(store.history().unwrap().trials[1].rungs.len(), 1);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_file_at_its_version() {
        let folder = Folder::new();
        folder.open().add_trial(0, &hyperparams(1e-3)).unwrap();
        let migrations = [MIGRATIONS, &[ADD_NOTE, "CREATE TABLE tag (name TEXT) STRICT;"]].concat();
        let error = Store::open_with(&folder.file(), &migrations).unwrap_err();
        assert!(matches!(error, StoreError::Sqlite { .. }), "{error}");
        assert_eq!(folder.ask::<i64>("PRAGMA user_version"), known());
        assert_eq!(folder.ask::<i64>("SELECT count(*) FROM sqlite_schema WHERE name = 'tag'"), 0);
        assert_eq!(folder.open().history().unwrap().trials.len(), 1);
    }

    #[test]
    fn a_newer_file_is_refused_with_both_versions_and_left_alone() {
        let folder = Folder::new();
        drop(Store::open_with(&folder.file(), &[MIGRATIONS, &[ADD_NOTE]].concat()).unwrap());
        let bytes = std::fs::read(folder.file()).unwrap();
        for open in [Store::open, Store::open_read_only, Store::open_past] {
            let result = open(&folder.file());
            let error = result.unwrap_err();
            let StoreError::Newer { found, known: newest, .. } = error else { panic!("{error:?}") };
            assert_eq!((found, newest), (known() + 1, known()));
            let words = format!("version {found}, this program knows up to {newest}");
            assert!(error.to_string().contains(&words), "{error}");
            assert!(error.to_string().contains("install a newer diapason"), "{error}");
        }
        assert!(std::fs::read(folder.file()).unwrap() == bytes, "the file was changed");
    }

    #[test]
    fn another_study_of_an_earlier_version_is_read_and_left_as_it_is() {
        let folder = Folder::new();
        drop(Store::open_with(&folder.file(), &MIGRATIONS[..2]).unwrap());
        folder
            .sql(
                "INSERT INTO trial (id, precision, micro_batch_size, gradient_accumulation_steps, learning_rate)
                     VALUES (0, 'f32', 2, 4, 1e-3);",
            )
            .unwrap();
        let bytes = std::fs::read(folder.file()).unwrap();
        let past = Store::open_past(&folder.file()).unwrap();
        assert_eq!(past.history().unwrap().trials.len(), 1);
        assert!(past.confirmations().unwrap().is_empty());
        drop(past);
        assert!(std::fs::read(folder.file()).unwrap() == bytes, "the file was changed");
        assert_eq!(folder.ask::<i64>("PRAGMA user_version"), 2);
        drop(folder.open());
        let of_this_version = Store::open_past(&folder.file()).unwrap();
        assert_eq!(of_this_version.history().unwrap().trials.len(), 1);
        let error = Store::open_past(&folder.path().join("nothing.db")).unwrap_err();
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    }

    #[test]
    fn an_older_file_is_not_read_as_if_it_were_new() {
        let folder = Folder::new();
        drop(folder.open());
        let migrations = [MIGRATIONS, &[ADD_NOTE]].concat();
        let error = Store::open_read_only_with(&folder.file(), &migrations).unwrap_err();
        let StoreError::Older { found, known: newest, .. } = error else { panic!("{error:?}") };
        assert_eq!((found, newest), (known(), known() + 1));
        assert_eq!(folder.ask::<i64>("PRAGMA user_version"), known());
    }
}
