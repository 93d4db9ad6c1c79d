//! `eval`: the loss of a model on a data file.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use super::args::EvalOptions;
use super::{print, print_json};
use crate::data::{self, Tokenizer};
use crate::device;
use crate::space::{DataSettings, DeviceSpec, Precision, Study};
use crate::train::evaluate;
use crate::worker::load_model;

/// Examples at once: a throughput choice that any machine has the memory for.
const MICRO_BATCH: usize = 8;

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
    let folder = match &options.tokenizer {
        Some(folder) => folder.as_path(),
        None if options.model.is_dir() => options.model.as_path(),
        None => anyhow::bail!(
            "a GGUF file is evaluated with the tokenizer of its model folder\n  hint: give it with --tokenizer DIR"
        ),
    };
    let result = loss(&options.model, folder, &options.data, options.max_length)?;
    if options.json {
        print_json(&result)?;
    } else {
        let Evaluated { loss_nats, tokens, perplexity } = result;
        print(&format!("loss {loss_nats:.4} nats per token, perplexity {perplexity:.2}, {tokens} tokens"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Loss of `model` on every row of `file` that fits.
pub(super) fn loss(model: &Path, tokenizer: &Path, file: &Path, max_length: usize) -> Result<Evaluated> {
    let device = device::open(&DeviceSpec::Cpu { cap: None })?;
    let decoder = load_model(model, Precision::F32, &*device).with_context(|| model.display().to_string())?;
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
    Ok(Study::from_toml(&text, Path::new("--data"))?.data)
}

fn toml_string(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}
