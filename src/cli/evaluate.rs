//! `eval`: the loss of a model on a data file.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::args::EvalOptions;
use super::fetching::locate;
use super::usage::UsageError;
use super::{print, print_json};
use crate::data::{self, Tokenizer};
use crate::device;
use crate::space::{DataSettings, DeviceSpec, Precision, Study};
use crate::train::evaluate;
use crate::worker::load_model;

/// Examples at once: a throughput choice that any machine has the memory for.
const MICRO_BATCH: usize = 8;
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
    let tokenizer = tokenizer_folder(options, &model)?;
    let result = loss(&model, tokenizer, &options.data, options.max_length)?;
    if options.json {
        print_json(&result)?;
    } else {
        let Evaluated { loss_nats, tokens, perplexity } = result;
        print(&format!("loss {loss_nats:.4} nats per token, perplexity {perplexity:.2}, {tokens} tokens"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn tokenizer_folder<'a>(options: &'a EvalOptions, model: &'a Path) -> Result<&'a Path, UsageError> {
    let wrong = |problem, hint| Err(UsageError::new(model, problem, hint));
    let is_gguf = model.extension().is_some_and(|extension| extension == "gguf");
    match &options.tokenizer {
        _ if !model.is_dir() && !is_gguf => {
            wrong("neither a folder nor a GGUF file", "the name of a GGUF file ends in .gguf")
        }
        Some(folder) => Ok(folder),
        None if is_gguf => wrong(
            "a GGUF file is evaluated with the tokenizer of its model folder",
            "name that folder with --tokenizer DIR",
        ),
        None => Ok(model),
    }
}

/// Loss of `model` on every row of `file` that fits.
pub(super) fn loss(
    model: &Path,
    tokenizer: &Path,
    file: &Path,
    max_length: Option<usize>,
) -> Result<Evaluated> {
    let device = device::open(&DeviceSpec::Cpu { cap: None })?;
    let decoder = load_model(model, Precision::F32, &*device)?;
    let max_length = max_length.unwrap_or(MAX_LENGTH.min(decoder.config().max_position_embeddings));
    let tokenizer = Tokenizer::from_folder(tokenizer)?;
    tokenizer.check_against(decoder.config())?;
    let settings = settings(file, max_length)?;
    let examples = data::tokenize(&settings, &tokenizer, decoder.config())?;
    let evaluation = evaluate(&decoder, &examples, MICRO_BATCH)?;
    device.synchronize()?;
    let loss_nats = evaluation.loss_nats();
    Ok(Evaluated { loss_nats, tokens: evaluation.tokens, perplexity: loss_nats.exp() })
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
