//! What a study says while it runs. Progress bars, logs and JSON are renderings of it.

use std::path::Path;

use super::deadline::CutShort;
use crate::data::CleaningReport;
use crate::hub::HubEvent;
use crate::search::{Decision, FrontierPoint, StopReason};
use crate::space::{BatchPlan, DeviceSpec, HardwareSetting, Hyperparams};
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
    /// Trials that the machine failed are to be tried again.
    Retried {
        /// So many.
        trials: usize,
    },
    /// A rung or a confirmation begins, or goes on from a checkpoint.
    RunStarted {
        /// Which run.
        run: RunKey,
        /// In which slot.
        slot: usize,
        /// Its configuration.
        hyperparams: &'a Hyperparams,
        /// Where the rung stops.
        stop_at_step: usize,
        /// The full horizon.
        total_steps: usize,
    },
    /// Several devices are there for the full run.
    Together {
        /// So many share it: as many as can do so evenly.
        ranks: usize,
        /// So many there are.
        devices: usize,
        /// What each does of a step.
        each: BatchPlan,
    },
    /// A running child said something.
    Child {
        /// Which run it is; none for a probe or an evaluation.
        run: Option<RunKey>,
        /// What it said.
        event: &'a Event,
    },
    /// Others hold so much memory that a run which needs more waits.
    Waits {
        /// Which run.
        run: RunKey,
        /// What is free on its device.
        free: Bytes,
        /// What it needs.
        needed: Bytes,
    },
    /// Checkpoints were removed to make room on the disk: these trials would begin again.
    GaveUp {
        /// So many.
        trials: usize,
        /// What they took.
        bytes: Bytes,
    },
    /// A device whose runs fail gets no more of them.
    OutOfService {
        /// Which.
        device: DeviceSpec,
        /// So many failed in a row.
        failures: usize,
        /// What the last one said.
        reason: &'a str,
    },
    /// A rung or a confirmation ended.
    RunEnded {
        /// Which run.
        run: RunKey,
        /// How.
        outcome: &'a Outcome,
        /// What it measured.
        measurement: &'a Measurement,
    },
    /// The time of a run is up: it ends where it is, and more time lets it go on from its checkpoint.
    CutOff {
        /// Which run.
        run: RunKey,
    },
    /// The full run was cut short; what it has reached is the model.
    CutShort(&'a CutShort),
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
