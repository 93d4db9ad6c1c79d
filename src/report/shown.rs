//! Which of many trials are shown one by one: a page of a hundred thousand rows helps nobody.

use std::cmp::Ordering;

use super::summary::{Reached, reached};
use crate::trial::{History, Trial, TrialId};

/// More curves than these are one blot.
pub(super) const CURVES: usize = 200;
/// Rows of the table of trials; a browser scrolls so many without effort.
pub(super) const ROWS: usize = 1_000;
/// Marks of a plot; where there are more, an even choice of them.
pub(super) const MARKS: usize = 2_000;

/// The trials whose learning curves are drawn, in the order of suggestion: all, or of many the best.
#[must_use]
pub fn curves(history: &History, best: Option<TrialId>) -> Vec<TrialId> {
    if history.trials.len() <= CURVES {
        return history.trials.iter().map(|trial| trial.id).collect();
    }
    let others = ranked(history).into_iter().map(|trial| trial.id).filter(|trial| Some(*trial) != best);
    let mut shown: Vec<TrialId> = best.into_iter().chain(others).take(CURVES).collect();
    shown.sort_unstable();
    shown
}

/// Highest rung first, then lowest loss; those without a loss at the end.
pub(super) fn ranked(history: &History) -> Vec<&Trial> {
    let mut trials: Vec<(&Trial, Option<Reached>)> =
        history.trials.iter().map(|trial| (trial, reached(trial))).collect();
    trials.sort_by(|(a, got_a), (b, got_b)| by_result(*got_a, *got_b).then(a.id.cmp(&b.id)));
    trials.into_iter().map(|(trial, _)| trial).collect()
}

fn by_result(a: Option<Reached>, b: Option<Reached>) -> Ordering {
    let rung = |got: Option<Reached>| got.map(|got| got.rung);
    let loss = |got: Option<Reached>| got.map_or(f64::INFINITY, |got| got.loss_nats);
    rung(b).cmp(&rung(a)).then(loss(a).total_cmp(&loss(b)))
}

/// Every how many marks one is drawn.
pub(super) const fn stride(marks: usize) -> usize {
    let stride = marks.div_ceil(MARKS);
    if stride == 0 { 1 } else { stride }
}
