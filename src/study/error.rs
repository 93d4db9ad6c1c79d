//! Why a study can't go on.

use std::fmt;
use std::path::PathBuf;

use crate::arch::ConfigError;
use crate::data::DataError;
use crate::device::DeviceError;
use crate::executor::ExecutorError;
use crate::hub::HubError;
use crate::memory::Advice;
use crate::model::ModelError;
use crate::quantize::{ParseGgufTypeError, QuantizeError};
use crate::report::ReportError;
use crate::search::StopReason;
use crate::store::StoreError;
use crate::trial::{Outcome, Phase, TrialId};
use crate::units::Bytes;

/// Ends a study's loop. What a single trial can suffer is an [`Outcome`] instead.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model that is named by a hub id, or by nothing there is.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The base model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The sizes of a new model.
    #[error("[model.new]: {0}")]
    NewModel(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machinery that runs trials, or the user's wish to stop.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A quantized file.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The GGUF file that is the base model.
    #[error(transparent)]
    BaseGguf(QuantizeError),
    /// A model of which no GGUF can be made, found before anything is trained.
    #[error("{0}; without GGUF files, `quantize.types = []`, it can be trained")]
    NoGguf(QuantizeError),
    /// A GGUF type that does not exist.
    #[error(transparent)]
    GgufType(#[from] ParseGgufTypeError),
    /// The report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Not even one example fits.
    #[error("nothing fits: {reason}{}{}", cap.map(|cap| format!(" (cap {cap}, of which probes leave {margin} free)")).unwrap_or_default(), too_large.as_ref().map_or_else(|| RAISE.to_owned(), TooLarge::to_string))]
    NothingFits {
        /// What the smallest probe met.
        reason: String,
        /// The cap.
        cap: Option<Bytes>,
        /// What of it probes leave free.
        margin: Bytes,
        /// What a single example takes, where that can be predicted.
        too_large: Option<TooLarge>,
    },
    /// Something fits, but nothing of what the study file lists.
    #[error(
        "no micro-batch listed fits: the smallest is {smallest}, the largest that fits is {largest}{}\n  hint: list {largest} or less in `space.micro_batch_size`, or leave it out and give `effective_batch_size`",
        cap.map(|cap| format!(" (cap {cap})")).unwrap_or_default()
    )]
    ListedTooLarge {
        /// The smallest that is listed.
        smallest: usize,
        /// The largest that was run.
        largest: usize,
        /// The cap.
        cap: Option<Bytes>,
    },
    /// Every trial failed in a way that more trials will not mend.
    #[error(
        "the first {trials} trials all failed, so the study stops: {reason}\n  hint: nothing has run on this set-up yet; when it is mended, the same command goes on, and `diapason retry STUDY.toml --failed` tries these again"
    )]
    AllFail {
        /// Trials that failed.
        trials: usize,
        /// What the last one said.
        reason: String,
    },
    /// Runs fail on a device that worked before.
    #[error(
        "the last {runs} runs all failed, so the study stops; everything before is saved: {reason}\n  hint: when the device or the disk is well again, the same command goes on, and `diapason retry STUDY.toml --failed` tries these again"
    )]
    KeepsFailing {
        /// Runs that failed one after the other.
        runs: usize,
        /// What the last one said.
        reason: String,
    },
    /// `search.learn_from` names a folder without a study.
    #[error("there is no study in {}, which `search.learn_from` names\n  hint: give the results folder of a study, such as `results/NAME`", folder.display())]
    NoPastStudy {
        /// What was named.
        folder: PathBuf,
    },
    /// A stage that needs the tokenized data came before the one that makes it.
    #[error("the study has no tokenized data yet\n  hint: the stage `prepare` comes before every other")]
    NotPrepared,
    /// A run would write more than the disk or the study's quota has left.
    #[error("{}: a run writes {needed}, and {left} are left{}\n  hint: make room on the disk or raise `disk_quota` in [study]; everything is saved, and the same command goes on", folder.display(), quota.map(|quota| format!(" of `study.disk_quota`, {quota}")).unwrap_or_default())]
    DiskIsFull {
        /// Of the study.
        folder: PathBuf,
        /// What a run writes.
        needed: Bytes,
        /// What is left.
        left: Bytes,
        /// What the study may take in all.
        quota: Option<Bytes>,
    },
    /// No trial finished.
    #[error(
        "no trial finished, so there is no best configuration to train\n  hint: lower `high` in `space.learning_rate`; `diapason status` lists how each trial ended"
    )]
    NoBest,
    /// The search was stopped before it had a result.
    #[error(
        "the search stopped before any trial had finished: {reason}\n  hint: the same command with more of what was short goes on from here"
    )]
    NoResult {
        /// What stopped it.
        reason: StopReason,
    },
    /// The full run, or an evaluation at the end, failed.
    #[error("{what} ended with {}{}", describe(outcome), remedy(outcome))]
    Run {
        /// What was run.
        what: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// A run that has ended has left no model.
    #[error(
        "{} is gone, though the run of trial {trial} that made it has ended\n  hint: put it back, or remove the study's output folder to begin anew", folder.display()
    )]
    ModelGone {
        /// Where it was.
        folder: PathBuf,
        /// The winner.
        trial: TrialId,
    },
    /// The data or the base model is not what the study began with.
    #[error(
        "{} has changed since the study began, so old and new results can't be compared\n  hint: choose another `[study] name`, or remove the output folder {}", file.display(), output.display()
    )]
    Changed {
        /// The data file, or the model's folder.
        file: PathBuf,
        /// Where the results lie.
        output: PathBuf,
    },
    /// A file of the study could not be written.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

