//! What a configuration costs: time. Memory that fits is free.
//!
//! It is decided on the hardware plane: by precision and the micro-batches of a step, not by the
//! learning rate. So all runs of a study with the same plan tell of each other's cost, and candidates
//! that differ only in their learning rate cost the same, whatever the clock says.

use super::{Candidate, Won};
use crate::trial::{Confirmation, History, Totals, Trial, TrialId};

/// A speed within this share of another counts as equal: runs on a busy machine differ by as much.
const EQUALLY_FAST: f64 = 0.9;

/// All runs, by which costs are told.
pub(super) struct Costs<'a> {
    /// The trials.
    pub(super) history: &'a History,
    /// Their runs by other seeds.
    pub(super) confirmations: &'a [Confirmation],
}

/// What training costs with one plan.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    seconds_per_token: f64,
}

impl Costs<'_> {
    /// Whom to take of `tied`, which stand in the order of their losses, and why.
    pub(super) fn chosen(&self, tied: &[&Candidate<'_>]) -> (TrialId, Won) {
        let costs: Vec<(TrialId, Cost)> = tied.iter().map(|one| (one.trial.id, self.of(one.trial))).collect();
        let [(leader, of_leader), rivals @ ..] = costs.as_slice() else { return (0, Won::Unrivalled) };
        if rivals.is_empty() {
            return (*leader, Won::Clearly);
        }
        let cheapest =
            rivals.iter().fold(
                (*leader, *of_leader),
                |least, rival| {
                    if rival.1.is_below(least.1) { *rival } else { least }
                },
            );
        let leads = cheapest.0 == *leader && !rivals.iter().all(|rival| of_leader.is_below(rival.1));
        (cheapest.0, if leads { Won::LowerLoss } else { Won::Cheaper })
    }

    /// Over all runs with the trial's precision and batch.
    fn of(&self, trial: &Trial) -> Cost {
        let plan = |trial: &Trial| (trial.hyperparams.precision, trial.hyperparams.batch);
        let is_alike = |other: &Trial| plan(other) == plan(trial);
        let own = self.history.trials.iter().filter(|other| is_alike(other));
        let again = self
            .confirmations
            .iter()
            .filter(|one| self.history.trials.get(one.trial as usize).is_some_and(is_alike));
        let records = own.flat_map(|trial| &trial.rungs).chain(again.map(|one| &one.record));
        // A history is condensed: the sums are there, not the steps.
        let runs: Vec<Totals> = records.map(|record| record.measurement.totals()).collect();
        let seconds: f64 = runs.iter().map(|run| run.step_seconds).sum();
        let tokens: u64 = runs.iter().map(|run| run.tokens).sum();
        Cost { seconds_per_token: seconds / float(tokens.max(1)) }
    }
}

impl Cost {
    /// Whether it is clearly cheaper than another.
    fn is_below(self, other: Self) -> bool {
        self.seconds_per_token < EQUALLY_FAST * other.seconds_per_token
    }
}

#[expect(clippy::cast_precision_loss, reason = "a comparison within some per cent")]
const fn float(count: u64) -> f64 {
    count as f64
}
