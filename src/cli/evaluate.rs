//! `eval`: the loss of a model on a data file.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::EvalOptions;
use super::fetching::locate;
use super::usage::UsageError;
use super::{print, print_json};
use crate::data::{self, Tokenizer};
use crate::device::{self, Device};
use crate::model::{Decoder, read_adapter};
use crate::quantize;
use crate::space::{DataSettings, DeviceSpec, Precision, Study};
use crate::train::evaluate_watched;
use crate::worker::load_model;

/// Tokens at once: enough to keep every core busy, and activations that any machine has room for.
const TOKENS_AT_ONCE: usize = 4096;
/// Longest example where the user names none and the model's context allows it.
const MAX_LENGTH: usize = 512;

/// What `eval` prints.
#[derive(Debug, Serialize)]
pub(super) struct Evaluated {
    /// Mean negative log-likelihood per scored token.
    pub(super) loss_nats: f64,
    /// Scored tokens.
    pub(super) tokens: u64,
    /// e to the loss.
    pub(super) perplexity: f64,
}

/// Prints the loss of a model on a data file.
pub(super) fn run(options: &EvalOptions) -> Result<ExitCode> {
    let model = locate(&options.model)?.path;
    check_model(&model)?;
    let what = Model { path: &model, adapter: options.adapter.as_deref() };
    let result = loss(what, options.tokenizer.as_deref(), &options.data, options.max_length)?;
    if options.json {
        print_json(&result)?;
    } else {
        let Evaluated { loss_nats, tokens, perplexity } = result;
        print(&format!("loss {loss_nats:.4} nats per token, perplexity {perplexity:.2}, {tokens} tokens"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check_model(model: &Path) -> Result<(), UsageError> {
    let wrong = |problem, hint| Err(UsageError::new(model, problem, hint));
    if !model.is_dir() && !quantize::is_gguf(model) {
        return wrong("neither a folder nor a GGUF file", "the name of a GGUF file ends in .gguf");
    }
    Ok(())
}

/// What is evaluated.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    /// A model folder or a GGUF file.
    pub(super) path: &'a Path,
    /// Folder of an adapter for it.
    pub(super) adapter: Option<&'a Path>,
}

impl Model<'_> {
    fn load(self, device: &dyn Device) -> Result<Decoder> {
        let decoder = load_model(self.path, Precision::F32, device)?;
        let Some(folder) = self.adapter else { return Ok(decoder) };
        let (lora, weights) = read_adapter(folder, decoder.config())?;
        Ok(decoder.with_adapter_weights(&lora, weights)?)
    }
}

/// Loss of `model` on every row of `file` that fits.
///
/// Without `tokenizer`, the folder of one, the model's own is used: that of its folder or of its
/// GGUF file.
pub(super) fn loss(
    model: Model,
    tokenizer: Option<&Path>,
    file: &Path,
    max_length: Option<usize>,
) -> Result<Evaluated> {
    let tokenizer = match tokenizer {
        Some(folder) => Tokenizer::from_folder(folder)?,
        None if quantize::is_gguf(model.path) => quantize::read_tokenizer(model.path)?,
        None => Tokenizer::from_folder(model.path)?,
    };
    let device = device::open(&DeviceSpec::Cpu { cap: None })?;
    let decoder = model.load(&*device)?;
    let max_length = max_length.unwrap_or(MAX_LENGTH.min(decoder.config().max_position_embeddings));
    let settings = settings(file, max_length)?;
    let (examples, report) = data::tokenize(&settings, &tokenizer, decoder.config())?;
    if report.kept < report.rows_read {
        writeln!(io::stderr(), "{}: {report}", file.display())?;
    }
    let at_once = (TOKENS_AT_ONCE / max_length).max(1);
    let bar = bar(examples.len());
    let evaluation = evaluate_watched(&decoder, &examples, at_once, &mut |count| bar.inc(count as u64))?;
    bar.finish_and_clear();
    device.synchronize()?;
    let loss_nats = evaluation.loss_nats();
    Ok(Evaluated { loss_nats, tokens: evaluation.tokens, perplexity: loss_nats.exp() })
}

/// Hidden where standard error is no terminal.
fn bar(examples: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:24} {pos}/{len} sequences · {eta} left");
    let bar = ProgressBar::new(examples as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// The defaults of a study that names `file`, so that one place decides about formats and columns.
fn settings(file: &Path, max_length: usize) -> Result<DataSettings> {
    let source = toml_string(file);
    let text = format!("[model]\nsource = \"\"\n[data]\nsource = {source}\nmax_length = {max_length}\n");
    let wrong =
        |_| UsageError::new(file, "not a data file by its name", "it must end in .csv, .jsonl or .txt");
    Ok(Study::from_toml(&text, Path::new("--data")).map_err(wrong)?.data)
}

fn toml_string(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}
