//! Specifications and trainers for tests.

use crate::space::{Template, TrainerSettings};
use crate::trial::{Task, TrialSpec};

/// Of 9 steps at a learning rate of 1e-3.
pub(super) fn spec(task: Task) -> TrialSpec {
    let json = r#"{"device":"cpu","model":"m","dataset":"d","hyperparams":{"precision":"f32","micro_batch_size":1,
        "gradient_accumulation_steps":1,"learning_rate":1e-3},"train":{"seed":0,"total_steps":9,"schedule":"linear",
        "warmup_fraction":0.0,"weight_decay":0.0,"max_grad_norm":1.0,"gradient_checkpointing":false,"validation_examples":1,"eval_micro_batch_size":1},
        "task":{"kind":"evaluate"}}"#;
    TrialSpec { task, ..serde_json::from_str(json).unwrap() }
}

/// Trains to a step in a folder.
pub(super) fn train(stop_at_step: usize, checkpoint: &str) -> TrialSpec {
    spec(Task::Train {
        stop_at_step,
        evaluate_every: 1,
        checkpoint: checkpoint.into(),
        best: None,
        examples: false,
        also_on: Vec::new(),
    })
}

/// Probes in a folder.
pub(super) fn probe(steps: usize, scratch: &str) -> TrialSpec {
    spec(Task::Probe { steps, max_length: None, timed: vec![], scratch: scratch.into() })
}

/// A trainer that is started as these words say.
pub(super) fn trainer(words: &[&str]) -> TrainerSettings {
    TrainerSettings {
        command: words.iter().map(|word| Template::parse(word).unwrap()).collect(),
        folder: "".into(),
        metrics: None,
        probes: true,
        examples: None,
        silence_minutes: 1.0,
    }
}