const RAISE: &str = "\n  hint: raise the cap in `study.device`, or lower `data.max_length`";

/// Why one example does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The phase that holds the most.
    pub phase: Phase,
    /// What it holds.
    pub peak_bytes: Bytes,
    /// What it may hold.
    pub budget: Bytes,
    /// What would save memory.
    pub advice: Vec<Advice>,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, peak_bytes, budget, advice } = self;
        let over = peak_bytes.saturating_sub(*budget);
        write!(f, "; the longest example alone takes {peak_bytes} in its {} phase", phase.name())?;
        if over > Bytes(0) {
            write!(f, ", {over} more than it may")?;
        }
        let advice: Vec<String> = advice.iter().map(Advice::to_string).collect();
        write!(f, "{RAISE}; by prediction {}", advice.join("; "))
    }
}

/// What helps against an outcome, where it does not say so itself.
const fn remedy(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Diverged { .. } => {
            "\n  hint: lower `space.learning_rate`; in f16 the activations of some models overflow, then use bf16 or f32"
        }
        _ => "",
    }
}

/// An outcome in words, with what a user needs to act on it.
pub(super) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Finished => "success".to_owned(),
        // A foreign program may know no more than that.
        Outcome::OutOfMemory { requested: None, live: Bytes(0), .. } => "out of memory".to_owned(),
        Outcome::OutOfMemory { requested, live, .. } => {
            let more = requested.map(|bytes| format!(", {bytes} more were asked for")).unwrap_or_default();
            format!("out of memory: {live} were held{more}")
        }
        Outcome::Diverged { step } => format!("divergence at step {step}"),
        Outcome::Failed { message, .. } => message.clone(),
        Outcome::Crashed { signal, exit_code, stderr_tail } => {
            let how = match (signal, exit_code) {
                (Some(signal), _) => format!("a crash by signal {signal}"),
                (None, Some(code)) => format!("exit code {code} without a last word"),
                (None, None) => "a crash".to_owned(),
            };
            format!("{how}: {}", stderr_tail.trim())
        }
        Outcome::TimedOut { seconds, stderr_tail } if stderr_tail.trim().is_empty() => {
            format!("silence for {seconds} s")
        }
        Outcome::TimedOut { seconds, stderr_tail } => {
            format!("silence for {seconds} s: {}", stderr_tail.trim())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_diverged_is_told_with_what_helps() {
        let run = |outcome| StudyError::Run { what: "the probe".to_owned(), outcome }.to_string();
        let diverged = run(Outcome::Diverged { step: 1 });
        assert!(diverged.starts_with("the probe ended with divergence at step 1"), "{diverged}");
        assert!(
            diverged.contains("hint: lower `space.learning_rate`") && diverged.contains("bf16"),
            "{diverged}"
        );
        assert!(!run(Outcome::TimedOut { seconds: 9, stderr_tail: String::new() }).contains("hint"));
        let unknown = run(Outcome::OutOfMemory { requested: None, live: Bytes(0), cap: None });
        assert_eq!(unknown, "the probe ended with out of memory");
    }
}
