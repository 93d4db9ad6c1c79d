//! A file of metrics that a foreign program writes while it runs: what is new in it since the last look.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::python_json;
use crate::space::MetricsForm;

/// One entry, by its keys.
pub(super) type Entry = Map<String, Value>;

/// The list of entries in Hugging Face's `trainer_state.json`.
const LOG: &str = "log_history";
/// The folders beside which Hugging Face's Trainer would write it; it writes one into each.
const FOLDER: &str = "checkpoint-";

/// A file that grows, or is written anew.
pub(super) struct MetricsFile {
    path: PathBuf,
    reader: Reader,
}

enum Reader {
    Lines {
        /// Bytes of whole lines that have been read.
        read: u64,
    },
    State {
        known: Vec<Entry>,
        /// What was read last, by file, size and moment: most looks find nothing new.
        last: Option<Version>,
    },
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    modified: Option<SystemTime>,
    bytes: u64,
    file: PathBuf,
}

impl MetricsFile {
    pub(super) const fn new(path: PathBuf, form: MetricsForm) -> Self {
        let reader = match form {
            MetricsForm::Lines => Reader::Lines { read: 0 },
            MetricsForm::TrainerState => Reader::State { known: Vec::new(), last: None },
        };
        Self { path, reader }
    }

    /// The entries that have come since the last look, oldest first.
    ///
    /// A file that is not there yet has none, and one that is just being written is looked at again later. When its
    /// writer `is_gone`, a last line needs no line end.
    pub(super) fn news(&mut self, is_gone: bool) -> Vec<Entry> {
        match &mut self.reader {
            Reader::Lines { read } => new_lines(&self.path, read, is_gone).unwrap_or_default(),
            Reader::State { known, last } => newest(&self.path)
                .filter(|newest| last.as_ref() != Some(newest))
                .and_then(|newest| new_entries(newest, known, last))
                .unwrap_or_default(),
        }
    }
}

fn new_lines(path: &Path, read: &mut u64, is_gone: bool) -> Option<Vec<Entry>> {
    let mut file = File::open(path).ok()?;
    if file.metadata().ok()?.len() < *read {
        // Begun anew.
        *read = 0;
    }
    file.seek(SeekFrom::Start(*read)).ok()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    let whole = match text.iter().rposition(|byte| *byte == b'\n') {
        _ if is_gone => text.len(),
        Some(end) => end + 1,
        None => 0,
    };
    *read += whole as u64;
    Some(text[..whole].split(|byte| *byte == b'\n').filter_map(python_json::object).collect())
}

/// What is in the newest version behind that which was known.
fn new_entries(newest: Version, known: &mut Vec<Entry>, last: &mut Option<Version>) -> Option<Vec<Entry>> {
    // Half written, it is no JSON, and has another size at the next look.
    let mut state = python_json::object(&fs::read(&newest.file).ok()?)?;
    *last = Some(newest);
    let Some(Value::Array(log)) = state.remove(LOG) else { return None };
    let log: Vec<Entry> = log.into_iter().filter_map(into_object).collect();
    let same = log.iter().zip(known.iter()).take_while(|(new, old)| new == old).count();
    let news = log[same..].to_vec();
    *known = log;
    Some(news)
}

fn into_object(value: Value) -> Option<Entry> {
    match value {
        Value::Object(entry) => Some(entry),
        _ => None,
    }
}

/// The file itself, or its namesake in one of the checkpoint folders beside it, whichever was written last.
fn newest(path: &Path) -> Option<Version> {
    let (folder, name) = (path.parent()?, path.file_name()?);
    let is_checkpoint =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FOLDER));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let beside = entries.filter(is_checkpoint).map(|folder| folder.join(name));
    std::iter::once(path.to_owned()).chain(beside).filter_map(version).max()
}

fn version(file: PathBuf) -> Option<Version> {
    let metadata = fs::metadata(&file).ok()?;
    Some(Version { modified: metadata.modified().ok(), bytes: metadata.len(), file })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn steps(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry["step"].as_u64().unwrap()).collect()
    }

    #[test]
    fn half_a_line_waits_for_its_end_and_the_last_one_for_that_of_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        let mut metrics = MetricsFile::new(path.clone(), MetricsForm::Lines);
        assert!(metrics.news(false).is_empty(), "there is no file yet");
        let mut file = File::create(&path).unwrap();
        let mut write = |text: &str| file.write_all(text.as_bytes()).unwrap();
        write("{\"step\":1}\n{\"st");
        assert_eq!(steps(&metrics.news(false)), [1]);
        assert!(metrics.news(false).is_empty());
        write("ep\":2}\nno json\n[3]\n{\"step\":4}");
        assert_eq!(steps(&metrics.news(false)), [2]);
        assert_eq!(steps(&metrics.news(true)), [4]);
        assert!(metrics.news(true).is_empty());
    }

    #[test]
    fn a_file_of_lines_that_is_begun_anew_is_read_from_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        let mut metrics = MetricsFile::new(path.clone(), MetricsForm::Lines);
        fs::write(&path, "{\"step\":1}\n{\"step\":2}\n").unwrap();
        assert_eq!(steps(&metrics.news(false)), [1, 2]);
        fs::write(&path, "{\"step\":1}\n").unwrap();
        assert_eq!(steps(&metrics.news(false)), [1]);
    }

    fn state(steps: &[u64]) -> String {
        let entries: Vec<String> = steps.iter().map(|step| format!("{{\"step\": {step}}}")).collect();
        format!("{{\"global_step\": 9, \"log_history\": [{}]}}", entries.join(", "))
    }

    #[test]
    fn of_a_state_that_is_written_anew_only_what_is_new_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trainer_state.json");
        let mut metrics = MetricsFile::new(path.clone(), MetricsForm::TrainerState);
        fs::write(&path, state(&[1, 2])).unwrap();
        assert_eq!(steps(&metrics.news(false)), [1, 2]);
        let whole = state(&[1, 2, 3]);
        fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        assert!(metrics.news(false).is_empty(), "half of it waits");
        fs::write(&path, &whole).unwrap();
        assert_eq!(steps(&metrics.news(false)), [3]);
        assert!(metrics.news(false).is_empty());
        // Gone on from the checkpoint at step 1, with other numbers behind it.
        fs::write(&path, state(&[1, 7, 8, 9])).unwrap();
        assert_eq!(steps(&metrics.news(false)), [7, 8, 9]);
    }

    #[test]
    fn a_state_in_the_newest_checkpoint_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics =
            MetricsFile::new(folder.path().join("trainer_state.json"), MetricsForm::TrainerState);
        for (name, known) in [("checkpoint-2", &[1, 2][..]), ("checkpoint-10", &[1, 2, 10])] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("trainer_state.json"), state(known)).unwrap();
            assert_eq!(steps(&metrics.news(false)).last(), known.last(), "{name}");
        }
    }
}
