//! What lies where of one run on the shared file system, and what of it is found again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::event_file::EventFile;
use crate::files;
use crate::trial::Outcome;

/// The files of one run.
#[derive(Clone, Debug)]
pub(super) struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn spec(&self) -> PathBuf {
        self.root.join("spec.json")
    }

    pub(super) fn script(&self) -> PathBuf {
        self.root.join("job.sh")
    }

    pub(super) fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    pub(super) fn stderr(&self) -> PathBuf {
        self.root.join("stderr.txt")
    }

    /// Whether the run was begun before with the same specification.
    pub(super) fn is_of(&self, spec: &[u8]) -> bool {
        fs::read(self.spec()).is_ok_and(|known| known == spec)
    }

    /// Whether the run has ended in a way that it would end again.
    ///
    /// An end that tells of the machine is none: such a run is worth another job.
    pub(super) fn has_ended(&self) -> bool {
        let mut events = EventFile::new(self.events());
        let last = std::iter::from_fn(|| events.next()).last();
        let outcome = last.as_ref().and_then(Outcome::from_last_word);
        outcome.is_some_and(|outcome| !outcome.blames_the_machine())
    }

    /// Forgets what was said before, and writes what the next job reads.
    pub(super) fn begin(&self, spec: &[u8], script: &str) -> io::Result<()> {
        remove(&self.events())?;
        remove(&self.stderr())?;
        files::write_bytes(&self.spec(), spec)?;
        files::write_bytes(&self.script(), script.as_bytes())
    }

    /// Removes what the study has on record.
    pub(super) fn forget(&self) {
        // On a network file system a file stays that the ending job still holds; it costs space and nothing else.
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_would_end_alike_has_ended_and_one_that_a_machine_failed_has_not() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(parent.path().join("run"));
        assert!(!folder.is_of(b"{}") && !folder.has_ended());
        folder.begin(b"{}", "#!/bin/sh\n").unwrap();
        assert!(folder.is_of(b"{}") && !folder.is_of(b"{ }") && !folder.has_ended());
        for (said, has_ended) in [
            ("{\"event\":\"finished\"}\n", true),
            ("{\"event\":\"diverged\",\"step\":3}\n", true),
            ("{\"event\":\"finished\"}", false),
            ("{\"event\":\"failed\",\"class\":\"device\",\"message\":\"\"}\n", false),
        ] {
            fs::write(folder.events(), said).unwrap();
            assert_eq!(folder.has_ended(), has_ended, "{said}");
        }
        folder.begin(b"{}", "").unwrap();
        assert!(!folder.events().exists(), "an old word must not end a new job");
        folder.forget();
        assert!(!folder.spec().exists());
    }
}
