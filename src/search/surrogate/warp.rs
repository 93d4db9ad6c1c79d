//! From measured values to the scale of the surrogate: robust, and comparable over levels of fidelity.
//!
//! A short run's value is first moved by what runs usually gain from there to the full length: the median over the
//! trials that were seen at both. Then 0 is the median and −1 the best, and what is worse than the median is
//! compressed to ln(1 + z): how bad a bad run is does not matter, and a run that nearly diverged does not flatten the
//! rest.

use super::super::{Observed, Problem};

/// Sums of values up to this size are finite.
const LARGEST: f64 = 1e150;
/// No value is lower: what is finite stays finite, whatever the scale.
const LOWEST: f64 = -1e3;

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
        let sound = || trials.iter().filter(|trial| !trial.has_failed());
        let last = sound().filter_map(|trial| trial.last(problem));
        let mut values: Vec<f64> = last.map(|(level, value)| bounded(value) + gains[level]).collect();
        if values.is_empty() && !trials.iter().any(Observed::has_failed) {
            return None;
        }
        let middle = median(&mut values).unwrap_or(0.0);
        let best = values.first().copied().unwrap_or(middle);
        let all = sound().flat_map(|trial| &trial.curve).filter_map(|(length, value)| {
            Some((bounded(*value) + gains[problem.fidelity.reached(*length)?] - middle).abs())
        });
        // Where the last values are all alike, the earlier ones tell the unit.
        let widest = all.fold(0.0, f64::max);
        let spreads = [middle - best, widest, 1.0];
        let scale = spreads.into_iter().find(|spread| *spread > 0.0).unwrap_or(1.0);
        Some(Self { gains, middle, scale })
    }

    /// The warped value of a run at `level`.
    pub(crate) fn warped(&self, level: usize, value: f64) -> f64 {
        compressed((bounded(value) + self.gains[level] - self.middle) / self.scale)
    }

    /// A warped difference near the best in the units of the objective.
    pub(crate) fn unwarped_difference(&self, difference: f64) -> f64 {
        difference * self.scale
    }
}

/// What is worse than the median by z, on the surrogate's scale.
pub(in crate::search) fn compressed(z: f64) -> f64 {
    if z > 0.0 { z.min(f64::MAX).ln_1p() } else { z.max(LOWEST) }
}

/// Its derivative.
pub(super) fn compressed_slope(z: f64) -> f64 {
    if z > 0.0 { 1.0 / (1.0 + z) } else { 1.0 }
}

/// What a run changes from each level to the highest.
fn gains(problem: &Problem, trials: &[Observed]) -> Vec<f64> {
    let top = problem.fidelity.top();
    let mut gains = vec![0.0; top + 1];
    for level in (0..top).rev() {
        let value = |trial: &Observed, level| trial.value_at(level, problem).map(bounded);
        let both = trials.iter().filter_map(|trial| Some(value(trial, level + 1)? - value(trial, level)?));
        let mut steps: Vec<f64> = both.collect();
        gains[level] = gains[level + 1] + median(&mut steps).unwrap_or(0.0);
    }
    gains
}

fn bounded(value: f64) -> f64 {
    value.clamp(-LARGEST, LARGEST)
}

/// Sorts, and gives the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], upper) } else { upper })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is exact by construction is compared exactly")]
mod tests {
    use super::super::super::{Failure, Observations, State};
    use super::super::testing::{add, problem};
    use super::*;
    use proptest::prelude::*;

    /// Full runs with these values.
    fn full(values: &[f64]) -> Observations {
        let mut seen = Observations::default();
        for value in values {
            add(&mut seen, &[0.5], &[(1.0, *value)], State::Ended);
        }
        seen
    }

    fn warp(values: &[f64]) -> Warp {
        Warp::of(&problem(1, &[1.0]), full(values).trials()).unwrap()
    }

    #[test]
    fn the_best_is_minus_one_the_median_zero_and_what_is_worse_is_compressed() {
        let warp = warp(&[5.0, 1.0, 4.0, 3.0, 2.0]);
        for (value, expected) in [(1.0, -1.0), (2.0, -0.5), (3.0, 0.0), (5.0, 2f64.ln()), (0.0, -1.5)] {
            assert_eq!(warp.warped(0, value), expected, "{value}");
        }
        assert_eq!(warp.unwarped_difference(-0.5), -1.0);
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!(warp(&[1.0, 2.0, 4.0, 9.0]).warped(0, 3.0), 0.0);
    }

