//! The folder of the results: whether it can be written, how fast, and how much room there is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::check::{Check, Subject};
use crate::files;
use crate::units::Bytes;

/// What is written to measure: large enough to outlast a disk's cache for a moment, small enough to be quick.
const WRITTEN: usize = 32 << 20;
/// Small durable writes, as each event of a study is one.
const SMALL_WRITES: usize = 8;

/// A checkpoint of a gibibyte takes a minute at this speed.
const SLOW: f64 = 20e6;
/// Durable writes this slow make the database wait longer than a step of a small model takes.
const SLOW_SYNC: f64 = 0.1;
/// Checkpoints of the smallest useful models fill it in an evening.
const LITTLE: Bytes = Bytes::gib(2);
/// The database alone needs this.
const TOO_LITTLE: Bytes = Bytes::mib(64);

/// What was measured of a folder.
#[derive(Clone, Debug)]
pub(super) struct Found {
    folder: PathBuf,
    /// The nearest folder that exists, where the study's own does not yet.
    measured_in: PathBuf,
    free: Option<Bytes>,
    written: Result<Speed, String>,
}

#[derive(Clone, Copy, Debug)]
struct Speed {
    bytes_per_second: f64,
    sync_seconds: f64,
}

impl Found {
    pub(super) const fn free(&self) -> Option<Bytes> {
        self.free
    }
}

/// Writes beside, or in, the folder and looks how much room there is.
pub(super) fn look(folder: &Path) -> Found {
    let measured_in = nearest(folder);
    let written = speed(&measured_in).map_err(|error| error.to_string());
    Found { folder: folder.to_owned(), free: files::free(&measured_in), measured_in, written }
}

/// The folder itself, or the nearest above it that exists; something that is no folder is in the way of one.
fn nearest(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let existing = whole.ancestors().find(|place| place.symlink_metadata().is_ok());
    existing.unwrap_or(Path::new("/")).to_owned()
}

fn speed(folder: &Path) -> io::Result<Speed> {
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
    }
    let mut file = tempfile::tempfile_in(folder)?;
    // Not zeros: some file systems keep none of those.
    let block: Vec<u8> = (0..1_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let started = Instant::now();
    for _ in 0..WRITTEN / block.len() {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    #[expect(clippy::cast_precision_loss, reason = "a few million bytes")]
    let bytes_per_second = WRITTEN as f64 / started.elapsed().as_secs_f64().max(1e-9);
    let started = Instant::now();
    for _ in 0..SMALL_WRITES {
        file.write_all(&block[..4096])?;
        file.sync_all()?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let sync_seconds = started.elapsed().as_secs_f64() / SMALL_WRITES as f64;
    Ok(Speed { bytes_per_second, sync_seconds })
}

/// The line about room.
pub(super) fn room(found: &Found) -> Check {
    let subject = Subject::new("disk.room", "disk").with_values(json!({ "free_bytes": found.free }));
    let Some(free) = found.free else { return subject.not_checked("this system does not tell") };
    let measured = format!("{free} free in {}", found.measured_in.display());
    if free < TOO_LITTLE {
        return subject.problem(measured, "free some space, or write another `study.output`");
    }
    if free < LITTLE {
        return subject.warning(measured, "checkpoints fill it soon: free some space");
    }
    subject.ok(measured)
}

/// The line about writing.
pub(super) fn writing(found: &Found) -> Check {
    let subject = Subject::new("disk.writing", "results folder");
    let place = found.measured_in.display();
    let speed = match &found.written {
        Ok(speed) => speed,
        Err(reason) => {
            let folder = found.folder.display();
            let measured = format!("{folder}: nothing can be written in {place}: {reason}");
            return subject.problem(measured, "make it writable, or write another `study.output`");
        }
    };
    let Speed { bytes_per_second, sync_seconds } = *speed;
    let measured = format!(
        "{:.0} MB/s to the disk, {:.1} ms a durable write, in {place}",
        bytes_per_second / 1e6,
        sync_seconds * 1e3
    );
    let values = json!({ "bytes_per_second": bytes_per_second, "sync_seconds": sync_seconds });
    let subject = subject.with_values(values);
    if bytes_per_second < SLOW || sync_seconds > SLOW_SYNC {
        let fix =
            "each checkpoint and each event waits for it: write a `study.output` on a disk of this machine";
        return subject.warning(measured, fix);
    }
    subject.ok(measured)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn found(free: Bytes, bytes_per_second: f64, sync_seconds: f64) -> Found {
        let written = Ok(Speed { bytes_per_second, sync_seconds });
        Found { folder: "results".into(), measured_in: "/here".into(), free: Some(free), written }
    }

    #[test]
    fn little_room_is_a_warning_and_none_a_problem() {
        let of = |free| room(&found(free, 1e9, 0.0)).verdict;
        assert_eq!(of(LITTLE), Verdict::Ok);
        assert_eq!(of(Bytes(LITTLE.0 - 1)), Verdict::Warning);
        assert_eq!(of(TOO_LITTLE), Verdict::Warning);
        assert_eq!(of(Bytes(TOO_LITTLE.0 - 1)), Verdict::Problem);
        assert_eq!(room(&Found { free: None, ..found(LITTLE, 1e9, 0.0) }).verdict, Verdict::NotChecked);
    }

    #[test]
    fn a_slow_disk_is_a_warning_by_its_speed_or_by_its_waits() {
        let of = |speed, sync| writing(&found(LITTLE, speed, sync)).verdict;
        assert_eq!(of(SLOW, SLOW_SYNC), Verdict::Ok);
        assert_eq!(of(SLOW - 1.0, 0.0), Verdict::Warning);
        assert_eq!(of(SLOW, SLOW_SYNC + 0.001), Verdict::Warning);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_measured_above_and_stays_away() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("results/mine");
        let found = look(&folder);
        assert_eq!(found.measured_in, above.path());
        assert!(writing(&found).verdict != Verdict::Problem && found.free > Some(Bytes(0)));
        assert!(!folder.exists() && fs::read_dir(above.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_place_below_a_file_is_a_problem_that_names_both() {
        let above = tempfile::tempdir().unwrap();
        let file = above.path().join("file");
        fs::write(&file, "").unwrap();
        let check = writing(&look(&file.join("results")));
        assert_eq!(check.verdict, Verdict::Problem);
        assert!(check.measured.contains("file/results: nothing can be written in"), "{}", check.measured);
        assert!(check.fix.unwrap().contains("study.output"));
    }
}
