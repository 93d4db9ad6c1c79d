//! The forecast: a few trials, and who goes on.

use super::super::super::surrogate::{Belief, Surrogate, SurrogateSettings};
use super::super::super::{Failure, Fidelity, Observations, Problem, State};
use super::super::Step;
use super::super::forecast::{cost, next_step};
use crate::space::{Dimension, Domain, SearchSpace};

const LEVELS: [f64; 3] = [1.0, 8.0, 9.0];

fn problem(resume: bool) -> Problem {
    let domain = Domain::Float { low: 0.0, high: 1.0, log: false };
    let dimensions = vec![Dimension { name: "h".to_owned(), domain, condition: None }];
    let fidelity = Fidelity { levels: LEVELS.to_vec(), resume };
    Problem { space: SearchSpace { dimensions, constraints: vec![] }, fidelity, seed: 0, first: vec![] }
}

/// A trial at `unit` with these values at the levels.
fn add(seen: &mut Observations, unit: f64, values: &[f64]) {
    let id = seen.start(vec![unit], 0);
    let trial = seen.trial_mut(id).unwrap();
    trial.curve = LEVELS.into_iter().zip(values.iter().copied()).collect();
    trial.state = if values.len() == LEVELS.len() { State::Ended } else { State::Paused };
}

/// Full runs of about 1 everywhere; short ones are 2 worse.
fn plain() -> Observations {
    let mut seen = Observations::default();
    for (unit, value) in [(0.0, 1.2), (0.2, 1.0), (0.35, 0.9), (0.5, 1.1), (0.8, 1.0), (1.0, 1.3)] {
        add(&mut seen, unit, &[value + 2.0, value + 0.5, value]);
    }
    seen
}

/// The next step if a new trial would be at `proposal`.
fn next(problem: &Problem, seen: &Observations, proposal: Option<f64>, is_initial: bool) -> Option<Step> {
    let beliefs = Surrogate::new(SurrogateSettings::default()).beliefs(problem, seen);
    let proposal = proposal.map(|unit| vec![unit]);
    let next = next_step(problem, seen, &beliefs, proposal.as_ref(), is_initial, true);
    next.map(|forecasted| forecasted.step)
}

#[test]
fn a_trial_that_is_to_tell_of_the_space_starts_though_a_better_one_waits() {
    let mut seen = plain();
    add(&mut seen, 0.65, &[1.5]);
    assert_eq!(next(&problem(true), &seen, Some(0.1), true), Some(Step::Start(0)));
    assert_eq!(next(&problem(true), &Observations::default(), Some(0.5), true), Some(Step::Start(0)));
}

#[test]
fn a_paused_trial_that_is_clearly_better_goes_on_to_its_next_level() {
    let mut seen = plain();
    add(&mut seen, 0.65, &[1.5]);
    assert_eq!(next(&problem(true), &seen, Some(0.1), false), Some(Step::Continue(6, 1)));
}

#[test]
fn a_hopeless_one_does_not() {
    let mut seen = plain();
    add(&mut seen, 0.65, &[9.0]);
    assert!(matches!(next(&problem(true), &seen, Some(0.3), false), Some(Step::Start(_))));
}

#[test]
fn of_two_paused_ones_the_better_goes_on() {
    for (values, wanted) in [([2.7, 2.1], 7), ([2.1, 2.7], 6)] {
        let mut seen = plain();
        add(&mut seen, 0.1, &values[..1]);
        add(&mut seen, 0.9, &values[1..]);
        assert_eq!(next(&problem(true), &seen, None, false), Some(Step::Continue(wanted, 1)), "{values:?}");
    }
}

#[test]
fn cost_decides_between_equals() {
    // Where runs go on from where they are, the rest of a nearly full one is cheap; else it is a whole run.
    let mut seen = plain();
    add(&mut seen, 0.65, &[2.8, 1.3]);
    assert_eq!(next(&problem(true), &seen, Some(0.64), false), Some(Step::Continue(6, 2)));
    assert!(matches!(next(&problem(false), &seen, Some(0.64), false), Some(Step::Start(_))));
}

