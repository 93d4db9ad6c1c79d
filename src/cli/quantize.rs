//! `quantize`: GGUF files of a model folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::args::QuantizeOptions;
use super::evaluate::{Model, loss};
use super::fetching::{Located, locate};
use super::usage::UsageError;
use super::{print, print_json};
use crate::quantize::{GgufType, export};
use crate::units::Bytes;

#[derive(Debug, Serialize)]
struct Written {
    #[serde(rename = "type")]
    gguf_type: String,
    path: PathBuf,
    bytes: Bytes,
    loss_nats: Option<f64>,
    warnings: Vec<String>,
}

/// Writes each type asked for.
pub(super) fn run(options: &QuantizeOptions) -> Result<ExitCode> {
    let types = options.types.iter().map(|name| name.parse()).collect::<Result<Vec<GgufType>, _>>()?;
    let model = locate(&options.model)?;
    if !model.path.is_dir() {
        let hint = "it holds config.json, tokenizer.json and model.safetensors";
        return Err(UsageError::new(&options.model, "no model folder", hint).into());
    }
    // The cache of the hub is no place for files of ours.
    let beside = if model.is_cached { Path::new(".") } else { &model.path };
    let folder = options.output.as_deref().unwrap_or(beside);
    let mut files = Vec::new();
    for gguf_type in types {
        let file = write(options, &model, gguf_type, folder)?;
        if !options.json {
            print(&line(&file))?;
        }
        files.push(file);
    }
    if options.json {
        print_json(&serde_json::json!({ "quantized": files }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(options: &QuantizeOptions, model: &Located, gguf_type: GgufType, folder: &Path) -> Result<Written> {
    let path = folder.join(format!("{}-{gguf_type}.gguf", model.name));
    let report = export(&model.path, gguf_type, &path)?;
    let loss_nats = match &options.eval {
        Some(data) => {
            Some(loss(Model { path: &path, adapter: None }, Some(&model.path), data, None)?.loss_nats)
        }
        None => None,
    };
    Ok(Written {
        gguf_type: gguf_type.to_string(),
        path,
        bytes: report.bytes,
        loss_nats,
        warnings: report.warnings,
    })
}

fn line(file: &Written) -> String {
    let loss = file.loss_nats.map(|loss| format!("  loss {loss:.4}")).unwrap_or_default();
    let size = file.bytes.to_string();
    let mut text = format!("{:<7} {size:>9}{loss}  {}", file.gguf_type, file.path.display());
    for warning in &file.warnings {
        text += "\n  warning: ";
        text += warning;
    }
    text
}
