//! Opening the file, and the one way to read or write it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::error::{Fault, StoreError};
use super::schema::{MIGRATIONS, inspect, migrate};

/// The database of one study.
#[derive(Debug)]
pub struct Store {
    file: PathBuf,
    connection: Connection,
    /// Whether the next transaction may return before it is on the disk.
    soon: Cell<bool>,
}

/// How long a reader may hold up the writer, as while a checkpoint of the log runs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A copy is made in one step: if somebody writes between two, it begins anew.
const PAGES: std::ffi::c_int = std::ffi::c_int::MAX;
/// Pause before it is tried again where a step was not possible.
const PAUSE: Duration = Duration::from_millis(50);

/// All statements of the store stay prepared.
const PREPARED_STATEMENTS: usize = 32;

impl Store {
    /// Opens the study's database for writing; makes it, and its folder, if need be.
    ///
    /// # Errors
    /// If the file belongs to another program, is damaged or is newer than this program; in these
    /// cases it stays as it was. If the folder cannot be written.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        Self::open_with(file, MIGRATIONS)
    }

    pub(super) fn open_with(file: &Path, migrations: &[&str]) -> Result<Self, StoreError> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let prepare = |connection: &Connection| {
            inspect(connection, file, migrations)?;
            // Only now: the write-ahead log is a mark in the file, which a stranger's must not get.
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            migrate(connection, migrations)
        };
        Self::connect(file, flags, prepare)
    }

    /// Opens an existing study's database for reading, also while another process writes it.
    ///
    /// # Errors
    /// If the file is missing, belongs to another program, is damaged, or has another version.
    pub fn open_read_only(file: &Path) -> Result<Self, StoreError> {
        Self::open_read_only_with(file, MIGRATIONS)
    }

    pub(super) fn open_read_only_with(file: &Path, migrations: &[&str]) -> Result<Self, StoreError> {
        if !file.exists() {
            return Err(StoreError::Missing { file: file.to_owned() });
        }
        Self::connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY, |connection| {
            match inspect(connection, file, migrations)? {
                // An empty file is a study whose driver was killed before its first write.
                (0, _) => Err(StoreError::Missing { file: file.to_owned() }.into()),
                (found, known) if found < known => {
                    Err(StoreError::Older { file: file.to_owned(), found, known }.into())
                }
                _ => Ok(()),
            }
        })
    }

    /// Opens another study's database for reading, of this version or an earlier one; the file stays as it is.
    ///
    /// One of an earlier version is brought up to date in a copy in memory.
    ///
    /// # Errors
    /// If the file is missing, belongs to another program, is damaged, or is newer than this program.
    pub fn open_past(file: &Path) -> Result<Self, StoreError> {
        match Self::open_read_only(file) {
            Err(StoreError::Older { .. }) => {
                let source = Self::connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY, |_| Ok(()))?;
                let copy = || -> Result<Connection, Fault> {
                    let mut copy = Connection::open_in_memory()?;
                    Backup::new(&source.connection, &mut copy)?.run_to_completion(PAGES, PAUSE, None)?;
                    migrate(&copy, MIGRATIONS)?;
                    Ok(copy)
                };
                let connection = copy().map_err(|fault| fault.at(file))?;
                Ok(Self { connection, ..source })
            }
            opened => opened,
        }
    }

    fn connect(
        file: &Path,
        flags: OpenFlags,
        prepare: impl FnOnce(&Connection) -> Result<(), Fault>,
    ) -> Result<Self, StoreError> {
        let connect = || -> Result<Connection, Fault> {
            // Without the URI flag a study may be named `file:x`.
            let mut connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            if flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) && !can_be_shared(&connection) {
                connection = open_unchanging(file)?;
            }
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
            prepare(&connection)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            Ok(connection)
        };
        let connection = connect().map_err(|fault| fault.at(file))?;
        Ok(Self { file: file.to_owned(), connection, soon: Cell::new(false) })
    }

    /// The database file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All of `action` in one transaction, or nothing of it; on the disk, with all before it.
    pub(super) fn write<T>(
        &self,
        action: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        #[cfg(test)]
        super::testing::survive(&self.file)?;
        self.set_soon(false)?;
        self.within(TransactionBehavior::Immediate, action)
    }

    /// The same without waiting for the disk: it outlives the process, and a power cut once [`Self::write`] was
    /// called after it.
    pub(super) fn write_soon<T>(
        &self,
        action: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        #[cfg(test)]
        super::testing::survive(&self.file)?;
        self.set_soon(true)?;
        self.within(TransactionBehavior::Immediate, action)
    }

    /// Both ways the file stays whole; SQLite takes the setting outside of transactions only.
    fn set_soon(&self, soon: bool) -> Result<(), StoreError> {
        if self.soon.get() != soon {
            let setting = if soon { "NORMAL" } else { "FULL" };
            let set = self.connection.pragma_update(None, "synchronous", setting);
            set.map_err(|error| Fault::from(error).at(&self.file))?;
            self.soon.set(soon);
        }
        Ok(())
    }

    /// `action` on one state of the database, whatever a writer does meanwhile.
    pub(super) fn read<T>(
        &self,
        action: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.within(TransactionBehavior::Deferred, action)
    }

    fn within<T>(
        &self,
        behavior: TransactionBehavior,
        action: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let within = || -> Result<T, Fault> {
            let transaction = Transaction::new_unchecked(&self.connection, behavior)?;
            let value = action(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        within().map_err(|fault| fault.at(&self.file))
    }
}

/// Whether a reader can take part in the write-ahead log, for which it may have to make files beside the database.
fn can_be_shared(connection: &Connection) -> bool {
    let first = connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()));
    first.err().and_then(|error| error.sqlite_error_code()) != Some(ErrorCode::CannotOpen)
}

