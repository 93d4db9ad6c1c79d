//! `[trainer]`: a foreign program that does the training, and how it is understood.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Study, Template};

/// A program that trains in place of this one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainerSettings {
    /// Program and arguments.
    pub command: Vec<Template>,
    /// Where it is started: the study file's folder, to which its relative paths belong.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The file it writes its metrics to; without one, events are read from its standard output alone.
    pub metrics: Option<MetricsSettings>,
    /// Whether it is asked what fits; else the batch is what the study file lists.
    pub probes: bool,
    /// Examples of an epoch of its own data; none where it trains on the data this program prepares.
    pub examples: Option<usize>,
    /// It is killed after so many minutes without a sign of life.
    pub silence_minutes: f64,
}

/// A file of metrics and what its keys mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricsSettings {
    /// Its path, which holds `{checkpoint}`: each run has a file of its own.
    pub file: Template,
    /// How it is written.
    pub form: MetricsForm,
    /// Names in it.
    pub keys: MetricsKeys,
}

/// How a file of metrics is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsForm {
    /// One JSON object a line, appended.
    Lines,
    /// One JSON object with a list `log_history`, written anew each time: Hugging Face's `trainer_state.json`.
    TrainerState,
}

/// The names of what an entry of a metrics file tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricsKeys {
    /// Optimizer steps done.
    pub step: String,
    /// Training loss in nats per token.
    pub loss: String,
    /// Loss of an evaluation in nats per token.
    pub eval_loss: String,
    /// Learning rate of the step.
    pub learning_rate: String,
    /// Global norm of the gradient.
    pub grad_norm: String,
    /// Tokens trained since the beginning.
    pub tokens_seen: String,
    /// Seconds of an evaluation.
    pub eval_seconds: String,
}

impl Default for MetricsKeys {
    /// The names in `log_history` of Hugging Face's Trainer.
    fn default() -> Self {
        let [step, loss, eval_loss, learning_rate, grad_norm, tokens_seen, eval_seconds] = [
            "step",
            "loss",
            "eval_loss",
            "learning_rate",
            "grad_norm",
            "num_input_tokens_seen",
            "eval_runtime",
        ]
        .map(str::to_owned);
        Self { step, loss, eval_loss, learning_rate, grad_norm, tokens_seen, eval_seconds }
    }
}

impl Study {
    /// Examples of an epoch, where model and data are a foreign trainer's own business.
    #[must_use]
    pub fn own_examples(&self) -> Option<usize> {
        self.trainer.as_ref()?.examples
    }
}

impl TrainerSettings {
    /// A path that lies relative to the study file, as it was typed.
    #[must_use]
    pub fn as_typed<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.folder).unwrap_or(path)
    }
}
