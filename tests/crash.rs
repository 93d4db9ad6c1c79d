//! A real study that is killed at any moment and started again is the study that never was killed.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use diapason::arch::ModelConfig;
use diapason::data::Tokenizer;
use diapason::model::{Decoder, write_folder};
use diapason::space::{NewModel, Precision};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

/// A killed driver's child is gone after so long: the kernel kills it at once, but a machine under
/// load may take its time to run the test.
const ORPHAN_LIFE: Duration = Duration::from_secs(2);

/// Makes rungs of some tenths of a second: long enough to be cut, and for the loss to rise again, so
/// that the best weights are not the last.
const EPOCHS: usize = 30;

/// A study of 25,000 parameters in a folder of its own, in which all its processes work.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(epochs: usize) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let rows: Vec<String> =
            (0..60).map(|n| format!("word {n},it means {} and {}", n * 7, n % 5)).collect();
        fs::write(folder.path("rows.csv"), format!("prompt,completion\n{}\n", rows.join("\n"))).unwrap();
        write_model(&folder.path("base"), &rows);
        // The micro-batch is explicit: a measured speed must not decide what is trained.
        let study = format!(
            "[study]\ndevice = 'cpu:256MiB'\nseed = 11\n[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'
            max_length = 64\n[space]\nprecision = ['f32', 'bf16']\nmicro_batch_size = 4
            gradient_accumulation_steps = [1, 2]\nlearning_rate = {{ low = 3e-4, high = 3e-2, log = true }}
            [search]\ntrials = 4\nrungs = 3\nreduction_factor = 2\nmax_micro_batch_size = 4
            [train]\nepochs = {epochs}\nevaluations = 8\n[quantize]\ntypes = ['f16', 'q8_0']\n"
        );
        fs::write(folder.path("study.toml"), study).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts `diapason run` as a shell does, in a process group of its own.
    fn start(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diapason"));
        command.args(["run", "study.toml", "--json"]).current_dir(self.0.path()).process_group(0);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let messages = BufReader::new(child.stderr.take().unwrap());
        Running { child, messages, said: String::new() }
    }

    /// Runs to the end; the JSON that was printed.
    fn finish(&self) -> Value {
        let ended = self.start().end();
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        serde_json::from_str(&ended.printed).unwrap()
    }

    /// Numbers of the processes that work in this folder, the driver excepted.
    fn children(&self, driver: &Running) -> Vec<Pid> {
        let here = self.0.path().canonicalize().unwrap();
        let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let is_ours = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == here);
            is_ours.then(|| path.file_name()?.to_str()?.parse().ok()).flatten()
        });
        numbers.filter_map(Pid::from_raw).filter(|pid| *pid != driver.pid()).collect()
    }

    /// The child that a driver is about to start.
    fn wait_for_child(&self, driver: &Running) -> Pid {
        let asked = Instant::now();
        loop {
            assert!(asked.elapsed() < Duration::from_secs(30), "no child was seen:\n{}", driver.said);
            if let [child] = self.children(driver).as_slice() {
                return *child;
            }
        }
    }

    /// Every line of a query, its columns joined.
    fn ask(&self, sql: &str) -> Vec<String> {
        let Ok(database) = Connection::open(self.path("results/study/study.db")) else { return vec![] };
        let Ok(mut statement) = database.prepare(sql) else { return vec![] };
        let lines = statement.query_map([], |row| row.get(0)).unwrap();
        lines.map(Result::unwrap).collect()
    }

    /// All that training measured, to the last bit.
    fn curves(&self) -> Vec<String> {
        let losses = |table: &str| {
            format!(
                "SELECT concat_ws(' ', '{table}', trial, rung, step, format('%!.17g', loss_nats)) AS line
                 FROM rung JOIN {table} USING (measurement)"
            )
        };
        self.ask(&format!("{} UNION ALL {} ORDER BY line", losses("step"), losses("eval")))
    }

    /// The ended rungs, with when and at which attempt.
    fn ended_rungs(&self) -> Vec<String> {
        self.ask(
            "SELECT concat_ws(' ', trial, rung, attempts, outcome, started_at, ended_at) FROM rung
             JOIN measurement ON measurement.id = measurement WHERE ended_at IS NOT NULL ORDER BY trial, rung",
        )
    }
}

