//! The surrogate as a whole.

use super::super::{Failure, Observations, State};
use super::PESSIMISM;
use super::testing::{add, problem, term};
use super::{Belief, PriorMean, Surrogate, SurrogateSettings, log_improvement};

const LEVELS: [f64; 2] = [1.0, 9.0];

fn surrogate() -> Surrogate {
    Surrogate::new(SurrogateSettings::default())
}

/// Full runs of a valley with its lowest point at 0.3.
fn valley(count: u32) -> Observations {
    let mut seen = Observations::default();
    for index in 0..count {
        let unit = f64::from(index) / f64::from(count);
        add(&mut seen, &[unit], &[(1.0, 1.0 + (unit - 0.3).abs()), (9.0, (unit - 0.3).abs())], State::Ended);
    }
    seen
}

fn at(surrogate: &mut Surrogate, seen: &Observations, unit: f64) -> Belief {
    let problem = problem(1, &LEVELS);
    surrogate.beliefs(&problem, seen).at(&problem, &[[unit]])[0]
}

#[test]
fn before_anything_is_seen_what_is_expected_is_believed() {
    assert_eq!(at(&mut surrogate(), &Observations::default(), 0.3).mean, 0.0);
    let prior = Some(PriorMean { terms: vec![term(0, -1.0)] });
    let mut told = Surrogate::new(SurrogateSettings { prior, ..SurrogateSettings::default() });
    assert_eq!(at(&mut told, &Observations::default(), 0.1).mean, -1.0);
}

#[test]
fn between_what_was_seen_the_valley_is_believed_and_beside_it_little_is_certain() {
    let seen = valley(10);
    let [low, high] = [0.33, 0.75].map(|unit| at(&mut surrogate(), &seen, unit));
    assert!(low.mean < high.mean - 0.5, "{low:?} {high:?}");
    let mut few = Observations::default();
    add(&mut few, &[0.1], &[(1.0, 2.0), (9.0, 1.0)], State::Ended);
    let [near, far] = [0.1, 0.9].map(|unit| at(&mut surrogate(), &few, unit));
    assert!(near.deviation < far.deviation);
}

#[test]
fn a_trial_that_runs_counts_as_somewhat_worse_than_expected_where_it_goes() {
    let seen = valley(6);
    let before = at(&mut surrogate(), &seen, 0.9);
    let [short, full] = [0, 1].map(|level| {
        let mut seen = seen.clone();
        add(&mut seen, &[0.9], &[], State::Running(level));
        at(&mut surrogate(), &seen, 0.9)
    });
    let worse = (full.mean - before.mean) / before.deviation;
    assert!((0.5 * PESSIMISM..=PESSIMISM).contains(&worse), "{before:?} {full:?}");
    assert!(full.deviation < before.deviation * 0.8, "{before:?} {full:?}");
    assert!(full.deviation < short.deviation && short.deviation < before.deviation, "{short:?} {full:?}");
}

#[test]
fn a_full_run_under_way_is_the_incumbent_where_it_is_expected_to_be_the_best() {
    let problem = problem(1, &LEVELS);
    let mut seen = Observations::default();
    for (unit, loss) in [(0.0, 1.0), (0.2, 0.2), (0.4, 0.2), (0.8, 1.0)] {
        let state = if unit == 0.0 { State::Ended } else { State::Paused };
        let curve = if unit == 0.0 { vec![(1.0, loss + 1.0), (9.0, loss)] } else { vec![(1.0, loss + 1.0)] };
        add(&mut seen, &[unit], &curve, state);
    }
    let gain = |seen: &Observations| surrogate().beliefs(&problem, seen).gains(&problem, &[[0.4]])[0].mean;
    let before = gain(&seen);
    seen.trial_mut(1).unwrap().state = State::Running(1);
    let meanwhile = gain(&seen);
    assert!(before < -0.3 && meanwhile > before + 0.3, "{before} {meanwhile}");
}

#[test]
fn a_new_point_beside_a_trial_under_way_promises_less_than_that_trial_itself() {
    let problem = problem(1, &LEVELS);
    let mut seen = valley(5);
    let improvement = |belief: &Belief| log_improvement(*belief, 0.0);
    let at_ease = surrogate().beliefs(&problem, &seen);
    let alone = at_ease.gains_of_new(&problem, &[[0.31]]);
    assert_eq!(alone, at_ease.gains(&problem, &[[0.31]]), "with nothing under way they are the same");
    add(&mut seen, &[0.3], &[], State::Running(0));
    let beliefs = surrogate().beliefs(&problem, &seen);
    let [of_new, of_it] =
        [beliefs.gains_of_new(&problem, &[[0.31]]), beliefs.gains(&problem, &[[0.31]])].map(|gains| gains[0]);
    assert!(improvement(&of_new) < improvement(&of_it) - 0.5, "{of_new:?} {of_it:?}");
    let far = [beliefs.gains_of_new(&problem, &[[0.95]]), beliefs.gains(&problem, &[[0.95]])];
    let [of_new, of_it] = far.map(|gains| gains[0].deviation);
    assert!((of_new / of_it - 1.0).abs() < 0.1, "{of_new} {of_it}: far from it nothing changes");
}

#[test]
fn a_diverged_trial_spoils_its_neighbourhood() {
    let mut seen = valley(6);
    let before = at(&mut surrogate(), &seen, 0.92);
    add(&mut seen, &[0.9], &[], State::Failed(Failure::Diverged));
    assert!(at(&mut surrogate(), &seen, 0.92).mean > before.mean);
}

#[test]
fn a_surrogate_that_has_fitted_before_believes_what_a_new_one_does() {
    let mut used = surrogate();
    for count in [30, 7, 12, 12, 3] {
        let seen = valley(count);
        assert_eq!(at(&mut used, &seen, 0.44), at(&mut surrogate(), &seen, 0.44));
    }
}

#[test]
fn a_gain_is_a_difference_to_the_best_full_run() {
    let (problem, seen) = (problem(1, &LEVELS), valley(10));
    let beliefs = surrogate().beliefs(&problem, &seen);
    let gains = beliefs.gains(&problem, &[[0.3], [0.301], [0.8]]);
    assert!(gains[0].mean.abs() < 1e-9 && gains[0].deviation < 1e-3, "{gains:?}");
    assert!(gains[1].deviation < 0.1 && gains[2].mean > 0.5, "{gains:?}");
}

#[test]
fn a_warped_difference_is_told_in_the_units_of_the_objective() {
    let (problem, mut seen) = (problem(1, &[1.0]), Observations::default());
    assert_eq!(surrogate().beliefs(&problem, &seen).in_units(1.0), None);
    for value in [10.0, 20.0, 50.0] {
        add(&mut seen, &[value / 100.0], &[(1.0, value)], State::Ended);
    }
    // One is the way from the best to the median.
    assert_eq!(surrogate().beliefs(&problem, &seen).in_units(0.5), Some(5.0));
}
