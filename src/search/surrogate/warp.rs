//! From measured values to the scale of the surrogate: robust, and comparable over levels of fidelity.
//!
//! A short run's value is first moved by what runs usually gain from there to the full length: the median over the
//! trials that were seen at both. Then 0 is the median and −1 the best, and what is worse than the median is
//! compressed to ln(1 + z): how bad a bad run is does not matter, and a run that nearly diverged does not flatten the
//! rest.

use super::super::{Observed, Problem};

/// The map from measured values to warped ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Warp {
    /// What a run usually changes from each level to the top one that was reached.
    gains: Vec<f64>,
    middle: f64,
    scale: f64,
}

impl Warp {
    /// From these trials; none before the first value.
    pub(crate) fn of(problem: &Problem, trials: &[Observed]) -> Option<Self> {
        let gains = gains(problem, trials);
        let sound = trials.iter().filter(|trial| !trial.has_failed());
        let last = sound.filter_map(|trial| trial.last(problem));
        let mut values: Vec<f64> = last.map(|(level, value)| value + gains[level]).collect();
        if values.is_empty() && !trials.iter().any(Observed::has_failed) {
            return None;
        }
        let middle = median(&mut values).unwrap_or(0.0);
        let best = values.first().copied().unwrap_or(middle);
        let scale = if middle > best { middle - best } else { 1.0 };
        Some(Self { gains, middle, scale })
    }

    /// The warped value of a run at `level`.
    pub(crate) fn warped(&self, level: usize, value: f64) -> f64 {
        compressed((value + self.gains[level] - self.middle) / self.scale)
    }

    /// A warped difference near the best in the units of the objective.
    pub(crate) fn unwarped_difference(&self, difference: f64) -> f64 {
        difference * self.scale
    }
}

/// What is worse than the median by z, on the surrogate's scale.
pub(in crate::search) fn compressed(z: f64) -> f64 {
    if z > 0.0 { z.ln_1p() } else { z }
}

/// What a run changes from each level to the highest.
fn gains(problem: &Problem, trials: &[Observed]) -> Vec<f64> {
    let top = problem.fidelity.top();
    let mut gains = vec![0.0; top + 1];
    for level in (0..top).rev() {
        let both = trials
            .iter()
            .filter_map(|trial| Some(trial.value_at(level + 1, problem)? - trial.value_at(level, problem)?));
        let mut steps: Vec<f64> = both.collect();
        gains[level] = gains[level + 1] + median(&mut steps).unwrap_or(0.0);
    }
    gains
}

/// Sorts, and gives the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], upper) } else { upper })
}
