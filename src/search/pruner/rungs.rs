//! What halving, ASHA and Hyperband share: who has reached a rung, who is best there, who may go on.
//!
//! Rung k is level k of the fidelity.

use super::super::{Observed, Problem, State};

/// One trial in so many goes on, unless something else is said: e would be best in theory, 3 is whole
/// (Li et al. 2018).
pub(super) const REDUCTION_FACTOR: f64 = 3.0;

/// Trials with a value at `rung`, the best first; of equals the one that was suggested first.
pub(super) fn ranked<'a>(
    problem: &Problem,
    trials: impl Iterator<Item = &'a Observed>,
    rung: usize,
) -> Vec<&'a Observed> {
    let valued = trials.filter_map(|trial| Some((value(problem, trial, rung)?, trial)));
    let mut valued: Vec<(f64, &Observed)> = valued.collect();
    valued.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.id.cmp(&b.1.id)));
    valued.into_iter().map(|(_, trial)| trial).collect()
}

/// The value at `rung`, or the next one where a trial said nothing on its way.
fn value(problem: &Problem, trial: &Observed, rung: usize) -> Option<f64> {
    let reached = trial.level(problem).filter(|reached| *reached >= rung)?;
    (rung..=reached).find_map(|rung| trial.value_at(rung, problem))
}

/// Whether a trial rests at `rung` and could go on.
pub(super) fn rests_at(problem: &Problem, trial: &Observed, rung: usize) -> bool {
    trial.state == State::Paused && trial.level(problem) == Some(rung)
}

/// The rung that a failed trial was on its way to, if the first was `lowest`.
pub(super) fn failed_at(problem: &Problem, trial: &Observed, lowest: usize) -> Option<usize> {
    let next = || trial.level(problem).map_or(lowest, |level| (level + 1).max(lowest));
    trial.has_failed().then(next)
}

/// How many of `entered` go on if one in `factor` does.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "trials are few"
)]
pub(super) fn places(entered: usize, factor: f64) -> usize {
    // The quotient of two levels may miss a whole number by rounding.
    const ROUNDING: f64 = 1.0 + 1e-9;
    (entered as f64 / factor.max(1.0) * ROUNDING) as usize
}
