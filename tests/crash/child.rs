//! The child is killed, or loses its driver.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::common::diapason;
use crate::found::ended_rungs;
use crate::running::{ORPHAN_LIFE, Running, study};

#[test]
fn a_child_that_is_killed_costs_its_trial_alone() {
    // Rungs of a second, so that the child is met alive.
    let study = study(200);
    let mut driver = Running::start(&study);
    driver.wait_for("tune:", "trial  1 rung 0");
    kill_process(driver.wait_for_child(), Signal::KILL).unwrap();
    let summary = driver.end().json();
    assert_eq!(summary["trials"], json!({ "crashed": 1, "finished": 3 }));
    assert_ne!(summary["best"]["trial"], 1);
    let rungs = ended_rungs(&study);
    assert!(rungs.iter().any(|rung| rung.starts_with("1 0 1 crashed")), "{rungs:?}");
}

#[test]
fn a_child_with_much_work_left_ends_when_nobody_hears_it_any_more() {
    let study = study(9000);
    let mut driver = Running::start(&study);
    driver.wait_for("tune:", "trial  0 rung 0");
    driver.wait_for_child();
    driver.kill();
    // The same where the kernel does not kill it: its parent lives, but no longer reads.
    let mut command = diapason(&["worker"]);
    command.current_dir(study.path("")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut worker = command.spawn().unwrap();
    worker.stdin.take().unwrap().write_all(long_run().as_bytes()).unwrap();
    let mut first = String::new();
    BufReader::new(worker.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let unheard = Instant::now();
    while worker.try_wait().unwrap().is_none() && unheard.elapsed() < ORPHAN_LIFE {
        thread::sleep(Duration::from_millis(5));
    }
    let talks_to_nobody = worker.try_wait().unwrap().is_none();
    worker.kill().unwrap();
    assert!(first.contains("started") && !talks_to_nobody, "{first}");
}

/// A specification whose run takes minutes.
fn long_run() -> String {
    json!({
        "device": "cpu", "model": "base", "dataset": "results/data.safetensors",
        "hyperparams": {
            "precision": "f32", "micro_batch_size": 4, "gradient_accumulation_steps": 1, "learning_rate": 1e-4
        },
        "train": {
            "seed": 0, "total_steps": 1_000_000, "schedule": "linear", "warmup_fraction": 0.0,
            "weight_decay": 0.0, "max_grad_norm": 1.0, "gradient_checkpointing": false,
            "validation_examples": 1, "eval_micro_batch_size": 1
        },
        "task": {
            "kind": "train", "stop_at_step": 1_000_000, "evaluate_every": 1_000_000, "checkpoint": "unused",
            "best": null
        }
    })
    .to_string()
}
