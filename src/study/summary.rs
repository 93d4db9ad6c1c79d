//! The machine-readable end of a study.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::confirm::{decide, known_decision};
use super::deadline::{CutShort, known_cut};
use super::driver::{Driver, known_device, known_wall_seconds};
use super::fit::known_frontier;
use super::origin::known_origin;
use super::quantize::known_finish;
use super::stop::known_stop;
use super::{Layout, StudyError};
use crate::search::{Decision, FrontierPoint, StopReason};
use crate::space::{Hyperparams, Study};
use crate::store::Store;
use crate::trial::{Confirmation, History, Outcome, RunKey, Trial, TrialId};
use crate::units::Bytes;

/// Trials by the name of their last outcome.
pub type Counts = BTreeMap<String, usize>;

/// Everything a script wants to know about a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the study.
    pub study: String,
    /// Device in words, with the cap of the study.
    pub device: String,
    /// The base model at its commit, where it is from the hub.
    pub hub_model: Option<String>,
    /// What fits.
    pub frontier: Vec<FrontierPoint>,
    /// How the trials ended.
    pub trials: Counts,
    /// Critical batch sizes in examples, of the trials whose gradients told of their noise.
    pub critical_batch_sizes: BTreeMap<TrialId, f64>,
    /// The best trial, if any finished.
    pub best: Option<Best>,
    /// How the best was found among the candidates, where there was something to compare.
    pub confirmation: Option<ConfirmationSummary>,
    /// Why nothing more is tried, once so.
    pub stopped: Option<StopReason>,
    /// How far the full run came that a deadline has cut short, if one has.
    pub cut_short: Option<CutShort>,
    /// Losses on the test split, once known.
    pub test_loss_nats: Option<TestLosses>,
    /// Quantized files.
    pub quantized: Vec<QuantizedFile>,
    /// The page, once written.
    pub report: Option<PathBuf>,
    /// Seconds the study has been driven.
    pub wall_seconds: f64,
}

/// The best trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Best {
    /// Its number.
    pub trial: TrialId,
    /// Its configuration.
    pub hyperparameters: Hyperparams,
    /// Its lowest validation loss.
    pub eval_loss_nats: f64,
}

/// The comparison of the best candidates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfirmationSummary {
    /// What was found, in words.
    pub sentence: String,
    /// What was found; before that, none.
    #[serde(flatten)]
    pub decision: Option<Decision>,
    /// The runs by other seeds.
    pub runs: Vec<ConfirmationRun>,
}

/// One ended run of a candidate by another seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfirmationRun {
    /// Trial, rung and seed.
    #[serde(flatten)]
    pub run: RunKey,
    /// How it ended.
    pub outcome: String,
    /// Loss at its end, if it finished.
    pub eval_loss_nats: Option<f64>,
}

/// Losses on the test split in nats per scored token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestLosses {
    /// The base model.
    pub base: f64,
    /// The fine-tuned model.
    pub tuned: f64,
}

/// One GGUF file and what it lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizedFile {
    /// Type by llama.cpp's name.
    #[serde(rename = "type")]
    pub gguf_type: String,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: Bytes,
    /// Loss on the test split.
    pub test_loss_nats: f64,
}

impl Best {
    /// The winner with the lowest loss of its highest rung.
    fn of(store: &Store, history: &History, winner: TrialId) -> Result<Option<Self>, StudyError> {
        let Some((trial, last)) =
            history.trials.get(winner as usize).and_then(|one| Some((one, one.last()?)))
        else {
            return Ok(None);
        };
        let evals = store.partial((winner, last.rung))?.evals;
        let lowest = evals.iter().map(|eval| eval.loss_nats).reduce(f64::min);
        let best =
            |eval_loss_nats| Self { trial: winner, hyperparameters: trial.hyperparams, eval_loss_nats };
        Ok(lowest.map(best))
    }
}

impl Driver<'_> {
    /// What is known of the study now.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn summary(&self) -> Result<Summary, StudyError> {
        Ok(Summary { wall_seconds: self.wall_seconds(), ..read(self.study, &self.store, &*self.history()?)? })
    }
}

/// What is known of a study that another process may be driving; reads only.
///
/// # Errors
/// There is no study yet, or the database can't be read.
pub fn read_summary(study: &Study) -> Result<Summary, StudyError> {
    let store = Store::open_read_only(&Layout::new(&study.output).database())?;
    read(study, &store, &store.history()?)
}

pub(super) fn read(study: &Study, store: &Store, history: &History) -> Result<Summary, StudyError> {
    let decision = decide(study, store, history)?;
    let best = decision.map(|decision| Best::of(store, history, decision.winner)).transpose()?.flatten();
    let finish = known_finish(store)?;
    let report = study.output.join(crate::report::PAGE);
    let device = known_device(study, store)?;
    let in_words = |name: String| match device.cap() {
        Some(cap) => format!("{name}, cap {cap}"),
        None => name,
    };
    Ok(Summary {
        study: study.name.clone(),
        device: device_in_words(store, history)?.map_or_else(|| device.to_string(), in_words),
        hub_model: known_origin(study, store)?.map(|origin| origin.to_string()),
        frontier: known_frontier(store)?,
        trials: counts(history),
        critical_batch_sizes: critical_batch_sizes(history),
        best,
        confirmation: confirmation(store)?,
        stopped: known_stop(store)?,
        cut_short: known_cut(store)?,
        test_loss_nats: finish.losses(),
        quantized: finish.quantized,
        report: report.exists().then_some(report),
        wall_seconds: known_wall_seconds(store)?,
    })
}

fn confirmation(store: &Store) -> Result<Option<ConfirmationSummary>, StudyError> {
    let run = |one: Confirmation| ConfirmationRun {
        run: one.key(),
        outcome: one.record.outcome.name().to_owned(),
        eval_loss_nats: one
            .record
            .measurement
            .eval_loss_nats()
            .filter(|_| one.record.outcome == Outcome::Finished),
    };
    let runs: Vec<ConfirmationRun> = store.confirmations()?.into_iter().map(run).collect();
    let decision = known_decision(store)?;
    if runs.is_empty() && decision.is_none() {
        return Ok(None);
    }
    let sentence = decision.as_ref().map_or_else(|| "not decided yet".to_owned(), Decision::to_string);
    Ok(Some(ConfirmationSummary { sentence, decision, runs }))
}

fn counts(history: &History) -> Counts {
    let mut counts = Counts::new();
    for trial in &history.trials {
        let name = trial.last().map_or("started", |rung| rung.outcome.name());
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

fn critical_batch_sizes(history: &History) -> BTreeMap<TrialId, f64> {
    history.trials.iter().filter_map(|trial| Some((trial.id, trial.critical_batch_size()?))).collect()
}

/// The device as the first child that ran named it.
pub(super) fn device_in_words(store: &Store, history: &History) -> Result<Option<String>, StudyError> {
    let of_trial = |trial: &Trial| trial.rungs.first().map(|rung| rung.measurement.device.clone());
    let named = history.trials.iter().filter_map(of_trial).find(|device| !device.is_empty());
    Ok(match named {
        Some(device) => Some(device),
        None => store
            .probes()?
            .into_iter()
            .map(|probe| probe.measurement.device)
            .find(|device| !device.is_empty()),
    })
}
