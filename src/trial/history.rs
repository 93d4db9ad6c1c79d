//! Everything that has been tried, in the order it happened: what samplers and pruners see.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Measurement, Outcome, Power};
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

/// One run of a trial: a rung by the study's own seed, or the same again by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunKey {
    /// Which trial.
    pub trial: TrialId,
    /// Which rung.
    pub rung: u32,
    /// Another seed than the study's; none for the rung itself.
    pub seed: Option<u64>,
}

impl From<(TrialId, u32)> for RunKey {
    fn from((trial, rung): (TrialId, u32)) -> Self {
        Self { trial, rung, seed: None }
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rung {} of trial {}", self.rung, self.trial)?;
        self.seed.map_or(Ok(()), |seed| write!(f, " with seed {seed}"))
    }
}

/// One ended run of a trial by another seed, from its beginning to the end of a rung.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Which trial.
    pub trial: TrialId,
    /// The seed.
    pub seed: u64,
    /// How it ended and what it measured.
    pub record: RungRecord,
}

impl Confirmation {
    /// Which run it is.
    #[must_use]
    pub const fn key(&self) -> RunKey {
        RunKey { trial: self.trial, rung: self.record.rung, seed: Some(self.seed) }
    }
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

    /// Whether it ended for a reason that is not of its configuration.
    #[must_use]
    pub fn was_failed_by_the_machine(&self) -> bool {
        self.last().is_some_and(|rung| rung.outcome.blames_the_machine())
    }

    /// The critical batch size in examples that its gradients imply, by the highest rung that tells.
    #[must_use]
    pub fn critical_batch_size(&self) -> Option<f64> {
        self.rungs.iter().rev().find_map(|record| record.measurement.critical_batch_size())
    }

    /// What its rungs have drawn together; none where none of them tells.
    #[must_use]
    pub fn power(&self) -> Option<Power> {
        let told = self.rungs.iter().filter_map(|record| record.measurement.power.clone());
        told.reduce(|all, one| all.and(&one))
    }

    /// The record of `rung`, if the trial finished it.
    #[must_use]
    pub fn finished(&self, rung: u32) -> Option<&RungRecord> {
        self.rungs.iter().find(|record| record.rung == rung && record.outcome == Outcome::Finished)
    }

    /// Evaluation loss at the end of `rung`, if the trial finished it.
    #[must_use]
    pub fn loss_at(&self, rung: u32) -> Option<f64> {
        self.finished(rung).and_then(|record| record.measurement.eval_loss_nats())
    }
}

impl History {
    /// The best trial: the lowest loss on the highest rung any trial has finished.
    ///
    /// A trial that failed on a later rung is not it: its full run would fail as well.
    #[must_use]
    pub fn best(&self) -> Option<(&Trial, f64)> {
        self.ranked(self.top_rung()?).into_iter().next()
    }

    /// The highest rung that a trial has finished which did not fail later.
    #[must_use]
    pub fn top_rung(&self) -> Option<u32> {
        let records = self.sound().flat_map(|trial| &trial.rungs);
        records.filter(|record| record.outcome == Outcome::Finished).map(|record| record.rung).max()
    }

    /// The trials that finished `rung` and did not fail later, lowest loss first.
    #[must_use]
    pub fn ranked(&self, rung: u32) -> Vec<(&Trial, f64)> {
        let with_loss = |trial| Some((trial, Trial::loss_at(trial, rung)?));
        let mut ranked: Vec<(&Trial, f64)> = self.sound().filter_map(with_loss).collect();
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.id.cmp(&b.0.id)));
        ranked
    }

    /// The best of the highest rung, so many at the most, the best first.
    #[must_use]
    pub fn leaders(&self, most: usize) -> Vec<&Trial> {
        let ranked = self.top_rung().map(|top| self.ranked(top)).unwrap_or_default();
        ranked.into_iter().take(most).map(|(trial, _)| trial).collect()
    }

    /// The trial that tried a configuration again which the machine had failed: the last of them.
    ///
    /// No other two trials of a history have the same configuration.
    #[must_use]
    pub fn retry_of(&self, trial: &Trial) -> Option<&Trial> {
        if !trial.was_failed_by_the_machine() {
            return None;
        }
        let mut later = self.trials.iter().rev().take_while(|other| other.id > trial.id);
        later.find(|other| other.hyperparams == trial.hyperparams)
    }

    /// Trials that tried a configuration again.
    #[must_use]
    pub fn retries(&self) -> usize {
        self.trials.iter().filter(|trial| self.retry_of(trial).is_some()).count()
    }

    /// Trials that the machine failed and that were not tried again.
    pub fn to_retry(&self) -> impl Iterator<Item = &Trial> {
        let failed = self.trials.iter().filter(|trial| trial.was_failed_by_the_machine());
        failed.filter(|trial| self.retry_of(trial).is_none())
    }

    fn sound(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| !trial.has_failed())
    }
}
