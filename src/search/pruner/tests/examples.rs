//! Worked examples: a few trials, and who goes on.

use super::super::super::{Failure, Fidelity, Observations, Problem, State};
use super::super::{Asha, Halving, Hyperband, Median, Pruner, Step, Unpruned};
use crate::space::SearchSpace;

const LEVELS: [f64; 3] = [1.0, 3.0, 9.0];

fn problem() -> Problem {
    let fidelity = Fidelity { levels: LEVELS.to_vec(), resume: true };
    Problem { space: SearchSpace::default(), fidelity, seed: 0, first: vec![] }
}

/// Trials with these values at the levels, the first that have some.
fn seen(trials: &[(&[f64], State)]) -> Observations {
    let mut seen = Observations::default();
    for (values, state) in trials {
        let id = seen.start(vec![], 0);
        let trial = seen.trial_mut(id).unwrap();
        trial.curve = LEVELS.into_iter().zip(values.iter().copied()).collect();
        trial.state = *state;
    }
    seen
}

/// Trials that rest where their values end.
fn resting(values: &[&[f64]]) -> Observations {
    let state = |values: &&[f64]| if values.len() == LEVELS.len() { State::Ended } else { State::Paused };
    seen(&values.iter().map(|values| (*values, state(values))).collect::<Vec<_>>())
}

fn check(pruner: &dyn Pruner, seen: &Observations, expected: Step) {
    assert_eq!(pruner.next(&problem(), seen), expected);
}

const FAILED: State = State::Failed(Failure::OutOfMemory);

#[test]
fn without_pruning_every_trial_goes_to_its_end() {
    check(&Unpruned, &resting(&[]), Step::Start(2));
    check(&Unpruned, &resting(&[&[1.0, 1.0, 1.0], &[9.0]]), Step::Continue(1, 2));
}

#[test]
fn asha_promotes_as_soon_as_one_in_three_is_best() {
    let asha = Asha::default();
    check(&asha, &resting(&[&[4.0], &[2.0]]), Step::Start(0));
    check(&asha, &resting(&[&[4.0], &[2.0], &[3.0]]), Step::Continue(1, 1));
    // It is on its way, and a place is taken.
    let running = seen(&[(&[4.0], State::Paused), (&[2.0], State::Running(1)), (&[3.0], State::Paused)]);
    check(&asha, &running, Step::Start(0));
    // Trial 3 is better, but six are needed for a second place.
    let five: &[&[f64]] = &[&[4.0], &[2.0, 1.9], &[3.0], &[1.0], &[5.0]];
    check(&asha, &resting(five), Step::Continue(3, 1));
    let five: &[&[f64]] = &[&[4.0], &[2.0, 1.9], &[3.0], &[2.5], &[5.0]];
    check(&asha, &resting(five), Step::Start(0));
    check(&asha, &resting(&[five, &[&[6.0]]].concat()), Step::Continue(3, 1));
}

#[test]
fn asha_looks_at_the_highest_rung_first() {
    let trials: &[&[f64]] =
        &[&[1.0, 0.9], &[2.0, 0.8], &[3.0, 0.7], &[4.0], &[0.5], &[5.0], &[6.0], &[7.0], &[8.0]];
    check(&Asha::default(), &resting(trials), Step::Continue(2, 2));
}

#[test]
fn a_failed_trial_counts_on_its_rung_and_is_never_promoted() {
    let trials = seen(&[(&[], FAILED), (&[], FAILED), (&[3.0], State::Paused)]);
    check(&Asha::default(), &trials, Step::Continue(2, 1));
    // Two of six are promoted; one of them failed on the next rung and is not replaced.
    let trials = seen(&[
        (&[1.0], FAILED),
        (&[2.0, 1.5], State::Paused),
        (&[3.0], State::Paused),
        (&[4.0], State::Paused),
        (&[5.0], State::Paused),
        (&[6.0], State::Paused),
    ]);
    check(&Asha::default(), &trials, Step::Start(0));
}

