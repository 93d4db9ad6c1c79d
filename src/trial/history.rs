//! Everything that has been tried, in the order it happened: what samplers and pruners see.

use serde::{Deserialize, Serialize};

use super::{Measurement, Outcome};
use crate::space::{HardwareSetting, Hyperparams};
use crate::units::Bytes;

/// Number of a trial within its study, from 0 in the order of suggestion.
pub type TrialId = u32;

/// One configuration and the rungs it has run. Rungs are append-only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Number within the study.
    pub id: TrialId,
    /// The configuration.
    pub hyperparams: Hyperparams,
    /// Ended rungs, lowest first.
    pub rungs: Vec<RungRecord>,
}

/// One ended rung of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RungRecord {
    /// Which rung, from 0.
    pub rung: u32,
    /// Optimizer step at which it stops.
    pub stop_at_step: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// What it measured.
    pub measurement: Measurement,
}

/// One ended probe of the batch-size search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// Setting that was probed.
    #[serde(flatten)]
    pub setting: HardwareSetting,
    /// Examples at once in training.
    pub micro_batch_size: usize,
    /// Examples at once in the evaluation.
    pub eval_micro_batch_size: usize,
    /// Most bytes it was allowed to hold.
    pub budget: Option<Bytes>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it measured.
    pub measurement: Measurement,
}

/// All trials of a study.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// In the order of suggestion: `trials[i].id == i`.
    pub trials: Vec<Trial>,
}

impl Trial {
    /// The rung that ended last.
    #[must_use]
    pub fn last(&self) -> Option<&RungRecord> {
        self.rungs.last()
    }

    /// Whether the trial ended in anything but a finished rung.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.last().is_some_and(|rung| rung.outcome != Outcome::Finished)
    }

    /// The critical batch size in examples that its gradients imply, by the highest rung that tells.
    #[must_use]
    pub fn critical_batch_size(&self) -> Option<f64> {
        self.rungs.iter().rev().find_map(|record| record.measurement.critical_batch_size())
    }

    /// Evaluation loss at the end of `rung`, if the trial finished it.
    #[must_use]
    pub fn loss_at(&self, rung: u32) -> Option<f64> {
        self.rungs
            .iter()
            .find(|record| record.rung == rung && record.outcome == Outcome::Finished)
            .and_then(|record| record.measurement.eval_loss_nats())
    }
}

impl History {
    /// The best trial: the lowest loss on the highest rung any trial has finished.
    ///
    /// A trial that failed on a later rung is not it: its full run would fail as well.
    #[must_use]
    pub fn best(&self) -> Option<(&Trial, f64)> {
        let sound = || self.trials.iter().filter(|trial| !trial.has_failed());
        let top = sound()
            .flat_map(|trial| &trial.rungs)
            .filter(|record| record.outcome == Outcome::Finished)
            .map(|record| record.rung)
            .max()?;
        sound()
            .filter_map(|trial| Some((trial, trial.loss_at(top)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.id.cmp(&b.0.id)))
    }
}
