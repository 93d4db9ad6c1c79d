//! Everything a run needs to go on, in one file: weights, moments, step, best loss so far.
//!
//! Shuffling is a function of seed and step, so no other state is needed for an exact resume. What
//! the child has said since the rung began is kept too: a driver that was killed may not have
//! heard it.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::engine::Engine;
use super::loss_scale::LossScale;
use super::optimizer::{Moments, StatePart};
use crate::arch::{ModelConfig, ParameterSpec};
use crate::data::Dataset;
use crate::device::Rank;
use crate::model::{ModelError, PlannedTensor, TensorFiles, write_planned};
use crate::space::Optimizer;
use crate::trial::{Event, TrialSpec};

const FILE: &str = "state.safetensors";
const OTHER_RUN: &str = "it belongs to a run with other settings";

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
    /// The factor of the next step's loss, where the precision has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

/// What a checkpoint file holds.
pub(super) struct Checkpoint {
    pub(super) progress: Progress,
    pub(super) weights: Vec<Tensor>,
    pub(super) moments: Vec<Moments>,
}

/// Writes a checkpoint into `folder`, whole or not at all.
pub(super) fn write(
    folder: &Path,
    engine: &Engine,
    progress: &Progress,
    run: &str,
) -> Result<(), TrainError> {
    let weights = engine.model().trainable().map(|(spec, weight)| (StatePart::of_weight(spec), weight));
    let parts: Vec<(StatePart, &Tensor)> = weights.chain(engine.optimizer().state(engine.model())).collect();
    let planned: Vec<PlannedTensor<'_>> = parts.iter().map(|(part, _)| part.planned()).collect();
    let file = folder.join(FILE);
    let progress = serde_json::to_string(progress)
        .map_err(|error| TrainError::Checkpoint { file: file.clone(), problem: error.to_string() })?;
    let metadata = [("progress", progress), ("run", run.to_owned())];
    Ok(write_planned(&file, &planned, &|index| Ok(parts[index].1.clone()), &metadata)?)
}

/// Reads the checkpoint of `folder`; `None` if there is none.
pub(super) fn read(
    folder: &Path,
    (specs, optimizer): (&[ParameterSpec], Optimizer),
    device: &Device,
    run: &str,
) -> Result<Option<Checkpoint>, TrainError> {
    let file = folder.join(FILE);
    if !file.exists() {
        return Ok(None);
    }
    let damaged = |error| damaged(&file, error);
    let stored = TensorFiles::open(&file).map_err(damaged)?;
    let progress = read_progress(&stored, run)
        .map_err(|problem| TrainError::Checkpoint { file: file.clone(), problem })?;
    let load = |part: StatePart| stored.load_exact(part.planned(), device).map_err(damaged);
    let moments = |spec: &ParameterSpec| {
        let tensors: Result<_, TrainError> = Moments::parts(optimizer, spec).into_iter().map(load).collect();
        Ok(Moments::from_tensors(tensors?)?)
    };
    let weights = specs.iter().map(StatePart::of_weight).map(load).collect::<Result<_, _>>()?;
    let moments = specs.iter().map(moments).collect::<Result<_, TrainError>>()?;
    Ok(Some(Checkpoint { progress, weights, moments }))
}

/// The same, but a damaged file is put aside as if there were none: the run begins anew, and nothing is lost but time.
///
/// A sound one of another run stays an error: whatever needs it could not be repeated from here.
fn read_or_put_aside(
    folder: &Path,
    parts: (&[ParameterSpec], Optimizer),
    device: &Device,
    run: &str,
) -> Result<Option<Checkpoint>, TrainError> {
    match read(folder, parts, device, run) {
        Err(TrainError::Checkpoint { file, problem }) if problem != OTHER_RUN => {
            let aside = file.with_extension("damaged");
            std::fs::rename(&file, aside).map_err(|error| TrainError::Checkpoint {
                file,
                problem: format!("{problem}, and it can't be put aside: {error}"),
            })?;
            Ok(None)
        }
        other => other,
    }
}

/// The same by several ranks: the first looks whether the file is sound, before any other reads it.
pub(super) fn read_together(
    folder: &Path,
    parts: (&[ParameterSpec], Optimizer),
    (device, rank): (&Device, &Rank),
    run: &str,
) -> Result<Option<Checkpoint>, TrainError> {
    if !rank.is_first() {
        rank.meet()?;
        return read(folder, parts, device, run);
    }
    let found = read_or_put_aside(folder, parts, device, run)?;
    rank.meet()?;
    Ok(found)
}

/// What is wrong with the file is the checkpoint's problem; a device that is full is not.
fn damaged(file: &Path, error: ModelError) -> TrainError {
    let problem = match error {
        ModelError::Weights { message, .. } => message,
        ModelError::Mismatch { name, problem, .. } => format!("`{name}` {problem}"),
        other => return other.into(),
    };
    TrainError::Checkpoint { file: file.to_owned(), problem }
}

/// What must be equal for a checkpoint to be a prefix of a run.
///
/// How the effective batch is cut into micro-batches is not part of it, nor whether activations are
/// kept, nor how many devices share it: the step is the same. Nor
/// is where the files lie, but what they hold: a study may be moved, or its path be typed anew.
pub(super) fn run_identity(spec: &TrialSpec, dataset: &Dataset, config: &ModelConfig) -> String {
    let mut train = spec.train.clone();
    train.eval_micro_batch_size = 0;
    train.gradient_checkpointing = false;
    let point = &spec.hyperparams;
    let effective = point.batch.effective_batch_size();
    let (data, model) = (&dataset.digest, config.to_json());
    serde_json::json!([data, model, point.precision, effective, point.learning_rate, train]).to_string()
}