#[test]
fn halving_waits_for_its_bracket_and_then_promotes_the_best_third() {
    let halving = Halving { bracket: Some(6), ..Halving::default() };
    let five: &[&[f64]] = &[&[4.0], &[2.0], &[3.0], &[1.0], &[5.0]];
    check(&halving, &resting(five), Step::Start(0));
    let mut running = resting(&[five, &[&[]]].concat());
    running.trial_mut(5).unwrap().state = State::Running(0);
    check(&halving, &running, Step::Start(0));
    let six = [five, &[&[6.0]]].concat();
    check(&halving, &resting(&six), Step::Continue(3, 1));
    let second: &[&[f64]] = &[&[4.0], &[2.0], &[3.0], &[1.0, 0.9], &[5.0], &[6.0]];
    check(&halving, &resting(second), Step::Continue(1, 1));
    // Of two on the second rung one is left.
    let third: &[&[f64]] = &[&[4.0], &[2.0, 0.8], &[3.0], &[1.0, 0.9], &[5.0], &[6.0]];
    check(&halving, &resting(third), Step::Continue(1, 2));
    let done: &[&[f64]] = &[&[4.0], &[2.0, 0.8, 0.7], &[3.0], &[1.0, 0.9], &[5.0], &[6.0]];
    check(&halving, &resting(done), Step::Start(0));
}

#[test]
fn while_a_bracket_waits_the_next_one_begins() {
    let halving = Halving { bracket: Some(3), ..Halving::default() };
    let mut trials: Vec<(&[f64], State)> =
        vec![(&[4.0], State::Paused), (&[2.0], State::Running(1)), (&[3.0], State::Paused)];
    check(&halving, &seen(&trials), Step::Start(0));
    trials.extend([(&[9.0][..], State::Paused), (&[8.0], State::Paused), (&[7.0], State::Paused)]);
    check(&halving, &seen(&trials), Step::Continue(5, 1));
    // Trial 1 comes back and is the only one on its rung.
    trials[1] = (&[2.0, 1.0], State::Paused);
    check(&halving, &seen(&trials), Step::Continue(1, 2));
}

#[test]
fn halving_does_not_promote_who_fails() {
    let halving = Halving { bracket: Some(3), ..Halving::default() };
    check(&halving, &seen(&[(&[], FAILED), (&[], FAILED), (&[3.0], State::Paused)]), Step::Continue(2, 1));
    check(&halving, &seen(&[(&[], FAILED), (&[], FAILED), (&[], FAILED)]), Step::Start(0));
}

#[test]
fn hyperband_starts_a_trial_where_its_bracket_does() {
    // 9 trials from level 0, then 5 from level 1, then 3 in full.
    let worst_last: Vec<Vec<f64>> = (0..9).map(|id| vec![f64::from(id)]).collect();
    let mut trials: Vec<&[f64]> = worst_last.iter().map(Vec::as_slice).collect();
    check(&Hyperband, &resting(&trials[..2]), Step::Start(0));
    check(&Hyperband, &resting(&trials), Step::Continue(0, 1));
    trials[..3].copy_from_slice(&[&[0.0, 3.0], &[1.0, 2.0], &[2.0, 4.0]]);
    check(&Hyperband, &resting(&trials), Step::Continue(1, 2));
    trials[1] = &[1.0, 2.0, 2.0];
    check(&Hyperband, &resting(&trials), Step::Start(1));
}

#[test]
fn hyperband_compares_trials_of_one_bracket_only() {
    let first = [&[0.0, 3.0][..], &[1.0, 2.0, 2.0], &[2.0, 4.0]];
    let rest: [&[f64]; 6] = [&[9.0]; 6];
    // Worse than those above at the same length, but the best of its own bracket.
    let second: [&[f64]; 3] = [&[7.0, 7.0], &[7.0, 6.0], &[7.0, 8.0]];
    let trials = [&first[..], &rest, &second].concat();
    check(&Hyperband, &resting(&trials), Step::Continue(10, 2));
}

#[test]
fn the_median_stops_what_is_worse_than_half_of_those_before() {
    let median = Median { at_least: 3 };
    // Means up to the second level: 3, 4, 5. The best value up to there counts, not the last.
    let before: [&[f64]; 3] = [&[4.0, 2.0, 1.0], &[5.0, 3.0, 1.0], &[6.0, 4.0, 1.0]];
    let with = |last: &'static [f64]| resting(&[&before[..], &[last]].concat());
    check(&median, &with(&[9.0, 4.1]), Step::Start(0));
    check(&median, &with(&[9.0, 4.0]), Step::Continue(3, 2));
    check(&median, &with(&[3.9, 8.0]), Step::Continue(3, 2));
    // The first level: means are 4, 5, 6.
    check(&median, &with(&[5.1]), Step::Start(0));
    check(&median, &with(&[5.0]), Step::Continue(3, 1));
    // A median of three stops nobody where four are wanted.
    check(&Median { at_least: 4 }, &with(&[9.0]), Step::Continue(3, 1));
}
