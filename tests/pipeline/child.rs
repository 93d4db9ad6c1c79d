//! The trial protocol by hand: a specification on standard input, events on standard output.

use std::io::Write;
use std::process::Stdio;

use diapason::space::{BatchPlan, DeviceSpec, Hyperparams, Optimizer, Precision, Schedule};
use diapason::trial::{Event, Task, TrainSpec, TrialSpec};

use crate::common::{TinyStudy, diapason};

/// What a child is asked in a study that was prepared; tests change what they are about.
pub(crate) fn spec(study: &TinyStudy, batch: (usize, usize), task: Task) -> TrialSpec {
    let (micro_batch_size, gradient_accumulation_steps) = batch;
    TrialSpec {
        device: DeviceSpec::Cpu { cap: None },
        model: study.path("base"),
        dataset: study.path("results/data.safetensors"),
        hyperparams: Hyperparams {
            precision: Precision::F32,
            batch: BatchPlan { micro_batch_size, gradient_accumulation_steps },
            learning_rate: 5e-3,
        },
        train: TrainSpec {
            seed: 0,
            total_steps: 5,
            schedule: Schedule::Cosine,
            warmup_fraction: 0.2,
            optimizer: Optimizer::AdamW,
            weight_decay: 0.01,
            max_grad_norm: Some(1.0),
            gradient_checkpointing: false,
            validation_examples: 256,
            eval_micro_batch_size: micro_batch_size,
            lora: None,
        },
        task,
    }
}

/// Every event of one child; the last is its last word.
pub(crate) fn run(spec: &TrialSpec) -> Vec<Event> {
    let mut command = diapason(&["worker"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(spec).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
