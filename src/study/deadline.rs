//! The moment by which everything is done, and what of the time before it is kept for the ending.
//!
//! The ending is planned anew whenever a run has ended, from what the runs so far have taken. At the planned moment
//! the search, and later the full run, are cut off: what they have written by then is what is shipped.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::quantize::{FinishFacts, known_finish};
use super::{StudyError, StudyEvent};
use crate::search::{Ending, FullRun};
use crate::store::Store;
use crate::trial::{History, Outcome, Trial, TrialId};
use crate::units::Bytes;

const CUT_SHORT: &str = "cut_short";

/// Of all the time a full run is given at most so much: without a search there is no best to be trained.
const MOST_FOR_FULL_RUN: f64 = 2.0 / 3.0;
/// What a processor quantizes in a second at the least, before one file has told: bytes of weights. The slowest
/// type, `q4_k_m`, took 0.108 s for the quickstart's 6.3 MB on one core of a server of 2026, start included.
const EXPORT_BYTES_PER_SECOND: f64 = 20e6;
/// What loading a model and judging it takes, before one has told.
const UNKNOWN_JUDGEMENT_SECONDS: f64 = 30.0;

/// A moment, and what is to be done by then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deadline {
    /// In seconds since 1970.
    pub moment: f64,
    /// Whether the full run and all that follows are to be done by then, or the search alone.
    pub covers_ending: bool,
}

/// A full run that a deadline has cut short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutShort {
    /// Of which trial.
    pub trial: TrialId,
    /// Steps it has been trained.
    pub step: usize,
    /// Steps it was to be trained.
    pub total_steps: usize,
    /// All there is of it where a foreign trainer had left no model yet: the folder of its checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_checkpoint: Option<PathBuf>,
}

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, total_steps, .. } = self;
        write!(f, "the full run was cut short at step {step} of {total_steps}: its time was up")?;
        match &self.only_checkpoint {
            None => Ok(()),
            Some(folder) => {
                let folder = folder.display();
                write!(
                    f,
                    " before the trainer had left a model, so its checkpoint in {folder} is all there is"
                )
            }
        }
    }
}

impl Driver<'_> {
    /// In seconds since 1970, by the executor's clock.
    pub(super) fn now(&self) -> f64 {
        self.executor().now()
    }

    /// Whether everything has to be done by a moment.
    pub(super) fn covers_ending(&self) -> bool {
        self.end_of_all().is_some()
    }

    /// That moment.
    fn end_of_all(&self) -> Option<f64> {
        self.deadline.filter(|deadline| deadline.covers_ending).map(|deadline| deadline.moment)
    }

    /// What is left to be done when the search ends now; nothing where the deadline is the search's own.
    pub(super) fn ending(&self, history: &History) -> Result<Ending, StudyError> {
        if !self.covers_ending() {
            return Ok(Ending::default());
        }
        let facts = known_finish(&self.store)?;
        let full_run = match history.best() {
            Some((best, _)) => Some(self.full_run(history, best)?),
            None => None,
        };
        if self.study.own_examples().is_some() {
            // Nothing is judged and no file is written.
            return Ok(Ending { full_run, ..Ending::default() });
        }
        let models = 2 + self.study.quantize.types.len();
        let files = facts.quantized.len();
        let judged = usize::from(facts.base.is_some()) + usize::from(facts.tuned.is_some()) + files;
        Ok(Ending {
            full_run,
            judgements: models.saturating_sub(judged),
            seconds_per_judgement: facts.seconds_per_judgement.unwrap_or(UNKNOWN_JUDGEMENT_SECONDS),
            exports: self.study.quantize.types.len().saturating_sub(files),
            seconds_per_export: self.seconds_per_export(&facts),
        })
    }

    /// Seconds that the ending is kept, of those that are left.
    pub(super) fn reserved(&self, history: &History) -> Result<f64, StudyError> {
        let Some(moment) = self.end_of_all() else { return Ok(0.0) };
        Ok(self.ending(history)?.seconds(MOST_FOR_FULL_RUN * (moment - self.opened_at)))
    }

    /// The search is cut off when only the ending's time is left.
    pub(super) fn plan_search(&mut self, history: &History) -> Result<(), StudyError> {
        let reserved = self.reserved(history)?;
        self.cut_off = self.end_of_all().map(|moment| moment - reserved);
        Ok(())
    }

    /// The full run is cut off when only the time of what follows it is left.
    pub(super) fn plan_full_run(&mut self, history: &History) -> Result<(), StudyError> {
        let ending = self.ending(history)?;
        self.cut_off = self.end_of_all().map(|moment| moment - ending.after_training());
        Ok(())
    }

    /// Whether one more file can be quantized and judged in time; where there is no deadline, it can.
    pub(super) fn has_time_for_a_file(&self) -> Result<bool, StudyError> {
        let Some(moment) = self.end_of_all() else { return Ok(true) };
        Ok(self.now() + self.ending(&History::default())?.one_file() < moment)
    }

    /// Whether what is under way has to end now.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.is_some_and(|moment| self.now() >= moment)
    }

    /// Ends all runs; their rungs stay open, so that more time lets them go on from their checkpoints.
    pub(super) fn cut_off(&mut self) {
        self.parts().0.abandon();
        let cut: Vec<_> = self.under_way.iter_mut().filter_map(Option::take).collect();
        for run in cut {
            self.emit(StudyEvent::CutOff { run });
        }
    }

    /// Remembers that the model is that of a full run which was cut, or of one that was not.
    pub(super) fn remember_cut(&self, cut: Option<&CutShort>) -> Result<(), StudyError> {
        Ok(self.store.set_fact(CUT_SHORT, &cut)?)
    }

    /// What is left of the full run of `best`, at the speed of all trials with its batch.
    pub(super) fn full_run(&self, history: &History, best: &Trial) -> Result<FullRun, StudyError> {
        let batch = best.hyperparams.batch;
        let total_steps = self.total_steps(batch)?;
        let done = best.rungs.iter().map(|record| record.stop_at_step).max().unwrap_or(0);
        let alike = |trial: &&Trial| {
            trial.hyperparams.batch == batch && trial.hyperparams.precision == best.hyperparams.precision
        };
        let speed = Speed::of(history.trials.iter().filter(alike));
        Ok(FullRun {
            steps: total_steps.saturating_sub(done),
            seconds_per_step: speed.seconds_per_step,
            seconds_per_evaluation: speed.seconds_per_evaluation,
        })
    }

    fn seconds_per_export(&self, facts: &FinishFacts) -> f64 {
        let bytes = weights_bytes(&self.base_model());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        facts.seconds_per_export.unwrap_or(bytes.0 as f64 / EXPORT_BYTES_PER_SECOND)
    }
}