    #[test]
    fn without_a_spread_a_difference_counts_as_it_is() {
        assert_eq!(warp(&[2.0]).warped(0, 1.0), -1.0);
        assert_eq!(warp(&[2.0, 2.0]).warped(0, 2.0), 0.0);
    }

    #[test]
    fn gains_are_medians_of_paired_differences() {
        let problem = problem(1, &[1.0, 3.0, 9.0]);
        let mut seen = Observations::default();
        add(&mut seen, &[0.1], &[(1.0, 5.0), (3.0, 4.0), (9.0, 2.0)], State::Ended);
        add(&mut seen, &[0.2], &[(1.0, 6.0), (3.0, 3.0)], State::Paused);
        add(&mut seen, &[0.3], &[(1.0, 4.0), (3.0, 4.5), (9.0, 4.0)], State::Ended);
        // It got nowhere beyond the first level, so it is no pair.
        add(&mut seen, &[0.4], &[(1.0, 100.0)], State::Paused);
        // −1, −3 and 0.5 to the second level, −2 and −0.5 from there.
        assert_eq!(gains(&problem, seen.trials()), [-2.25, -1.25, 0.0]);
        let warp = Warp::of(&problem, seen.trials()).unwrap();
        assert_eq!(warp.warped(0, 5.25), warp.warped(2, 3.0));
    }

    #[test]
    fn failed_trials_count_for_nothing_but_are_a_beginning() {
        let problem = problem(1, &[1.0]);
        let mut seen = Observations::default();
        assert_eq!(Warp::of(&problem, seen.trials()), None);
        add(&mut seen, &[0.5], &[(1.0, -1e9)], State::Failed(Failure::Diverged));
        assert_eq!(Warp::of(&problem, seen.trials()).unwrap().warped(0, 0.25), 0.25f64.ln_1p());
        let mut sound = full(&[1.0, 2.0, 3.0]);
        let before = Warp::of(&problem, sound.trials());
        add(&mut sound, &[0.5], &[(1.0, -1e9)], State::Failed(Failure::Diverged));
        assert_eq!(Warp::of(&problem, sound.trials()), before);
    }

    proptest! {
        #[test]
        fn a_lower_value_is_never_warped_to_a_higher_one(
            values in prop::collection::vec(-1e3f64..1e3, 1..20), a in -1e4f64..1e4, b in -1e4f64..1e4
        ) {
            let (low, high) = (a.min(b), a.max(b));
            let warp = warp(&values);
            prop_assert!(warp.warped(0, low) <= warp.warped(0, high));
        }

        #[test]
        fn neither_unit_nor_zero_of_the_objective_matters(
            values in prop::collection::vec(-1000i32..1000, 1..20), power in -8i32..8, shift in -1000i32..1000
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            prop_assume!(values.iter().any(|value| value.to_bits() != values[0].to_bits()));
            let change = |value: &f64| value * 2f64.powi(power) + f64::from(shift);
            let other = warp(&values.iter().map(change).collect::<Vec<f64>>());
            let warp = warp(&values);
            // Without a value below the median there is no unit.
            prop_assume!(warp.scale != 1.0 && other.scale != 1.0);
            for value in &values {
                prop_assert!((warp.warped(0, *value) - other.warped(0, change(value))).abs() < 1e-9);
            }
        }

        #[test]
        fn whatever_is_finite_stays_so(
            values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL, 1..8), cut in 0usize..8
        ) {
            let problem = problem(1, &[1.0, 2.0]);
            let mut seen = full(&values[..cut.min(values.len())]);
            for value in &values {
                add(&mut seen, &[0.5], &[(1.0, *value), (2.0, -*value)], State::Ended);
            }
            let warp = Warp::of(&problem, seen.trials()).unwrap();
            for value in &values {
                prop_assert!(warp.warped(0, *value).is_finite() && warp.warped(1, -*value).is_finite());
            }
        }
    }
}
