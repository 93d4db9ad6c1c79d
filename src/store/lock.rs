//! One driver at a time: a lock on a file of the output folder.
//!
//! The operating system frees it when its holder ends, however that happens; so a file that was
//! left behind locks nobody out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use super::error::StoreError;

/// The right to run a study, held until dropped.
#[derive(Debug)]
#[must_use = "the study is locked only while this value lives"]
pub struct Lock {
    file: File,
}

const LOCK: &str = ".lock";

impl Lock {
    /// Takes the lock of an output folder, which is made if need be.
    ///
    /// # Errors
    /// [`StoreError::AlreadyRunning`] with the holder's process id; or the folder is not writable.
    pub fn acquire(output_folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(output_folder)
            .map_err(|source| StoreError::Io { path: output_folder.to_owned(), source })?;
        let path = output_folder.join(LOCK);
        match try_acquire(&path) {
            Ok(Some(file)) => Ok(Self { file }),
            Ok(None) => Err(StoreError::AlreadyRunning { process: written(&path), path }),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Who watches is told that nobody runs the study any more.
        let _ = self.file.set_len(0);
        // Closing alone would leave the lock with a child that is just being started. An error
        // leaves nothing to do: the lock ends with the process.
        let _ = self.file.unlock();
    }
}

/// The locked file, or nothing if another holds it.
fn try_acquire(path: &Path) -> io::Result<Option<File>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => write_process_id(&mut file).map(|()| Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn write_process_id(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

/// The process that runs the study of an output folder, if one does.
///
/// It is told by what stands in the lock's file and by the system's list of processes: the lock itself is not
/// touched, for a driver that starts in that moment would be turned away.
#[must_use]
pub fn holder(output_folder: &Path) -> Option<u32> {
    let process = written(&output_folder.join(LOCK))?;
    let stat = |process: &str| std::fs::read_to_string(format!("/proc/{process}/stat"));
    let is_known = stat("self").is_ok();
    // Behind the name in brackets stands the state; Z is one that has ended and nobody asked for yet.
    let is_there = stat(&process.to_string())
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])));
    (is_there || !is_known).then_some(process)
}

fn written(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Folder;

    #[test]
    fn a_second_driver_is_told_which_process_runs_the_study() {
        let folder = Folder::new();
        let first = Lock::acquire(folder.path()).unwrap();
        let error = Lock::acquire(folder.path()).unwrap_err().to_string();
        let expected = format!("study is already being run by process {}\n", std::process::id());
        assert!(error.starts_with(&expected), "{error}");
        drop(first);
        assert!(Lock::acquire(folder.path()).is_ok());
    }

    #[test]
    fn who_runs_a_study_is_told_without_touching_its_lock() {
        let folder = Folder::new();
        assert_eq!(holder(folder.path()), None);
        let lock = Lock::acquire(folder.path()).unwrap();
        assert_eq!(holder(folder.path()), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder(folder.path()), None);
        // As a killed driver leaves it; no process has so high a number.
        std::fs::write(folder.path().join(LOCK), "4000000000\n").unwrap();
        assert_eq!(holder(folder.path()), None);
    }

    #[test]
    fn a_file_left_by_a_killed_driver_locks_nobody_out() {
        let folder = Folder::new();
        std::fs::write(folder.path().join(".lock"), "4000000000\n").unwrap();
        let lock = Lock::acquire(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(".lock")).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(lock);
    }
}
