//! Which samples are chosen.

use super::super::super::{Failure, Observations};
use super::super::testing::{add, problem};
use super::*;
use std::collections::BTreeSet;

const LEVELS: [f64; 3] = [1.0, 3.0, 9.0];

/// Values at the levels, as many as there are.
fn curve(values: &[f64]) -> Vec<(f64, f64)> {
    LEVELS.into_iter().zip(values.iter().copied()).collect()
}

fn all(problem: &Problem, seen: &Observations) -> Vec<Sample> {
    let settings = SurrogateSettings::default();
    let selection = Selection { problem, trials: seen.trials(), settings: &settings };
    selection.all(Warp::of(problem, seen.trials()).as_ref())
}

/// Trials with falling values, each to its end.
fn many(count: u32) -> Observations {
    let mut seen = Observations::default();
    for index in 0..count {
        let value = f64::from(count - index);
        add(&mut seen, &[f64::from(index)], &curve(&[value + 2.0, value + 1.0, value]), State::Ended);
    }
    seen
}

#[test]
fn the_process_and_the_fit_look_at_a_bounded_number() {
    let problem = problem(1, &LEVELS);
    for count in [0, 1, 50, 200, 300, 2000] {
        let seen = many(count);
        let settings = SurrogateSettings::default();
        let selection = Selection { problem: &problem, trials: seen.trials(), settings: &settings };
        assert!(all(&problem, &seen).len() <= MOST);
        assert!(selection.fitting().len() <= MOST_TO_FIT);
    }
}

#[test]
fn the_best_and_the_latest_are_among_them() {
    let problem = problem(1, &LEVELS);
    let mut seen = Observations::default();
    // The best come first, the bad last, with the worst in the middle.
    for index in 0..2000u32 {
        let value = f64::from(if index < 1000 { index } else { 5000 - index });
        add(&mut seen, &[f64::from(index)], &curve(&[value, value, value]), State::Ended);
    }
    let points: BTreeSet<u64> = all(&problem, &seen).iter().map(|one| one.point[0].to_bits()).collect();
    let is_in = |index: u32| points.contains(&f64::from(index).to_bits());
    assert!((0..20).all(is_in) && (1980..2000).all(is_in));
    assert!(!(900..1100).any(is_in));
}

#[test]
fn of_every_trial_the_highest_level_counts_alone() {
    let problem = problem(1, &LEVELS);
    let mut seen = Observations::default();
    add(&mut seen, &[0.1], &curve(&[3.0, 2.0, 1.0]), State::Ended);
    add(&mut seen, &[0.2], &curve(&[4.0, 3.0]), State::Paused);
    add(&mut seen, &[0.3], &[], State::Running(0));
    let told: Vec<(f64, f64, bool)> =
        all(&problem, &seen).iter().map(|one| (one.point[0], one.short, one.is_full)).collect();
    assert_eq!(told, [(0.1, 0.0, true), (0.2, 0.5, false)]);
}

#[test]
fn a_trial_that_failed_stands_as_a_bad_full_run() {
    let problem = problem(1, &LEVELS);
    let mut seen = Observations::default();
    add(&mut seen, &[0.1], &curve(&[3.0, 2.0, 1.0]), State::Ended);
    add(&mut seen, &[0.2], &curve(&[9.0, 9.0, 9.0]), State::Ended);
    add(&mut seen, &[0.3], &curve(&[1.0]), State::Failed(Failure::Diverged));
    add(&mut seen, &[0.4], &curve(&[1.0]), State::Failed(Failure::OutOfMemory));
    add(&mut seen, &[0.5], &curve(&[1.0]), State::Failed(Failure::Failed));
    let samples = all(&problem, &seen);
    let failed: Vec<&Sample> = samples.iter().filter(|sample| sample.has_failed).collect();
    assert_eq!(failed.iter().map(|sample| sample.point[0]).collect::<Vec<_>>(), [0.3, 0.4, 0.5]);
    assert!(failed.iter().all(|sample| sample.is_full && sample.short == 0.0));
    let others = samples.iter().filter(|sample| !sample.has_failed);
    assert!(others.map(|sample| sample.value).all(|value| value < failed[0].value));
}

#[test]
fn where_short_runs_are_taken_as_full_ones_nothing_is_short() {
    let problem = problem(1, &LEVELS);
    let seen = many(4);
    let settings = SurrogateSettings { ignores_fidelity: true, ..SurrogateSettings::default() };
    let selection = Selection { problem: &problem, trials: seen.trials(), settings: &settings };
    let samples = selection.all(Warp::of(&problem, seen.trials()).as_ref());
    assert!(samples.len() == 4 && samples.iter().all(|sample| sample.short == 0.0));
}

#[test]
fn equal_factors_are_equally_short() {
    let problem = problem(1, &[1.0, 10.0, 100.0]);
    let short: Vec<f64> = (0..3).map(|level| shortness(&problem, level)).collect();
    assert_eq!(short, [1.0, 0.5, 0.0]);
    assert_eq!(shortness(&super::super::testing::problem(1, &[4.0]), 0), 0.0);
}

#[test]
fn the_trials_that_scales_are_fitted_to_change_rarely() {
    let fitted: Vec<usize> = (0..1000).map(fitted_trials).collect();
    assert!(fitted.iter().enumerate().all(|(trials, fitted)| *fitted <= trials));
    assert!(fitted.iter().enumerate().skip(20).all(|(trials, fitted)| 2 * fitted > trials));
    let changes = fitted.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes < 100, "{changes}");
    assert!(fitted.is_sorted());
}
