//! What a study says while it runs. Progress bars, logs and JSON are renderings of it.

use std::path::Path;

use crate::data::CleaningReport;
use crate::hub::HubEvent;
use crate::search::{Decision, FrontierPoint, StopReason};
use crate::space::{HardwareSetting, Hyperparams};
use crate::trial::{Event, Measurement, Outcome, ProbeRecord, RunKey};
use crate::units::Bytes;

/// The parts of a study, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading data and model.
    Prepare,
    /// Finding the largest feasible batch.
    Fit,
    /// Searching the learning plane.
    Tune,
    /// Running the best candidates by other seeds.
    Confirm,
    /// The full fine-tune.
    Train,
    /// GGUF files and what they cost.
    Quantize,
    /// Plots and page.
    Report,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum StudyEvent<'a> {
    /// A stage begins.
    Stage(Stage),
    /// The base model is fetched from the hub.
    Hub(HubEvent<'a>),
    /// The base model's GGUF file is being unpacked.
    Unpacking {
        /// The file.
        file: &'a Path,
        /// Bytes of weights that are written.
        done: Bytes,
        /// All of them.
        total: Bytes,
    },
    /// The base model is there.
    ModelReady {
        /// Trainable parameters.
        parameters: u64,
        /// Its folder.
        folder: &'a Path,
    },
    /// The data set is tokenized.
    DataReady {
        /// What cleaning did.
        report: &'a CleaningReport,
        /// Examples of train, validation and test.
        splits: [usize; 3],
    },
    /// Model and data are a foreign trainer's own.
    OwnData {
        /// Examples of an epoch.
        examples: usize,
    },
    /// Something is not done, and why.
    LeftOut {
        /// What.
        what: &'a str,
        /// Why not.
        why: &'a str,
    },
    /// Others hold so much memory that less is free than the cap; the next probe may hold no more.
    LessFree {
        /// What is free at the moment.
        free: Bytes,
        /// The cap of the study.
        cap: Bytes,
    },
    /// A probe begins.
    ProbeStarted {
        /// Setting.
        setting: HardwareSetting,
        /// Examples at once.
        micro_batch_size: usize,
    },
    /// A probe ended.
    ProbeEnded(&'a ProbeRecord),
    /// The feasibility frontier is known.
    Frontier(&'a [FrontierPoint]),
    /// A rung or a confirmation begins, or goes on from a checkpoint.
    RunStarted {
        /// Which run.
        run: RunKey,
        /// Its configuration.
        hyperparams: &'a Hyperparams,
        /// Where the rung stops.
        stop_at_step: usize,
        /// The full horizon.
        total_steps: usize,
    },
    /// The running child said something.
    Child(&'a Event),
    /// A rung or a confirmation ended.
    RunEnded {
        /// Which run.
        run: RunKey,
        /// How.
        outcome: &'a Outcome,
        /// What it measured.
        measurement: &'a Measurement,
    },
    /// Nothing more is tried.
    Stopped(&'a StopReason),
    /// The best candidates were compared.
    Decided(&'a Decision),
    /// A model was evaluated on the test split.
    Evaluated {
        /// Which model.
        name: &'a str,
        /// Mean loss per scored token.
        loss_nats: f64,
    },
    /// A GGUF file was written.
    Quantized {
        /// Its file.
        path: &'a Path,
        /// Its size.
        bytes: Bytes,
        /// What a user should know about it.
        warnings: &'a [String],
    },
    /// The report was written.
    ReportWritten(&'a Path),
}
