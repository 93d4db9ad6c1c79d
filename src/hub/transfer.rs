//! One file from the hub into the cache, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::HubError;
use super::cache::ModelCache;
use super::event::{HubEvent, Listener};
use super::listing::RemoteFile;
use super::remote::{ATTEMPTS, Answer, Remote};
use crate::fingerprint;
use crate::units::Bytes;

/// Bytes read at once: few enough that progress and the wish to stop are never late.
const BLOCK: usize = 1 << 18;
/// A connection that broke after so many bytes was a good one, and its break does not count.
const WORTH: u64 = 8 << 20;
/// How often it is looked whether another process has finished.
const POLL: Duration = Duration::from_millis(200);

/// Everything a transfer works with.
pub(super) struct Transfer<'a, 'b> {
    pub(super) remote: &'a Remote<'a>,
    pub(super) cache: &'a ModelCache,
    pub(super) listener: &'a mut Listener<'b>,
    /// Bytes of all files, to be told with each progress.
    pub(super) bytes: Bytes,
    /// Bytes of files that are finished.
    pub(super) before: Bytes,
}

/// What broke a copy.
enum Broken {
    /// The connection.
    Line(io::Error),
    /// The disk, or the user.
    End(HubError),
}

impl Transfer<'_, '_> {
    /// Puts the file's blob into the cache.
    ///
    /// # Errors
    /// It can't be had, is not what the hub says, or the cache can't be written.
    pub(super) fn fetch(&mut self, file: &RemoteFile) -> Result<(), HubError> {
        let lock = self.lock(file)?;
        // Whoever held the lock may have done it.
        if !self.cache.has_blob(file) {
            self.fetch_verified(file)?;
        }
        drop(lock);
        self.before.0 += file.bytes.0;
        self.tell(HubEvent::FileReady { file: &file.name, bytes: file.bytes })
    }

    fn lock(&mut self, file: &RemoteFile) -> Result<File, HubError> {
        loop {
            if let Some(lock) = self.cache.lock(file)? {
                return Ok(lock);
            }
            self.tell(HubEvent::Waiting { file: &file.name })?;
            thread::sleep(POLL);
        }
    }

    /// What an earlier download left may be of another file: the digest tells, and then all is
    /// fetched anew, once.
    fn fetch_verified(&mut self, file: &RemoteFile) -> Result<(), HubError> {
        let part = self.cache.incomplete(file);
        let continued = length(&part) > 0;
        self.fill(file, &part)?;
        let mut damage = damage(file, &part)?;
        if damage.is_some() {
            discard(&part)?;
            if continued {
                self.fill(file, &part)?;
                damage = self::damage(file, &part)?;
            }
        }
        match damage {
            None => self.cache.finish(file),
            Some(found) => {
                discard(&part)?;
                let right = file.sha256.clone().unwrap_or_default();
                Err(HubError::Damaged { file: file.name.clone(), found, right })
            }
        }
    }

    /// Lets `part` grow to the file's size, over as many connections as it takes.
    fn fill(&mut self, file: &RemoteFile, part: &Path) -> Result<(), HubError> {
        let mut failures = 0;
        loop {
            let start = length(part);
            if start == file.bytes.0 && part.is_file() {
                return Ok(());
            }
            if start > file.bytes.0 {
                discard(part)?;
                continue;
            }
            let answer = self.remote.file(&file.name, start, self.listener)?;
            let reason = match self.copy(answer, file, part, start) {
                Ok(()) => "the hub sent less than it has".to_owned(),
                Err(Broken::Line(error)) => error.to_string(),
                Err(Broken::End(error)) => return Err(error),
            };
            let now = length(part);
            if now == file.bytes.0 {
                continue;
            }
            failures = if now > start + WORTH { 1 } else { failures + 1 };
            if failures == ATTEMPTS {
                let (file, bytes) = (file.name.clone(), file.bytes);
                return Err(HubError::Cut { file, got: Bytes(now), bytes, reason });
            }
            self.remote.pause(failures, &format!("{}: {reason}", file.name), self.listener)?;
        }
    }

    /// Appends the answer's bytes to `part`, or replaces it where the hub sends all of the file.
    fn copy(&mut self, mut answer: Answer, file: &RemoteFile, part: &Path, start: u64) -> Result<(), Broken> {
        let disk = |error| Broken::End(HubError::disk(part)(error));
        let mut options = OpenOptions::new();
        let options = options.create(true).write(true);
        if answer.status == 416 {
            // The hub's file is shorter than what is here.
            discard(part).map_err(Broken::End)?;
            return Err(Broken::Line(io::Error::other("what was there did not belong to the file")));
        }
        let mut done = if answer.status == 206 { start } else { 0 };
        let options = if answer.status == 206 { options.append(true) } else { options.truncate(true) };
        let mut output = options.open(part).map_err(disk)?;
        let mut block = vec![0; BLOCK];
        loop {
            let read = answer.body.read(&mut block).map_err(Broken::Line)?;
            if read == 0 {
                return Ok(());
            }
            // More than the file has is no part of it; the length shows it afterwards.
            output.write_all(&block[..read]).map_err(disk)?;
            done += read as u64;
            if done > file.bytes.0 {
                return Ok(());
            }
            self.progress(file, Bytes(done)).map_err(Broken::End)?;
        }
    }

    fn progress(&mut self, file: &RemoteFile, file_done: Bytes) -> Result<(), HubError> {
        let done = Bytes(self.before.0 + file_done.0);
        let (file_bytes, bytes) = (file.bytes, self.bytes);
        self.tell(HubEvent::Progress { file: &file.name, file_done, file_bytes, done, bytes })
    }

    fn tell(&mut self, event: HubEvent<'_>) -> Result<(), HubError> {
        if (self.listener)(event).is_break() { Err(HubError::Interrupted) } else { Ok(()) }
    }
}

/// Bytes of a file that may not exist.
pub(super) fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |found| found.len())
}

fn discard(part: &Path) -> Result<(), HubError> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HubError::disk(part)(error)),
        _ => Ok(()),
    }
}

/// The digest of what arrived, where it is not the hub's.
fn damage(file: &RemoteFile, part: &Path) -> Result<Option<String>, HubError> {
    let Some(right) = &file.sha256 else {
        return Ok(None);
    };
    let found = fingerprint::sha256(part).map_err(HubError::disk(part))?;
    Ok(Some(found).filter(|found| found != right))
}
