//! Everything a run needs to go on, in one file: weights, moments, step, best loss so far.
//!
//! Shuffling is a function of seed and step, so no other state is needed for an exact resume. What
//! the child has said since the rung began is kept too: a driver that was killed may not have
//! heard it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::optimizer::AdamW;
use crate::arch::{ModelConfig, ParameterSpec};
use crate::data::Dataset;
use crate::model::{Decoder, write_tensors};
use crate::trial::{Event, TrialSpec};

const FILE: &str = "state.safetensors";

/// Progress of a run apart from its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Optimizer steps done.
    pub step: usize,
    /// Lowest evaluation loss whose weights were kept.
    pub best_loss_nats: Option<f64>,
    /// Where the rung stops that wrote the checkpoint.
    pub stop_at_step: usize,
    /// What that rung has measured so far.
    pub said: Vec<Event>,
}

/// What a checkpoint file holds.
pub(super) struct Checkpoint {
    pub(super) progress: Progress,
    pub(super) weights: Vec<Tensor>,
    pub(super) first: Vec<Tensor>,
    pub(super) second: Vec<Tensor>,
}

/// Writes a checkpoint into `folder`, whole or not at all.
pub(super) fn write(
    folder: &Path,
    model: &Decoder,
    optimizer: &AdamW,
    progress: &Progress,
    run: &str,
) -> Result<(), TrainError> {
    let names = tensor_names(model.specs());
    let (first, second) = optimizer.moments();
    let tensors = model.weights().iter().chain(first).chain(second);
    let named: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(tensors).collect();
    let file = folder.join(FILE);
    let progress = serde_json::to_string(progress)
        .map_err(|error| TrainError::Checkpoint { file: file.clone(), problem: error.to_string() })?;
    let metadata = [("progress", progress), ("run", run.to_owned())];
    Ok(write_tensors(&file, &named, DType::F32, &metadata)?)
}

/// Reads the checkpoint of `folder`; `None` if there is none.
pub(super) fn read(
    folder: &Path,
    specs: &[ParameterSpec],
    device: &Device,
    run: &str,
) -> Result<Option<Checkpoint>, TrainError> {
    let file = folder.join(FILE);
    if !file.exists() {
        return Ok(None);
    }
    let problem = |problem: String| TrainError::Checkpoint { file: file.clone(), problem };
    let progress = read_progress(&file, run).map_err(problem)?;
    // SAFETY: only this run writes its checkpoints, and it replaces the file by renaming.
    #[expect(unsafe_code, reason = "memory-mapping keeps a second copy of the state off the heap")]
    let map = unsafe { MmapedSafetensors::new(&file) }.map_err(|error| problem(error.to_string()))?;
    let load = |name: String| map.load(&name, device).map_err(|error| problem(error.to_string()));
    let mut tensors = tensor_names(specs).into_iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let second = tensors.split_off(2 * specs.len());
    let first = tensors.split_off(specs.len());
    Ok(Some(Checkpoint { progress, weights: tensors, first, second }))
}

fn tensor_names(specs: &[ParameterSpec]) -> Vec<String> {
    let named = |prefix: &'static str| specs.iter().map(move |spec| format!("{prefix}{}", spec.name));
    named("").chain(named("adamw.first.")).chain(named("adamw.second.")).collect()
}

/// What must be equal for a checkpoint to be a prefix of a run.
///
/// How the effective batch is cut into micro-batches is not part of it: the step is the same. Nor
/// is where the files lie, but what they hold: a study may be moved, or its path be typed anew.
pub(super) fn run_identity(spec: &TrialSpec, dataset: &Dataset, config: &ModelConfig) -> String {
    let mut train = spec.train;
    train.eval_micro_batch_size = 0;
    let point = &spec.hyperparams;
    let effective = point.batch.effective_batch_size();
    let (data, model) = (&dataset.digest, config.to_json());
    serde_json::json!([data, model, point.precision, effective, point.learning_rate, train]).to_string()
}

fn read_progress(file: &PathBuf, run: &str) -> Result<Progress, String> {
    let metadata = read_metadata(file)?;
    let value = |key: &str| metadata.get(key).ok_or_else(|| format!("it has no `{key}`"));
    if value("run")? != run {
        return Err("it belongs to a run with other settings".to_owned());
    }
    serde_json::from_str(value("progress")?).map_err(|error| format!("its `progress` is damaged: {error}"))
}

/// The string table at the head of a safetensors file, without its tensors.
fn read_metadata(file: &PathBuf) -> Result<HashMap<String, String>, String> {
    use std::io::Read;
    let text = |error: std::io::Error| error.to_string();
    let mut reader = std::fs::File::open(file).map_err(text)?;
    let size = reader.metadata().map_err(text)?.len();
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(text)?;
    let length = u64::from_le_bytes(length);
    if length > size {
        return Err("its header is damaged".to_owned());
    }
    let mut header = Vec::new();
    reader.take(length).read_to_end(&mut header).map_err(text)?;
    let json: serde_json::Value = serde_json::from_slice(&header).map_err(|error| error.to_string())?;
    serde_json::from_value(json["__metadata__"].clone()).map_err(|error| error.to_string())
}