fn write_model(folder: &Path, texts: &[String]) {
    fs::create_dir(folder).unwrap();
    let tokenizer = Tokenizer::train_bpe(texts.iter().cloned(), 300).unwrap();
    tokenizer.save(folder).unwrap();
    let sizes = NewModel {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
    };
    let config = ModelConfig::new(&sizes, 128, 0).unwrap();
    let device = candle_core::Device::Cpu;
    let model = Decoder::random(config.clone(), 5, Precision::F32, &device).unwrap();
    write_folder(folder, &config, model.weights(), candle_core::DType::F32, folder).unwrap();
}

/// A driver and what it has said.
struct Running {
    child: Child,
    messages: BufReader<ChildStderr>,
    said: String,
}

struct Ended {
    code: Option<i32>,
    printed: String,
    said: String,
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the first line after `from` that contains `words`.
    fn wait_for(&mut self, from: &str, words: &str) {
        let mut has_begun = false;
        loop {
            let mut line = String::new();
            let read = self.messages.read_line(&mut line).unwrap();
            assert!(read > 0, "`{words}` was never said:\n{}", self.said);
            self.said.push_str(&line);
            has_begun |= line.contains(from);
            if has_begun && line.contains(words) {
                return;
            }
        }
    }

    fn end(mut self) -> Ended {
        self.messages.read_to_string(&mut self.said).unwrap();
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        Ended { code: self.child.wait().unwrap().code(), printed, said: self.said }
    }
}

/// Kills the driver as a power cut would, and sees its children die with it.
fn kill(folder: &Folder, mut driver: Running) {
    driver.child.kill().unwrap();
    driver.child.wait().unwrap();
    let killed = Instant::now();
    while !folder.children(&driver).is_empty() && killed.elapsed() < ORPHAN_LIFE {
        thread::sleep(Duration::from_millis(5));
    }
    let orphans = folder.children(&driver);
    for orphan in &orphans {
        kill_process(*orphan, Signal::KILL).unwrap_or_default();
    }
    assert!(orphans.is_empty(), "a child outlived its driver");
}

/// What the study found, without what a clock decides.
fn result(summary: &Value) -> Value {
    let quantized = summary["quantized"].as_array().unwrap().iter();
    let files: Vec<_> =
        quantized.map(|file| [&file["type"], &file["test_loss_nats"], &file["bytes"]]).collect();
    let frontier = summary["frontier"].as_array().unwrap().iter().map(|point| &point["max_micro_batch"]);
    serde_json::json!([
        summary["trials"],
        summary["best"],
        summary["test_loss_nats"],
        files,
        frontier.collect::<Vec<_>>()
    ])
}

/// The study that was never disturbed.
struct Undisturbed {
    result: Value,
    curves: Vec<String>,
    duration: Duration,
}

fn undisturbed() -> &'static Undisturbed {
    static ONCE: OnceLock<Undisturbed> = OnceLock::new();
    ONCE.get_or_init(|| {
        let (folder, started) = (Folder::new(EPOCHS), Instant::now());
        let result = result(&folder.finish());
        Undisturbed { result, curves: folder.curves(), duration: started.elapsed() }
    })
}

/// Finishes a study that was stopped, and holds it against the one that was not.
fn check_finishes_as_if_nothing_had_happened(folder: &Folder, moment: &str) {
    let before = folder.ended_rungs();
    let summary = folder.finish();
    assert_eq!(result(&summary), undisturbed().result, "{moment}");
    assert_eq!(folder.curves(), undisturbed().curves, "{moment}");
    let after = folder.ended_rungs();
    for rung in &before {
        assert!(after.contains(rung), "{moment}: {rung} was run again: {after:?}");
    }
    assert_eq!(half_written(&folder.path("results")), Vec::<PathBuf>::new(), "{moment}");
}

/// Files that were never finished, in a folder and below.
fn half_written(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        match path.is_dir() {
            true => half_written(&path),
            false if [".writing-", ".tmp"].iter().any(|start| name.starts_with(start)) => vec![path],
            false => vec![],
        }
    };
    entries.flat_map(found).collect()
}

#[test]
fn a_driver_killed_in_any_stage_leaves_no_child_and_loses_nothing() {
    let mut cut = 0;
    for (stage, words) in [
        ("prepare:", "prepare:"),
        ("fit:", "bf16  micro-batch    1"),
        ("tune:", "trial  1 rung 0"),
        ("tune:", "rung 1  bf16"),
        ("tune:", "eval loss"),
        ("train:", "rung 2"),
        ("train:", "eval loss"),
        ("quantize:", "base"),
        ("quantize:", ".gguf"),
    ] {
        let folder = Folder::new(EPOCHS);
        let mut driver = folder.start();
        driver.wait_for(stage, words);
        if words.contains("rung") {
            folder.wait_for_child(&driver);
        }
        kill(&folder, driver);
        check_finishes_as_if_nothing_had_happened(&folder, &format!("killed at `{words}` of `{stage}`"));
        cut += folder.ask("SELECT 'cut' FROM rung WHERE attempts > 1").len();
    }
    assert!(cut > 0, "no rung was ever cut");
}