/// Size of the weights in a model's folder, which in the hub's cache are links; nothing where it can't be read.
pub(super) fn weights_bytes(folder: &Path) -> Bytes {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let weights = files.filter(|file| file.extension().is_some_and(|ending| ending == "safetensors"));
    Bytes(weights.filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum())
}

/// How fast runs were.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    seconds_per_step: f64,
    seconds_per_evaluation: f64,
}

impl Speed {
    /// Over all rungs of these trials.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn of<'a>(trials: impl Iterator<Item = &'a Trial>) -> Self {
        let (mut seconds, mut steps, mut of_evaluations, mut evaluations) = (0.0, 0, 0.0, 0);
        for trial in trials {
            let mut begin = 0;
            for record in &trial.rungs {
                let totals = record.measurement.totals();
                if record.outcome == Outcome::Finished {
                    seconds += totals.seconds;
                    steps += record.stop_at_step.saturating_sub(begin);
                    begin = record.stop_at_step;
                }
                of_evaluations += totals.seconds - totals.step_seconds;
                evaluations += totals.evals;
            }
        }
        let mean = |sum: f64, count: usize| if count > 0 { sum / count as f64 } else { 0.0 };
        Self {
            seconds_per_step: mean(seconds, steps),
            seconds_per_evaluation: mean(of_evaluations, evaluations),
        }
    }
}

/// The full run of a study that was cut short, if one was.
pub(super) fn known_cut(store: &Store) -> Result<Option<CutShort>, StudyError> {
    Ok(store.fact::<Option<CutShort>>(CUT_SHORT)?.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn the_weights_of_a_model_in_the_hubs_cache_are_those_behind_the_links() {
        let folder = tempfile::tempdir().unwrap();
        let (blob, snapshot) = (folder.path().join("blob"), folder.path().join("snapshot"));
        fs::write(&blob, [0; 1000]).unwrap();
        fs::create_dir(&snapshot).unwrap();
        std::os::unix::fs::symlink(&blob, snapshot.join("model.safetensors")).unwrap();
        fs::write(snapshot.join("config.json"), "{}").unwrap();
        assert_eq!(weights_bytes(&snapshot), Bytes(1000));
        assert_eq!(weights_bytes(&folder.path().join("none")), Bytes(0));
    }
}