#[test]
fn as_long_as_none_has_run_in_full_another_short_run_is_worth_more_than_a_promotion() {
    let with = |third: &[f64]| {
        let mut seen = Observations::default();
        for (unit, values) in [(0.1, &[3.5][..]), (0.3, &[2.0]), (0.6, third), (0.9, &[4.0])] {
            add(&mut seen, unit, values);
        }
        next(&problem(true), &seen, Some(0.4), false)
    };
    assert_eq!(with(&[3.0]), Some(Step::Start(0)));
    assert_eq!(with(&[3.0, 1.5, 1.0]), Some(Step::Continue(1, 1)));
}

#[test]
fn after_many_of_which_none_has_run_in_full_one_that_stands_furthest_goes_on() {
    let mut seen = Observations::default();
    for index in 0..36 {
        add(&mut seen, f64::from(index) / 36.0, if index == 20 { &[3.0, 1.5] } else { &[3.0] });
    }
    assert_eq!(next(&problem(true), &seen, Some(0.99), false), Some(Step::Continue(20, 2)));
}

/// By hand: the way to the next level, and half of the times the rest of the way.
#[test]
fn the_cost_is_the_way_to_the_next_level_and_the_rest_of_it_if_it_is_still_promising() {
    let even = Belief { mean: 0.0, deviation: 1.0 };
    let check = |resume, from, to, expected: f64| {
        let cost = cost(&problem(resume), from, to, even, 1.0);
        assert!((cost - expected).abs() < 1e-12, "{cost} is not {expected}");
    };
    check(true, None, 0, 1.0 / 9.0 + 0.5 * 8.0 / 9.0);
    check(true, Some(0), 1, 7.0 / 9.0 + 0.5 / 9.0);
    check(true, Some(1), 2, 1.0 / 9.0);
    check(false, Some(0), 1, 8.0 / 9.0 + 0.5);
    let third = cost(&problem(true), None, 0, even, 1.0 / 3.0);
    assert!((third - (1.0 / 9.0 + 0.5 * 8.0 / 9.0 / 3.0)).abs() < 1e-12, "{third}");
    let hopeless = Belief { mean: 100.0, deviation: 1.0 };
    assert!((cost(&problem(true), None, 0, hopeless, 1.0) - 1.0 / 9.0).abs() < 1e-12);
}

#[test]
fn an_initial_trial_starts_at_once() {
    let mut seen = plain();
    add(&mut seen, 0.65, &[1.5]);
    assert!(matches!(next(&problem(true), &seen, Some(0.1), true), Some(Step::Start(_))));
}

#[test]
fn where_no_point_is_left_paused_trials_go_on_and_then_nothing() {
    let mut seen = plain();
    assert_eq!(next(&problem(true), &seen, None, false), None);
    add(&mut seen, 0.65, &[9.0]);
    assert_eq!(next(&problem(true), &seen, None, true), Some(Step::Continue(6, 1)));
    seen.trial_mut(6).unwrap().state = State::Failed(Failure::OutOfMemory);
    assert_eq!(next(&problem(true), &seen, None, false), None);
}

#[test]
fn the_expected_gain_is_in_the_units_of_the_objective() {
    let (problem, mut seen) = (problem(true), plain());
    add(&mut seen, 0.65, &[1.5]);
    let gain = |seen: &Observations| {
        let beliefs = Surrogate::new(SurrogateSettings::default()).beliefs(&problem, seen);
        next_step(&problem, seen, &beliefs, None, false, true).unwrap().gain.unwrap()
    };
    let mut thousandfold = seen.clone();
    for id in 0..thousandfold.next_id() {
        for point in &mut thousandfold.trial_mut(id).unwrap().curve {
            point.1 *= 1000.0;
        }
    }
    let (small, large) = (gain(&seen), gain(&thousandfold));
    assert!(small > 0.0 && (large / small / 1000.0 - 1.0).abs() < 1e-6, "{small} {large}");
}