#[test]
fn a_child_with_much_work_left_ends_when_nobody_hears_it_any_more() {
    let folder = Folder::new(9000);
    let mut driver = folder.start();
    driver.wait_for("tune:", "trial  0 rung 0");
    folder.wait_for_child(&driver);
    kill(&folder, driver);
    // The same where the kernel does not kill it: its parent lives, but no longer reads.
    let mut worker = Command::new(env!("CARGO_BIN_EXE_diapason"));
    worker.arg("worker").current_dir(folder.0.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut worker = worker.spawn().unwrap();
    worker.stdin.take().unwrap().write_all(long_run().as_bytes()).unwrap();
    let mut first = String::new();
    BufReader::new(worker.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("started"), "{first}");
    let unheard = Instant::now();
    while worker.try_wait().unwrap().is_none() && unheard.elapsed() < ORPHAN_LIFE {
        thread::sleep(Duration::from_millis(5));
    }
    let talks_to_nobody = worker.try_wait().unwrap().is_none();
    worker.kill().unwrap();
    assert!(!talks_to_nobody);
}

/// A specification whose run takes minutes.
fn long_run() -> String {
    serde_json::json!({
        "device": "cpu", "model": "base", "dataset": "results/study/data.safetensors",
        "hyperparams": {
            "precision": "f32", "micro_batch_size": 4, "gradient_accumulation_steps": 1, "learning_rate": 1e-4
        },
        "train": {
            "seed": 0, "total_steps": 1_000_000, "schedule": "linear", "warmup_fraction": 0.0,
            "weight_decay": 0.0, "max_grad_norm": 1.0, "validation_examples": 1, "eval_micro_batch_size": 1
        },
        "task": {
            "kind": "train", "stop_at_step": 1_000_000, "evaluate_every": 1_000_000, "checkpoint": "unused",
            "best": null
        }
    })
    .to_string()
}

#[test]
fn a_study_that_is_killed_again_and_again_at_random_loses_nothing() {
    let folder = Folder::new(EPOCHS);
    let mut moments = Vec::new();
    // Weyl's sequence: instants that fill the run evenly, the same in every test.
    for n in 1..=8u32 {
        let after = undisturbed().duration.mul_f64((f64::from(n) * 0.618_034).fract() * 0.4);
        let driver = folder.start();
        thread::sleep(after);
        kill(&folder, driver);
        moments.push(after);
    }
    check_finishes_as_if_nothing_had_happened(&folder, &format!("killed after {moments:?}"));
}

#[test]
fn ctrl_c_says_that_all_is_saved_and_the_same_command_goes_on() {
    let folder = Folder::new(EPOCHS);
    let mut driver = folder.start();
    driver.wait_for("tune:", "trial  2 rung 0");
    kill_process_group(driver.pid(), Signal::INT).unwrap();
    let ended = driver.end();
    assert_eq!(ended.code, Some(130), "{}", ended.said);
    assert!(ended.said.contains("interrupted; everything finished is saved"), "{}", ended.said);
    assert!(ended.said.contains("the same command goes on from here"), "{}", ended.said);
    assert_eq!(ended.printed, "");
    check_finishes_as_if_nothing_had_happened(&folder, "Ctrl-C");
}

#[test]
fn a_child_that_is_killed_costs_its_trial_alone() {
    // Rungs of a second, so that the child is met alive.
    let folder = Folder::new(200);
    let mut driver = folder.start();
    driver.wait_for("tune:", "trial  1 rung 0");
    kill_process(folder.wait_for_child(&driver), Signal::KILL).unwrap();
    let ended = driver.end();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let summary: Value = serde_json::from_str(&ended.printed).unwrap();
    assert_eq!(summary["trials"], serde_json::json!({ "crashed": 1, "finished": 3 }));
    assert_ne!(summary["best"]["trial"], 1);
    let rungs = folder.ended_rungs();
    assert!(rungs.iter().any(|rung| rung.starts_with("1 0 1 crashed")), "{rungs:?}");
}