/// Reads a file where nothing can be written beside it, as on a disk that is mounted read-only.
///
/// Only where no log lies beside it: without one the file is whole, and nobody writes it.
fn open_unchanging(file: &Path) -> rusqlite::Result<Connection> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Connection::open_with_flags(file, flags);
    }
    let uri = format!("file:{}?immutable=1", escaped(&file.to_string_lossy()));
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
}

/// What a URI reserves, as it is written there.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Folder, eval, hyperparams, started, step};
    use crate::trial::Event;

    #[test]
    fn a_missing_study_cannot_be_read_and_is_not_made() {
        let folder = Folder::new();
        let error = Store::open_read_only(&folder.file()).unwrap_err();
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
        assert!(!folder.file().exists());
    }

    #[test]
    fn an_empty_file_is_a_study_that_has_not_begun() {
        let folder = Folder::new();
        let file = folder.path().join("study.db");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Store::open_read_only(&file), Err(StoreError::Missing { .. })));
        assert_eq!(Store::open(&file).unwrap().identity().unwrap(), None);
    }

    #[test]
    fn each_event_is_on_the_disk_before_the_next() {
        let folder = Folder::new();
        folder.open();
        let store = folder.open();
        let pragma = |name: &str| -> String {
            let text = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            store.connection.query_row(&text, [], |row| row.get(0)).unwrap()
        };
        let settings = ["journal_mode", "synchronous", "foreign_keys"].map(pragma);
        assert_eq!(settings, ["wal", "2", "1"]);
    }

    #[test]
    fn only_what_can_wait_returns_before_it_is_on_the_disk() {
        let folder = Folder::new();
        let store = folder.open();
        let level = |connection: &Connection| -> Result<i64, Fault> {
            Ok(connection.pragma_query_value(None, "synchronous", |row| row.get(0))?)
        };
        let (full, normal) = (2, 1);
        for _ in 0..2 {
            assert_eq!(store.write_soon(level).unwrap(), normal);
            assert_eq!(store.write(level).unwrap(), full);
        }
    }

    #[test]
    fn a_checkpoint_is_a_write_of_its_own_so_that_the_steps_before_it_are_on_the_disk() {
        let folder = Folder::new();
        let store = folder.open();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
        store.start((0, 0), 10).unwrap();
        let log = folder.file().with_file_name("study.db-wal");
        let size = || std::fs::metadata(&log).unwrap().len();
        for step_now in [1, 2] {
            store.append((0, 0), &[Event::Step(step(step_now, 2.0))]).unwrap();
            assert!(store.soon.get());
            let before = size();
            store.append((0, 0), &[Event::Checkpoint { path: "x".into(), step: step_now }]).unwrap();
            assert!(!store.soon.get() && size() > before, "nothing was written, so nothing was synced");
        }
    }

    #[test]
    fn a_reader_sees_what_the_writer_has_recorded_and_writes_nothing() {
        let folder = Folder::new();
        let writer = folder.open();
        let reader = Store::open_read_only(&folder.file()).unwrap();
        writer.add_trial(0, &hyperparams(1e-3)).unwrap();
        assert_eq!(reader.history().unwrap(), writer.history().unwrap());
        assert!(reader.add_trial(1, &hyperparams(1e-3)).is_err());
        assert_eq!(writer.history().unwrap().trials.len(), 1);
    }

    #[test]
    fn what_a_killed_driver_leaves_behind_holds_every_recorded_event() {
        let (folder, rescue) = (Folder::new(), Folder::new());
        let store = folder.open();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
        store.start((0, 0), 10).unwrap();
        store.append((0, 0), &[started(0), Event::Step(step(1, 2.0))]).unwrap();
        // The files are copied as they lie, while the writer is still at work.
        std::fs::create_dir_all(rescue.file().parent().unwrap()).unwrap();
        for suffix in ["", "-wal"] {
            let name = format!("study.db{suffix}");
            std::fs::copy(folder.file().with_file_name(&name), rescue.file().with_file_name(&name)).unwrap();
        }
        let partial = store.partial((0, 0)).unwrap();
        assert_eq!(Store::open_read_only(&rescue.file()).unwrap().partial((0, 0)).unwrap(), partial);
        assert_eq!(rescue.open().partial((0, 0)).unwrap(), partial);
    }

    #[test]
    fn a_full_disk_is_told_and_what_was_recorded_stays_and_goes_on_where_there_is_room_again() {
        let folder = Folder::new();
        let store = folder.open();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
        store.start((0, 0), 100_000).unwrap();
        let pages = |most: i64| -> i64 {
            let pragma = format!("PRAGMA max_page_count = {most}");
            store.connection.query_row(&pragma, [], |row| row.get(0)).unwrap()
        };
        pages(pages(1) + 3);
        let append = |n: usize| store.append((0, 0), &[Event::Step(step(n, 2.0)), Event::Eval(eval(n, 2.0))]);
        let recorded = (1..1_000_000).take_while(|n| append(*n).is_ok()).count();
        let error = append(recorded + 1).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.to_string().contains("hint: free some space"), "{error}");
        let kept = || {
            let partial = folder.open().partial((0, 0)).unwrap();
            (partial.steps.len(), partial.evals.len())
        };
        assert!(recorded > 10);
        assert_eq!(kept(), (recorded, recorded), "half of a slice was kept, or a whole one lost");
        pages(1 << 20);
        append(recorded + 1).unwrap();
        assert_eq!(kept(), (recorded + 1, recorded + 1));
    }

    #[test]
    fn a_database_that_another_program_keeps_locked_is_told_and_taken_when_it_is_free() {
        let folder = Folder::new();
        let store = folder.open();
        store.connection.busy_timeout(Duration::from_millis(20)).unwrap();
        let other = Connection::open(folder.file()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = store.add_trial(0, &hyperparams(1e-3)).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains("hint: close what has it open"), "{error}");
        assert!(store.history().unwrap().trials.is_empty(), "reading goes on");
        other.execute_batch("COMMIT").unwrap();
        store.add_trial(0, &hyperparams(1e-3)).unwrap();
    }

    #[test]
    fn writing_to_what_is_read_only_is_told() {
        let folder = Folder::new();
        drop(folder.open());
        let reader = Store::open_read_only(&folder.file()).unwrap();
        let error = reader.add_trial(0, &hyperparams(1e-3)).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
        assert!(error.to_string().contains("mounted read-only"), "{error}");
    }

    #[test]
    fn a_study_is_read_where_no_file_can_be_made_beside_its_database() {
        let folder = Folder::new();
        folder.open().add_trial(0, &hyperparams(1e-3)).unwrap();
        // As on a disk that is mounted read-only, where tests run by an administrator could still write.
        let log = folder.file().with_file_name("study.db-wal");
        std::os::unix::fs::symlink(folder.path().join("nowhere/log"), &log).unwrap();
        let plain = Connection::open_with_flags(folder.file(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        assert!(!can_be_shared(&plain), "the test stands in for nothing");
        let reader = Store::open_read_only(&folder.file()).unwrap();
        assert_eq!(reader.history().unwrap().trials.len(), 1);
    }

    #[test]
    fn names_that_a_uri_reserves_are_escaped() {
        assert_eq!(escaped("a 50% #1?.db"), "a 50%25 %231%3f.db");
    }

    /// Opens `bytes` both ways and makes sure that the file stays as it was.
    fn check_refused(bytes: &[u8], is_expected: fn(&StoreError) -> bool) {
        let folder = Folder::new();
        let file = folder.path().join("study.db");
        std::fs::write(&file, bytes).unwrap();
        for result in [Store::open(&file), Store::open_read_only(&file)] {
            let error = result.unwrap_err();
            assert!(is_expected(&error), "{error:?}");
            assert!(error.to_string().contains("study.db") && error.to_string().contains("hint:"), "{error}");
        }
        assert!(std::fs::read(&file).unwrap() == bytes, "the file was changed");
    }

    #[test]
    fn a_file_that_is_not_sqlite_is_refused_and_left_alone() {
        let text = "step,loss\n1,2.5\n".repeat(100);
        check_refused(text.as_bytes(), |error| matches!(error, StoreError::NotAStudy { .. }));
    }

    #[test]
    fn the_database_of_another_program_is_refused_and_left_alone() {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
        folder.sql("CREATE TABLE notes (text TEXT)").unwrap();
        let bytes = std::fs::read(folder.file()).unwrap();
        check_refused(&bytes, |error| matches!(error, StoreError::NotAStudy { .. }));
    }

    #[test]
    fn a_damaged_study_is_refused_and_left_alone() {
        let folder = Folder::new();
        folder.open().add_trial(0, &hyperparams(1e-3)).unwrap();
        let whole = std::fs::read(folder.file()).unwrap();
        let truncated = &whole[..whole.len() / 2];
        check_refused(truncated, |error| matches!(error, StoreError::Corrupt { .. }));
        let mut scribbled = whole.clone();
        scribbled[4096 * 2..4096 * 4].fill(0xA5);
        check_refused(&scribbled, |error| matches!(error, StoreError::Corrupt { .. }));
    }
}
