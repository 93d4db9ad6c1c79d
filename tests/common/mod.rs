//! A whole study that fits into seconds: a random model, a small table with warts, a study file.
//!
//! A test changes what it is about and runs the real program:
//!
//! ```ignore
//! let study = TinyStudy::new().set("train.epochs", 2);
//! let ran = study.run(&["run", "--json"]);
//! assert_eq!(ran.code, 0, "{}", ran.stderr);
//! ```

mod material;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use diapason::arch::{ModelConfig, parameter_count};
use tempfile::TempDir;
use toml::{Table, Value};

pub(crate) use material::config;

/// A folder with `base/`, `rows.csv` and `study.toml`; results go to `results/`.
pub(crate) struct TinyStudy {
    folder: TempDir,
    file: Table,
}

/// What a run of the program left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Two precisions, two batches, three trials in two rungs, two GGUF types.
const STUDY: &str = r#"
[study]
name = "tiny"
device = "cpu:256MiB"

[model]
source = "base"

[data]
source = "rows.csv"
max_length = 64

[space]
precision = ["f32", "bf16"]
effective_batch_size = [2, 4]
learning_rate = { low = 1e-3, high = 1e-2, log = true }

[search]
trials = 3
rungs = 2
max_micro_batch_size = 8

[train]
epochs = 2
evaluations = 2

[quantize]
types = ["q8_0", "q4_k_m"]
"#;

impl TinyStudy {
    pub(crate) fn new() -> Self {
        Self::of(&config())
    }

    /// With another model; its vocabulary must be that of [`config`].
    pub(crate) fn of(config: &ModelConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        material::write_model(&folder.path().join("base"), config);
        fs::write(folder.path().join("rows.csv"), material::table()).unwrap();
        let output = folder.path().join("results").to_str().unwrap().to_owned();
        Self { folder, file: STUDY.parse().unwrap() }.set("study.output", output)
    }

    /// Sets the key at a path such as `train.epochs`.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut path: Vec<&str> = key.split('.').collect();
        let last = path.pop().unwrap();
        let table = path.into_iter().fold(&mut self.file, |table, name| {
            let empty = || Value::Table(Table::new());
            table.entry(name).or_insert_with(empty).as_table_mut().unwrap()
        });
        table.insert(last.to_owned(), value.into());
        self.write("study.toml", self.file.to_string().as_bytes());
        self
    }

    /// A file or folder of the study, or a new place in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file of the study as it lies on the disk.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Every file below the study's folder.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// Runs `diapason ARGUMENTS study.toml` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = diapason(arguments);
        Ran::of(command.current_dir(self.folder.path()).arg("study.toml").output().unwrap())
    }

    /// Starts `diapason ARGUMENTS study.toml` without waiting for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = diapason(arguments);
        command.current_dir(self.folder.path()).arg("study.toml");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as one JSON value; fails with what was said if there is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// The program with arguments, without a study.
pub(crate) fn diapason(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_diapason")));
    // A backtrace in a message is noise that users get too.
    command.args(arguments).stdin(Stdio::null()).env("RUST_BACKTRACE", "1");
    // No test meets the network, the user's cache or the user's token.
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", "/no/such/folder");
    for name in ["HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"] {
        command.env_remove(name);
    }
    command
}

/// Every test file that has this module also checks it, so that each finds all of it in use.
#[test]
fn the_tiny_study_is_small_and_whole() {
    let study = TinyStudy::new().set("search.trials", 1);
    assert_eq!(study.files().len(), 6, "{:?}", study.files());
    let parameters = parameter_count(&config());
    assert!((15_000..30_000).contains(&parameters), "{parameters}");
    study.write("study.toml", b"[model]");
    let ran = study.run(&["status"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    let started = Ran::of(study.start(&["suggest", "--json"]).wait_with_output().unwrap());
    assert_eq!(started.code, Some(2), "`suggest` takes no study");
    let base = study.path("base");
    let estimate = ["estimate", "--model", base.to_str().unwrap(), "--gpu", "t4", "--json"];
    assert!(Ran::of(diapason(&estimate).output().unwrap()).json().is_object());
}