fn read_progress(stored: &TensorFiles, run: &str) -> Result<Progress, String> {
    let value = |key: &str| stored.metadata(key).ok_or_else(|| format!("it has no `{key}`"));
    if value("run")? != run {
        return Err(OTHER_RUN.to_owned());
    }
    serde_json::from_str(value("progress")?).map_err(|error| format!("its `progress` is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::optimizer::AdamW;
    use super::*;
    use crate::arch;
    use crate::data::CleaningReport;
    use crate::model::Decoder;
    use crate::space::Precision;
    use crate::trial::EvalEvent;

    fn spec(learning_rate: f64, micro_batch_size: usize) -> TrialSpec {
        let json = serde_json::json!({
            "device": "cpu", "model": "m", "dataset": "d",
            "hyperparams": {"precision": "f32", "micro_batch_size": micro_batch_size,
                "gradient_accumulation_steps": 8 / micro_batch_size, "learning_rate": learning_rate},
            "train": {"seed": 0, "total_steps": 9, "schedule": "linear", "warmup_fraction": 0.0,
                "weight_decay": 0.0, "max_grad_norm": 1.0, "gradient_checkpointing": false, "validation_examples": 1,
                "eval_micro_batch_size": micro_batch_size},
            "task": {"kind": "evaluate"},
        });
        serde_json::from_value(json).unwrap()
    }

    fn model() -> Decoder {
        let json = r#"{"model_type":"llama","vocab_size":19,"hidden_size":16,"intermediate_size":24,
            "num_hidden_layers":1,"num_attention_heads":4}"#;
        Decoder::random(ModelConfig::from_json(json).unwrap(), 1, Precision::F32, &Device::Cpu).unwrap()
    }

    fn progress() -> Progress {
        let eval = EvalEvent { step: 2, loss_nats: 0.1 + 0.2, tokens: 9, seconds: 1.0 / 3.0 };
        let mut scale = LossScale::default();
        assert!(scale.lower());
        Progress {
            step: 3,
            best_loss_nats: Some(0.1 + 0.2),
            stop_at_step: 9,
            said: vec![Event::Eval(eval)],
            loss_scale: Some(scale),
        }
    }

    fn identity(spec: &TrialSpec) -> String {
        let (train, validation, test) = (vec![], vec![], vec![]);
        let dataset =
            Dataset { train, validation, test, report: CleaningReport::default(), digest: "d".to_owned() };
        run_identity(spec, &dataset, model().config())
    }

    /// A folder with a checkpoint at step 3.
    fn written() -> tempfile::TempDir {
        let (folder, model) = (tempfile::tempdir().unwrap(), model());
        let doubled = |weight: &Tensor| (weight * 2.0).unwrap();
        let moments = |weight| Moments::from_tensors(vec![doubled(weight), doubled(weight)]).unwrap();
        let moments = model.weights().iter().map(moments).collect();
        let optimizer = AdamW::from_moments(moments, Optimizer::AdamW, 0.0);
        let engine = Engine::with_optimizer(model, optimizer, None, 1, None).unwrap();
        write(folder.path(), &engine, &progress(), &identity(&spec(1e-3, 4))).unwrap();
        folder
    }

    fn read_as(folder: &Path, spec: &TrialSpec) -> Result<Option<Checkpoint>, TrainError> {
        let specs = arch::parameters(model().config());
        read(folder, (&specs, spec.train.optimizer), &Device::Cpu, &identity(spec))
    }

    fn flat<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<f32> {
        tensors.into_iter().flat_map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
    }

    #[test]
    fn a_checkpoint_is_read_back_exactly_also_by_other_micro_batches() {
        let folder = written();
        let found = read_as(folder.path(), &spec(1e-3, 2)).unwrap().unwrap();
        assert_eq!(found.progress, progress());
        let weights = flat(&model().weights());
        let doubled: Vec<f32> = weights.iter().map(|weight| weight * 2.0).collect();
        assert_eq!(flat(&found.weights), weights);
        for moment in 0..2 {
            assert_eq!(flat(found.moments.iter().map(|moments| &moments.tensors()[moment])), doubled);
        }
    }

    #[test]
    fn no_file_is_no_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_as(folder.path(), &spec(1e-3, 4)).unwrap().is_none());
    }

    #[test]
    fn a_checkpoint_of_another_run_or_a_damaged_one_says_so() {
        let folder = written();
        let problem = |spec: &TrialSpec| read_as(folder.path(), spec).err().unwrap().to_string();
        let other = problem(&spec(2e-3, 4));
        assert!(other.contains("other settings") && other.contains("hint"), "{other}");
        let file = folder.path().join(FILE);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        let cut = problem(&spec(1e-3, 4));
        assert!(cut.starts_with("checkpoint ") && cut.contains("its header needs"), "{cut}");
    }

    #[test]
    fn a_damaged_checkpoint_is_put_aside_and_one_of_another_run_is_not() {
        let folder = written();
        let (model, file) = (model(), folder.path().join(FILE));
        let specs: Vec<ParameterSpec> = model.trainable().map(|(spec, _)| spec.clone()).collect();
        let read = |run: &str| {
            read_or_put_aside(folder.path(), (&specs, Optimizer::AdamW), &Device::Cpu, run)
                .map(|found| found.is_some())
        };
        let own = identity(&spec(1e-3, 4));
        assert!(read(&own).unwrap());
        assert!(read("another").is_err() && file.exists());
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        assert!(!read(&own).unwrap(), "the run begins anew");
        assert!(!file.exists() && folder.path().join("state.damaged").exists());
    }
}
