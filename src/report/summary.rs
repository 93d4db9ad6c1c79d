//! What a report shows: plain data, built by the caller from the store.

use serde::Serialize;

use crate::space::HardwareSetting;
use crate::trial::{Confirmation, History, Measurement, ProbeRecord, Trial, TrialId};
use crate::units::Bytes;

/// Everything a report shows. The report is a function of it: no clock, no file, no device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyReport {
    /// Name of the study.
    pub study: String,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// The base model.
    pub model: ModelSummary,
    /// What became of the data set's rows.
    pub data: DataSummary,
    /// One row for each setting in which at least one micro-batch fits.
    pub frontier: Vec<FrontierRow>,
    /// Every ended probe of the batch-size search.
    pub probes: Vec<ProbeRecord>,
    /// Every trial.
    pub history: History,
    /// How the best candidates compare, where that was asked.
    pub confirmation: Option<ConfirmationTable>,
    /// Why nothing more was tried, in words.
    pub stopped: Option<String>,
    /// Why no model will be tested, where that is so.
    pub untested: Option<String>,
    /// How far the full run came that was cut short, in words.
    pub cut_short: Option<String>,
    /// The trial the study chose.
    pub best: Option<TrialId>,
    /// The full fine-tune, if it ran apart from the trials; else the rungs of the best trial are shown.
    pub full_run: Option<Measurement>,
    /// The fine-tuned model and its test losses; `None` before the full run has ended.
    pub tuned: Option<TunedModel>,
    /// What was made of the fine-tuned model.
    pub quantized: Vec<QuantizedRow>,
    /// Every setting, those left at their defaults too.
    pub settings: Vec<Setting>,
}

/// The best candidates next to each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfirmationTable {
    /// What was found, in words.
    pub sentence: String,
    /// The leader next to each of the others.
    pub contests: Vec<ContestRow>,
    /// Runs of the candidates by other seeds.
    pub runs: Vec<Confirmation>,
}

/// Two candidates on the same validation examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ContestRow {
    /// The one with the lower loss.
    pub leader: TrialId,
    /// The other.
    pub rival: TrialId,
    /// Runs of both, by different seeds.
    pub runs: [usize; 2],
    /// How much lower the leader's loss is, in nats per token.
    pub difference_nats: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Where the numbers come from: who wants to repeat them needs these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Provenance {
    /// Device in words.
    pub device: String,
    /// Most bytes a trial may hold, where there is a cap.
    pub cap: Option<Bytes>,
    /// Version of this crate.
    pub version: String,
    /// Seed of the study.
    pub seed: u64,
    /// Day on which the study ended, as it is to be printed.
    pub date: String,
    /// Wall-clock time of the whole study.
    pub wall_seconds: f64,
}

/// The base model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSummary {
    /// Folder, hub id at its commit, or words for a model made anew.
    pub source: String,
    /// Digest of its weights.
    pub digest: String,
    /// Trainable parameters.
    pub parameters: u64,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
}

/// What became of the data set's rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataSummary {
    /// File or folder.
    pub source: String,
    /// Digest of its content.
    pub digest: String,
    /// Rows in the source.
    pub rows_read: usize,
    /// Rows dropped because nothing is in them.
    pub empty: usize,
    /// Rows dropped because an earlier one is equal.
    pub duplicate: usize,
    /// Rows dropped because they exceed the longest example.
    pub too_long: usize,
    /// Examples that remain.
    pub kept: usize,
    /// Examples of the training split.
    pub train: usize,
    /// Examples that steer the search.
    pub validation: usize,
    /// Examples seen only at the end.
    pub test: usize,
}

/// What fits in one setting. Every number was measured by a probe.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FrontierRow {
    /// Number format of the step, and what else decides memory.
    #[serde(flatten)]
    pub setting: HardwareSetting,
    /// Largest micro-batch that ran.
    pub max_micro_batch_size: usize,
    /// Whether more might fit: the search ended at the largest size worth trying.
    pub is_lower_bound: bool,
    /// Largest evaluation that ran beside the state of training.
    pub max_eval_micro_batch_size: usize,
    /// Smallest micro-batch that saturates throughput.
    pub knee_micro_batch_size: usize,
    /// Peak at the largest micro-batch.
    pub peak_bytes: Bytes,
    /// Best throughput among the sizes that were timed.
    pub tokens_per_second: f64,
    /// Probes it took.
    pub probes: usize,
}

/// The fine-tuned model, judged on examples no trial has seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TunedModel {
    /// Where it lies.
    pub path: String,
    /// Size of its weights.
    pub bytes: Bytes,
    /// Test loss of the base model.
    pub base_test_loss_nats: f64,
    /// Its own test loss.
    pub test_loss_nats: f64,
}

/// One quantized file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantizedRow {
    /// llama.cpp's name of the type, in lower case.
    pub gguf_type: String,
    /// Where the file lies.
    pub path: String,
    /// Its size.
    pub bytes: Bytes,
    /// Its test loss.
    pub test_loss_nats: f64,
}

/// One setting of the study as it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Key in the study file, with its table: `train.epochs`.
    pub key: String,
    /// The value that was used.
    pub value: String,
    /// Whether the study file left it out.
    pub is_default: bool,
}

/// The highest rung a trial finished with a usable loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reached {
    /// Which rung.
    pub(super) rung: u32,
    /// Validation loss at its end.
    pub(super) loss_nats: f64,
}

/// How far `trial` got; `None` if it finished no rung.
pub(super) fn reached(trial: &Trial) -> Option<Reached> {
    let rungs = trial.rungs.iter().map(|record| record.rung);
    rungs
        .filter_map(|rung| Some(Reached { rung, loss_nats: trial.loss_at(rung)? }))
        .filter(|reached| reached.loss_nats.is_finite())
        .max_by_key(|reached| reached.rung)
}

impl StudyReport {
    /// The chosen trial, if the history holds it.
    pub(super) fn best_trial(&self) -> Option<&Trial> {
        let best = self.best?;
        self.history.trials.iter().find(|trial| trial.id == best)
    }

    /// The highest rung any trial finished.
    pub(super) fn top_rung(&self) -> Option<u32> {
        self.history.trials.iter().filter_map(reached).map(|reached| reached.rung).max()
    }
}
