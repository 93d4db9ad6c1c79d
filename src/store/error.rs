//! Why the store refuses.

use std::io;
use std::path::{Path, PathBuf};

use crate::space::HardwareSetting;
use crate::trial::{RunKey, TrialId};

/// Why a study's database cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder beside the database.
    #[error("`{path}` cannot be written: {source}\n  hint: check its permissions and the free space", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing was recorded yet.
    #[error("`{file}` does not exist\n  hint: `diapason run` makes it; check the study's name and output folder", file = file.display())]
    Missing {
        /// The database.
        file: PathBuf,
    },
    /// Not SQLite, or the database of another program. It was left as it is.
    #[error("`{file}` is not the database of a study\n  hint: move it away, or choose another `[study] output`", file = file.display())]
    NotAStudy {
        /// The file.
        file: PathBuf,
    },
    /// A damaged database. It was left as it is.
    #[error("`{file}` is damaged: {detail}\n  hint: put a backup in its place, or save what is left with `sqlite3 FILE .recover`", file = file.display())]
    Corrupt {
        /// The database.
        file: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// The database was written by a newer program. It was left as it is.
    #[error("`{file}` has schema version {found}, this program knows up to {known}\n  hint: install a newer diapason, or choose another `[study] output`", file = file.display())]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The database is older than the program and may only be read.
    #[error("`{file}` has schema version {found}, this program reads {known}\n  hint: `diapason run` on the study brings it up to date", file = file.display())]
    Older {
        /// The database.
        file: PathBuf,
        /// Its version.
        found: i64,
        /// The version needed.
        known: i64,
    },
    /// The study file differs from the one the results belong to.
    #[error("the study changed after `{file}` was begun: {}\n  hint: change it back, choose another `[study] name` or `output`, or remove the output folder", changes.join("; "), file = file.display())]
    StudyChanged {
        /// The database.
        file: PathBuf,
        /// Each setting that differs, with both values.
        changes: Vec<String>,
    },
    /// Another driver holds the study.
    #[error("study is already being run by {}\n  hint: wait for it or stop it; its lock is `{path}`", process.map_or("another process".to_owned(), |id| format!("process {id}")), path = path.display())]
    AlreadyRunning {
        /// The lock file.
        path: PathBuf,
        /// The other driver, if it has written its number.
        process: Option<u32>,
    },
    /// Trials are numbered without gaps.
    #[error("trial {given} cannot be added\n  hint: the next trial is number {expected}")]
    NotNextTrial {
        /// The number asked for.
        given: TrialId,
        /// The number that comes next.
        expected: TrialId,
    },
    /// No such trial.
    #[error("trial {trial} is not recorded\n  hint: add the trial before its rungs")]
    UnknownTrial {
        /// The trial.
        trial: TrialId,
    },
    /// No such rung.
    #[error("{run} was not started\n  hint: start a rung before recording in it")]
    UnknownRung {
        /// Which run.
        run: RunKey,
    },
    /// History is append-only.
    #[error("{run} has ended\n  hint: a finished rung never changes; start the next one")]
    RungEnded {
        /// Which run.
        run: RunKey,
    },
    /// A rung is continued under other terms.
    #[error(
        "{run} was started to stop at step {stored}, not {given}\n  hint: continue it with the same `stop_at_step`"
    )]
    RungDiffers {
        /// Which run.
        run: RunKey,
        /// Step recorded at its start.
        stored: usize,
        /// Step given now.
        given: usize,
    },
    /// Probes are append-only.
    #[error(
        "{setting} at micro-batch {micro_batch_size} was already probed\n  hint: a recorded probe never changes"
    )]
    ProbeRepeated {
        /// Setting of the probe.
        setting: HardwareSetting,
        /// Examples at once.
        micro_batch_size: usize,
    },
    /// A fact is not what the program expects.
    #[error(
        "fact `{key}` cannot be written or read as JSON: {source}\n  hint: another version of diapason may have written it"
    )]
    Fact {
        /// Its name.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The disk is full, or the database may not grow.
    #[error("`{file}` can't grow: the disk or a quota is full\n  hint: free some space and start the same command again; it goes on from what was recorded, which is safe", file = file.display())]
    Full {
        /// The database.
        file: PathBuf,
    },
    /// The database may be read only.
    #[error("`{file}` can't be written: it is read-only\n  hint: check the permissions of the file and of its folder, and whether its file system is mounted read-only", file = file.display())]
    ReadOnly {
        /// The database.
        file: PathBuf,
    },
    /// Another program keeps the database locked.
    #[error("`{file}` is locked by another program\n  hint: close what has it open, such as a `sqlite3` shell within a transaction, and start the same command again", file = file.display())]
    Locked {
        /// The database.
        file: PathBuf,
    },
    /// Any other refusal of SQLite.
    #[error("`{file}`: {source}\n  hint: check the disk and that its folder is writable; what was recorded before is safe", file = file.display())]
    Sqlite {
        /// The database.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// A refusal inside the store, where the file's name is not at hand.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl Fault {
    /// Names the file; here alone SQLite's codes are told apart.
    pub(super) fn at(self, file: &Path) -> StoreError {
        use rusqlite::ErrorCode::{
            DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, ReadOnly,
        };
        let file = file.to_owned();
        match self {
            Self::Store(error) => error,
            Self::Sqlite(source) => match source.sqlite_error_code() {
                Some(NotADatabase) => StoreError::NotAStudy { file },
                Some(DatabaseCorrupt) => StoreError::Corrupt { file, detail: source.to_string() },
                Some(DiskFull) => StoreError::Full { file },
                Some(ReadOnly) => StoreError::ReadOnly { file },
                Some(DatabaseBusy | DatabaseLocked) => StoreError::Locked { file },
                _ => StoreError::Sqlite { file, source },
            },
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
