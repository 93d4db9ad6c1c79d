//! What is different where a foreign program trains: what is prepared, what is known of memory, what is left out.

use std::fs;
use std::path::{Path, PathBuf};

use super::deadline::known_cut;
use super::driver::Driver;
use super::prepare::DataFacts;
use super::ship::Reached;
use super::{StudyError, StudyEvent};
use crate::device;
use crate::model;
use crate::search::{Boundary, FrontierPoint};
use crate::space::{BatchDomain, DeviceSpec, HardwareSetting, ModelSettings, Study};
use crate::trial::{Measurement, Task, Trial, TrialSpec};
use crate::units::Bytes;

impl Driver<'_> {
    /// Stage 1 where model and data are the trainer's own: so many examples are all there is to know.
    pub(super) fn prepare_own(&mut self, examples: usize) -> Result<(), StudyError> {
        let facts = DataFacts { splits: [examples, 0, 0], ..DataFacts::default() };
        self.store.set_fact(super::prepare::DATA, &facts)?;
        self.emit(StudyEvent::OwnData { examples });
        self.begin()?;
        self.save_wall_seconds()
    }

    /// What a foreign trainer is told: paths that hold wherever it is started.
    pub(super) fn told(&self, mut spec: TrialSpec) -> Result<TrialSpec, StudyError> {
        let Some(trainer) = &self.study.trainer else { return Ok(spec) };
        if trainer.examples.is_some() {
            let typed = trainer.as_typed(&self.study.data.source);
            spec.dataset = existing_or_typed(&self.study.data.source, typed)?;
            if let ModelSettings::Source(source) = &self.study.model {
                spec.model = existing_or_typed(&source.path, Path::new(&source.typed))?;
            }
        } else {
            spec.dataset = absolute(&spec.dataset)?;
            spec.model = absolute(&spec.model)?;
        }
        match &mut spec.task {
            Task::Probe { scratch, .. } => *scratch = absolute(scratch)?,
            Task::Train { checkpoint, best, .. } => {
                *checkpoint = absolute(checkpoint)?;
                *best = best.as_deref().map(absolute).transpose()?;
            }
            Task::Gradients { .. } | Task::Evaluate => {}
        }
        Ok(spec)
    }

    /// Stage 2 where nobody can tell what fits: the batches that the study file lists are taken on trust.
    pub(super) fn given_frontier(&self) -> Vec<FrontierPoint> {
        let settings = self.study.space.precision.iter().map(|precision| self.study.trained_as(*precision));
        let largest = largest_listed(self.study);
        settings.map(|setting| unmeasured(setting, largest)).collect()
    }

    /// Where models are evaluated: on the processor if only the trainer can use the study's card.
    pub(super) fn evaluation_device(&self, slot: usize) -> DeviceSpec {
        match device::check_built(&self.device) {
            Ok(()) => self.lone_device(slot),
            Err(_) => DeviceSpec::Cpu { cap: None },
        }
    }

    /// Why the last stage can't judge the model that a trainer left, if it can't.
    pub(super) fn not_judged(&self) -> Result<Option<String>, StudyError> {
        let Some(trainer) = &self.study.trainer else { return Ok(None) };
        let folder = self.layout.model();
        if trainer.examples.is_some() {
            return Ok(Some(OWN_DATA.to_owned()));
        }
        // What lies there after a cut may be of a trial that has lost its place.
        let was_cut_early = known_cut(&self.store)?.is_some_and(|cut| cut.only_checkpoint.is_some());
        if was_cut_early || !has_files(&folder) {
            return Ok(Some(format!("the trainer left no model in {}", folder.display())));
        }
        let readable = model::read_config(&folder).and_then(|config| model::check_weights(&folder, &config));
        let why = |error| format!("the model that the trainer left can't be read: {error}");
        Ok(readable.err().map(why))
    }

    /// What a foreign trainer's full run has reached that was cut: the model it left, else its checkpoint. It is not
    /// asked for more, for nobody knows how long that takes it.
    pub(super) fn ship_as_left(&self, trial: &Trial, rung: u32, so_far: &Measurement) -> Reached {
        let ended = trial.rungs.iter().map(|record| record.stop_at_step).max().unwrap_or(0);
        let best = so_far.evals.iter().min_by(|a, b| a.loss_nats.total_cmp(&b.loss_nats));
        match best.filter(|_| has_files(&self.layout.trial_model(trial.id))) {
            Some(best) => Reached { step: best.step, only_checkpoint: None },
            None => Reached {
                step: so_far.steps.last().map_or(ended, |step| step.step),
                only_checkpoint: Some(self.layout.checkpoint_of((trial.id, rung).into())),
            },
        }
    }
}

/// Said where a trainer has data of its own.
pub(super) const OWN_DATA: &str = "the data are the trainer's own, so there is no test split";

/// Whether a folder is there and holds something.
pub(super) fn has_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

fn largest_listed(study: &Study) -> usize {
    let BatchDomain::Explicit(plans) = &study.space.batch else { return 1 };
    plans.iter().map(|plan| plan.micro_batch_size).max().unwrap_or(1)
}

const fn unmeasured(setting: HardwareSetting, largest: usize) -> FrontierPoint {
    FrontierPoint {
        setting,
        max_micro_batch: largest,
        boundary: Boundary::Limit,
        next_over_by: None,
        max_eval_micro_batch: largest,
        knee_micro_batch: largest,
        peak_bytes: Bytes(0),
        phases: Vec::new(),
        tokens_per_second: 0.0,
        curve: Vec::new(),
        probes: 0,
    }
}

/// A path that exists; else what was typed, which then is a name that the trainer knows.
fn existing_or_typed(path: &Path, typed: &Path) -> Result<PathBuf, StudyError> {
    if path.exists() { absolute(path) } else { Ok(typed.to_owned()) }
}

fn absolute(path: &Path) -> Result<PathBuf, StudyError> {
    std::path::absolute(path).map_err(|source| StudyError::Io { file: path.to_owned(), source })
}
