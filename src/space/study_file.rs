//! The study file as typed: TOML sections, every key optional that has a default.
//!
//! Nothing is checked here beyond syntax and names; [`super::Study`] is the checked form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::GpuSection;
use crate::spelling::nearest;

/// How the messages of values begin that may be written in two ways.
const NEITHER: &str = "neither";
const WHOLE: &str = "expected a whole number of at least 0";

/// What a study file may contain. Unknown keys are errors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    #[serde(default)]
    pub(super) study: StudySection,
    pub(super) model: ModelSection,
    pub(super) data: DataSection,
    #[serde(default)]
    pub(super) space: SpaceSection,
    #[serde(default)]
    pub(super) search: SearchSection,
    #[serde(default)]
    pub(super) train: TrainSection,
    pub(super) lora: Option<LoraSection>,
    #[serde(default)]
    pub(super) executor: ExecutorSection,
    #[serde(default)]
    pub(super) fit: FitSection,
    #[serde(default)]
    pub(super) gpu: BTreeMap<String, GpuSection>,
    #[serde(default)]
    pub(super) quantize: QuantizeSection,
    pub(super) trainer: Option<TrainerSection>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StudySection {
    pub name: Option<String>,
    pub seed: Option<u64>,
    pub device: Option<OneOrMany<String>>,
    pub slots: Option<usize>,
    pub threads: Option<usize>,
    #[serde(alias = "output_dir")]
    pub output: Option<PathBuf>,
    pub disk_quota: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecutorSection {
    pub kind: Option<String>,
    pub slots: Option<usize>,
    pub partition: Option<String>,
    pub account: Option<String>,
    pub gres: Option<String>,
    pub time: Option<String>,
    pub flags: Option<OneOrMany<String>>,
    pub poll_seconds: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSection {
    #[serde(alias = "model_name_or_path")]
    pub source: Option<String>,
    pub new: Option<NewModelSection>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewModelSection {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataSection {
    pub source: PathBuf,
    pub format: Option<String>,
    pub prompt: Option<String>,
    pub completion: Option<String>,
    pub text: Option<String>,
    pub separator: Option<String>,
    #[serde(alias = "max_seq_length", alias = "sequence_len", alias = "cutoff_len")]
    pub max_length: Option<usize>,
    pub validation_fraction: Option<f64>,
    pub test_fraction: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "neither a value of the right type nor a list of such values")]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeSection {
    pub low: f64,
    pub high: f64,
    #[serde(default)]
    pub log: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "neither a number nor a range such as { low = 1e-5, high = 1e-3, log = true }")]
pub(super) enum FloatSection {
    Fixed(f64),
    Range(RangeSection),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpaceSection {
    pub precision: Option<OneOrMany<String>>,
    pub effective_batch_size: Option<OneOrMany<usize>>,
    #[serde(alias = "per_device_train_batch_size")]
    pub micro_batch_size: Option<OneOrMany<usize>>,
    pub gradient_accumulation_steps: Option<OneOrMany<usize>>,
    pub learning_rate: Option<FloatSection>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchSection {
    #[serde(alias = "n_trials")]
    pub trials: Option<usize>,
    pub rungs: Option<u32>,
    pub reduction_factor: Option<usize>,
    pub validation_examples: Option<usize>,
    pub max_micro_batch_size: Option<usize>,
    pub hours: Option<f64>,
    pub plateau_nats: Option<f64>,
    pub sampler: Option<String>,
    pub pruner: Option<String>,
    pub learn_from: Option<OneOrMany<PathBuf>>,
    #[serde(default)]
    pub confirm: ConfirmSection,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmSection {
    pub candidates: Option<usize>,
    pub seeds: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrainSection {
    #[serde(alias = "num_train_epochs")]
    pub epochs: Option<f64>,
    #[serde(alias = "lr_scheduler_type")]
    pub schedule: Option<String>,
    #[serde(alias = "warmup_ratio")]
    pub warmup_fraction: Option<f64>,
    #[serde(alias = "optim")]
    pub optimizer: Option<String>,
    pub weight_decay: Option<f64>,
    pub max_grad_norm: Option<f64>,
    pub gradient_checkpointing: Option<bool>,
    pub data_parallel: Option<bool>,
    pub evaluations: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoraSection {
    #[serde(alias = "r", alias = "lora_r")]
    pub rank: Option<usize>,
    #[serde(alias = "lora_alpha")]
    pub alpha: Option<f64>,
    #[serde(alias = "lora_dropout")]
    pub dropout: Option<f64>,
    #[serde(alias = "target_modules", alias = "lora_target_modules")]
    pub targets: Option<OneOrMany<String>>,
    #[serde(alias = "use_rslora")]
    pub rslora: Option<bool>,
    pub quantize_base: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FitSection {
    pub max_length: Option<OneOrMany<usize>>,
    pub gradient_checkpointing: Option<OneOrMany<bool>>,
    pub lora_rank: Option<OneOrMany<RankSection>>,
    pub margin: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RankSection {
    Rank(usize),
    Name(String),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuantizeSection {
    pub types: Option<OneOrMany<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrainerSection {
    pub command: Vec<String>,
    pub metrics_file: Option<String>,
    pub metrics_keys: Option<MetricsKeysSection>,
    pub probes: Option<bool>,
    pub examples: Option<usize>,
    pub silence_minutes: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsKeysSection {
    pub step: Option<String>,
    pub loss: Option<String>,
    pub eval_loss: Option<String>,
    pub learning_rate: Option<String>,
    pub grad_norm: Option<String>,
    pub tokens_seen: Option<String>,
    pub eval_seconds: Option<String>,
}

/// What is wrong with a study file, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}{}", file.display(), line.map(|n| format!(":{n}")).unwrap_or_default(), hint.as_ref().map(|h| format!("\n  hint: {h}")).unwrap_or_default())]
pub struct StudyFileError {
    /// The study file.
    pub file: PathBuf,
    /// Line of the mistake, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong, with key and value.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl StudyFile {
    /// Reads the TOML `text` of `file` (the name is for messages only).
    ///
    /// # Errors
    /// Bad syntax, an unknown key (with the nearest right one), a missing key or a wrong type.
    pub fn parse(text: &str, file: &Path) -> Result<Self, StudyFileError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            let typed = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
            let (message, hint) = explain(error.message().trim(), typed.trim());
            StudyFileError { file: file.to_owned(), line, message, hint: Some(hint) }
        })
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The parser's message about the line `typed` in a user's words, and what would be right.
fn explain(message: &str, typed: &str) -> (String, String) {
    if message.starts_with("unknown field") {
        return unknown_key(message);
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return (format!("the key {name} is missing"), missing_hint(name).to_owned());
    }
    if ["invalid", NEITHER].iter().any(|start| message.starts_with(start)) && typed.contains('=') {
        let message = message.replace("expected f64", "expected a number");
        let message = message.replace("expected usize", WHOLE).replace("expected u64", WHOLE);
        let hint = "numbers stand without quotes, text in double quotes, lists in square brackets";
        return (format!("`{typed}`: {message}").replace('\n', ", "), hint.to_owned());
    }
    (message.replace('\n', ", "), "a study file is TOML; search-spaces/ has examples".to_owned())
}

fn missing_hint(name: &str) -> &'static str {
    match name {
        "`model`" | "`data`" | "`source`" => {
            "a study needs at least `[model] source = \"FOLDER or owner/name\"` and `[data] source = \"FILE\"`"
        }
        _ => "add it; search-spaces/ has examples",
    }
}

/// From serde's "unknown field `a`, expected one of `b`, `c`": the key nearest to `a`, else all.
fn unknown_key(message: &str) -> (String, String) {
    let mut names = message.split('`').skip(1).step_by(2);
    let wrong = names.next().unwrap_or_default();
    let names: Vec<&str> = names.collect();
    let hint = nearest(wrong, names.iter().copied()).map_or_else(
        || format!("the keys here are `{}`", names.join("`, `")),
        |name| format!("did you mean `{name}`?"),
    );
    (format!("unknown key `{wrong}`"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> StudyFileError {
        StudyFile::parse(text, Path::new("s.toml")).unwrap_err()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
        let error = error("[model]\nsource = 'm'\n[data]\nsorce = 'd.csv'\n");
        assert_eq!(error.line, Some(4));
        assert!(error.message.contains("`sorce`"), "{error}");
        assert_eq!(error.hint.as_deref(), Some("did you mean `source`?"));
    }

    #[test]
    fn a_key_unlike_any_other_is_shown_with_those_there_are() {
        let error = error("[model]\nsource = 'm'\n[data]\nsource = 'd.csv'\n[quantize]\nzebra = 1\n");
        assert_eq!(error.message, "unknown key `zebra`");
        assert_eq!(error.hint.as_deref(), Some("the keys here are `types`"));
    }

    #[test]
    fn a_missing_section_is_named() {
        let error = error("[model]\nsource = 'm'\n");
        assert!(error.message.contains("`data`") && error.to_string().contains("hint:"), "{error}");
    }

    #[test]
    fn a_value_of_another_type_is_shown_with_the_right_one() {
        let base = "[model]\nsource = 'm'\n[data]\nsource = 'd.csv'\n[space]\n";
        let wrong = |line: &str| error(&format!("{base}{line}\n"));
        for line in ["learning_rate = 'high'", "learning_rate = { low = 1.0, top = 2.0 }"] {
            let error = wrong(line);
            assert!(error.message.contains("{ low = 1e-5, high = 1e-3"), "{error}");
            assert!(error.message.contains(line), "{error}");
            assert_eq!(error.line, Some(6), "{error}");
        }
        let error = wrong("effective_batch_size = 'many'");
        assert!(error.message.contains("list") && !error.message.contains("enum"), "{error}");
        let error = wrong("micro_batch_size = 'x'\n[train]\nepochs = 'three'");
        assert!(error.message.contains("list"), "the first mistake is told first: {error}");
    }
}
