//! Stage 5: GGUF files of the result, and what each model loses on examples nobody has seen.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::fit::known_frontier;
use super::{QuantizedFile, Stage, StudyError, StudyEvent, TestLosses};
use crate::model::weight_files;
use crate::quantize::{GgufType, export};
use crate::space::{BatchPlan, Hyperparams, Precision};
use crate::store::Store;
use crate::trial::{Outcome, Task, TrialId};
use crate::units::Bytes;

const FINISH: &str = "finish";

/// What the last stage has found out so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FinishFacts {
    /// Trial whose model was judged.
    pub trial: TrialId,
    /// Test losses, once known.
    pub base: Option<f64>,
    /// Test loss of the tuned model.
    pub tuned: Option<f64>,
    /// Size of the tuned weights.
    pub tuned_bytes: Bytes,
    /// Finished files.
    pub quantized: Vec<QuantizedFile>,
    /// The longest that judging a model took, its start included.
    #[serde(default)]
    pub seconds_per_judgement: Option<f64>,
    /// The longest that writing a file took.
    #[serde(default)]
    pub seconds_per_export: Option<f64>,
}

impl FinishFacts {
    pub(super) fn losses(&self) -> Option<TestLosses> {
        Some(TestLosses { base: self.base?, tuned: self.tuned? })
    }

    /// What is known besides of another model than the one that was judged.
    fn of_another(&self, trial: TrialId) -> Self {
        Self { trial, tuned: None, tuned_bytes: Bytes(0), quantized: Vec::new(), ..self.clone() }
    }
}

pub(super) fn known_finish(store: &Store) -> Result<FinishFacts, StudyError> {
    Ok(store.fact(FINISH)?.unwrap_or_default())
}

impl Driver<'_> {
    /// Writes each GGUF type asked for and evaluates base, tuned and quantized on the test split.
    ///
    /// # Errors
    /// A file can't be written or an evaluation does not finish.
    pub fn quantize(&mut self, trial: TrialId) -> Result<(), StudyError> {
        if let Some(why) = self.not_judged()? {
            self.emit(StudyEvent::LeftOut { what: "GGUF files and test losses", why: &why });
            return self.save_wall_seconds();
        }
        let mut facts = known_finish(&self.store)?;
        let model = self.layout.model();
        if facts.trial != trial {
            facts = facts.of_another(trial);
        }
        facts.quantized.retain(|file| file.path.exists());
        if facts.losses().is_some() && facts.quantized.len() == self.study.quantize.types.len() {
            return Ok(());
        }
        self.emit(StudyEvent::Stage(Stage::Quantize));
        facts.tuned_bytes = weights_bytes(&model)?;
        self.judge_base(&mut facts)?;
        if facts.tuned.is_none() {
            facts.tuned = Some(self.test_loss("tuned", &model, &mut facts)?);
            self.store.set_fact(FINISH, &facts)?;
        }
        for name in self.study.quantize.types.clone() {
            if facts.quantized.iter().any(|file| file.gguf_type == name) {
                continue;
            }
            if !self.has_time_for_a_file()? {
                self.emit(StudyEvent::LeftOut { what: &name, why: "no time is left for it" });
                continue;
            }
            let file = self.quantize_one(&name, &model, &mut facts)?;
            facts.quantized.push(file);
            self.store.set_fact(FINISH, &facts)?;
        }
        self.save_wall_seconds()
    }

    /// The base model's loss before anything else where there is a deadline for all: it tells what judging takes.
    pub(super) fn judge_early(&mut self) -> Result<(), StudyError> {
        if self.covers_ending() && self.study.own_examples().is_none() {
            self.judge_base(&mut known_finish(&self.store)?)?;
        }
        Ok(())
    }

    fn judge_base(&mut self, facts: &mut FinishFacts) -> Result<(), StudyError> {
        if facts.base.is_none() {
            let base = self.base_model();
            facts.base = Some(self.test_loss("base", &base, facts)?);
            self.store.set_fact(FINISH, facts)?;
        }
        Ok(())
    }

    /// The model of the full run changes from here on: what was found out of it is forgotten.
    pub(super) fn forget_tuned(&self, trial: TrialId) -> Result<(), StudyError> {
        let facts = known_finish(&self.store)?;
        if facts.tuned.is_some() || !facts.quantized.is_empty() {
            self.store.set_fact(FINISH, &facts.of_another(trial))?;
        }
        Ok(())
    }

    fn quantize_one(
        &mut self,
        name: &str,
        model: &Path,
        facts: &mut FinishFacts,
    ) -> Result<QuantizedFile, StudyError> {
        let began = self.now();
        let gguf_type: GgufType = name.parse()?;
        let path = self.layout.gguf(&self.study.name, name);
        let folder = self.layout.gguf_folder();
        fs::create_dir_all(&folder).map_err(|source| StudyError::Io { file: folder, source })?;
        let written = export(model, gguf_type, &path)?;
        longest(&mut facts.seconds_per_export, self.now() - began);
        self.emit(StudyEvent::Quantized { path: &path, bytes: written.bytes, warnings: &written.warnings });
        let test_loss_nats = self.test_loss(name, &path, facts)?;
        Ok(QuantizedFile { gguf_type: name.to_owned(), path, bytes: written.bytes, test_loss_nats })
    }

    fn test_loss(&mut self, name: &str, model: &Path, facts: &mut FinishFacts) -> Result<f64, StudyError> {
        let began = self.now();
        let mut spec = self.spec(
            self.evaluation_device(self.free_slot().unwrap_or(0)),
            self.evaluation_point()?,
            Task::Evaluate,
        )?;
        model.clone_into(&mut spec.model);
        let (outcome, measurement) = self.measure(&format!("evaluation-of-{name}"), &spec, true)?;
        let loss = measurement.eval_loss_nats().filter(|_| outcome == Outcome::Finished);
        let Some(loss_nats) = loss else {
            return Err(StudyError::Run { what: format!("the evaluation of {name}"), outcome });
        };
        longest(&mut facts.seconds_per_judgement, self.now() - began);
        self.emit(StudyEvent::Evaluated { name, loss_nats });
        Ok(loss_nats)
    }

    /// Evaluation computes in f32: it judges the weights, not the precision they were trained in.
    fn evaluation_point(&self) -> Result<Hyperparams, StudyError> {
        // Evaluation keeps no activations, so half of what trains in any precision fits in f32.
        let fits = known_frontier(&self.store)?.iter().map(|point| point.max_micro_batch / 2).min();
        let micro_batch_size = fits.unwrap_or(1).clamp(1, 32);
        let batch = BatchPlan { micro_batch_size, gradient_accumulation_steps: 1 };
        Ok(Hyperparams { precision: Precision::F32, batch, learning_rate: 0.0 })
    }
}

fn longest(known: &mut Option<f64>, seconds: f64) {
    *known = Some(known.map_or(seconds, |known| known.max(seconds)));
}

/// Of one file, or of the several that a foreign trainer may leave.
fn weights_bytes(folder: &Path) -> Result<Bytes, StudyError> {
    let bytes = |file: &PathBuf| {
        let metadata = fs::metadata(file).map_err(|source| StudyError::Io { file: file.clone(), source })?;
        Ok(metadata.len())
    };
    let bytes: Result<Vec<u64>, StudyError> = weight_files(folder)?.iter().map(bytes).collect();
    Ok(Bytes(bytes?.iter().sum()))
}
