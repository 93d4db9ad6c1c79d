//! Worked examples of a search.

use std::collections::BTreeSet;

use super::super::{Answer, Outcome, Tuner, TunerSettings};
use super::{problem, tuner};
use crate::search::pruner::PrunerKind;
use crate::search::sampler::SamplerKind;
use crate::search::{Failure, Problem, State};
use crate::space::Domain;
use crate::trial::TrialId;

/// Runs one trial to where it was asked to.
fn complete(tuner: &mut Tuner, value: f64) -> (TrialId, usize) {
    let Answer::Run { id, level } = tuner.ask() else { unreachable!("there is always a point") };
    tuner.tell(id, &[(tuner.problem().fidelity.levels[level], value)], Outcome::Completed, None);
    (id, level)
}

#[test]
fn what_the_user_wants_first_comes_first_and_in_its_order() {
    let first = vec![vec![0.9, 0.1], vec![0.2, 0.3], vec![0.5, 0.5]];
    for sampler in SamplerKind::ALL {
        for pruner in [PrunerKind::None, PrunerKind::Forecast] {
            let settings = TunerSettings { sampler, pruner, ..TunerSettings::default() };
            let mut tuner = Tuner::new(Problem { first: first.clone(), ..problem(2) }, settings);
            // A pruner may let others go on in between, and a grid has an end.
            for value in 0..40 {
                let Answer::Run { id, level } = tuner.ask() else { break };
                let length = tuner.problem().fidelity.levels[level];
                tuner.tell(id, &[(length, f64::from(value))], Outcome::Completed, None);
            }
            let trials = tuner.seen().trials().iter().take(3);
            let asked: Vec<Vec<f64>> = trials.map(|trial| trial.point.clone()).collect();
            assert_eq!(asked, first, "{sampler:?} {pruner:?}");
        }
    }
}

#[test]
fn several_open_asks_are_different_points() {
    let mut tuner = tuner(&problem(3));
    for value in 0..12 {
        complete(&mut tuner, f64::from(value % 5));
    }
    let ids: BTreeSet<TrialId> = (0..8)
        .map(|_| match tuner.ask() {
            Answer::Run { id, .. } => id,
            Answer::Wait | Answer::Exhausted => unreachable!("a continuum has no end"),
        })
        .collect();
    assert_eq!(ids.len(), 8);
}

#[test]
fn a_point_that_is_told_twice_counts_once() {
    let mut tuner = tuner(&problem(4));
    tuner.ask();
    tuner.tell(0, &[(1.0, 5.0), (1.0, 6.0)], Outcome::Running, Some(2.0));
    tuner.tell(0, &[(1.0, 7.0), (3.0, 4.0)], Outcome::Running, None);
    let trial = &tuner.seen().trials()[0];
    assert_eq!(trial.curve, [(1.0, 5.0), (3.0, 4.0)]);
    assert_eq!((trial.seconds, trial.state), (Some(2.0), State::Running(2)));
}

#[test]
fn what_is_no_number_means_divergence_and_what_is_no_length_nothing() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut tuner = tuner(&problem(5));
        tuner.ask();
        tuner.tell(0, &[(1.0, 5.0), (3.0, value)], Outcome::Completed, None);
        let trial = &tuner.seen().trials()[0];
        assert_eq!((trial.curve.len(), trial.state), (1, State::Failed(Failure::Diverged)));
    }
    let mut tuner = tuner(&problem(5));
    tuner.ask();
    let lengths = [f64::NAN, f64::INFINITY, 0.0, -1.0].map(|length| (length, 1.0));
    tuner.tell(0, &lengths, Outcome::Running, None);
    assert!(tuner.seen().trials()[0].curve.is_empty());
    // Nobody has number 7.
    tuner.tell(7, &[(1.0, 1.0)], Outcome::Completed, None);
    assert_eq!(tuner.seen().trials().len(), 1);
}

#[test]
fn a_trial_rests_where_it_was_asked_to_go_and_ends_at_the_full_run() {
    let mut tuner = tuner(&problem(6));
    let states = |tuner: &Tuner| tuner.seen().trials().iter().map(|trial| trial.state).collect::<Vec<_>>();
    assert_eq!(complete(&mut tuner, 1.0), (0, 0));
    tuner.ask();
    tuner.tell(1, &[(0.5, 1.0)], Outcome::Completed, None);
    // It came to an end of its own.
    assert_eq!(states(&tuner), [State::Paused, State::Ended]);
    let mut asks = 0..50;
    let full = asks.find_map(|_| Some(complete(&mut tuner, 1.0)).filter(|(_, level)| *level == 2));
    let (id, _) = full.unwrap();
    assert_eq!(states(&tuner)[id as usize], State::Ended);
}

#[test]
fn a_promising_trial_goes_on_under_its_number() {
    let mut tuner = tuner(&problem(7));
    let mut levels = vec![0usize; 30];
    for value in 0..30u32 {
        let Answer::Run { id, level } = tuner.ask() else { unreachable!("there is always a point") };
        if level > levels[id as usize] {
            levels[id as usize] = level;
        }
        // Every second trial is far better than the others.
        let value = if id % 2 == 0 { -10.0 } else { f64::from(value) };
        tuner.tell(id, &[(tuner.problem().fidelity.levels[level], value)], Outcome::Completed, None);
    }
    let went_on = (1..30).filter(|id| levels[*id] > 0);
    assert!(went_on.clone().count() > 0);
    assert!(went_on.filter(|id| id % 2 == 0).count() > 0);
}

#[test]
fn where_everything_was_tried_it_is_over_and_a_gain_is_not_expected() {
    let mut problem = problem(8);
    problem.space.dimensions.truncate(1);
    problem.space.dimensions[0].domain = Domain::Int { low: 1, high: 3, log: false };
    let mut tuner = tuner(&problem);
    for asks in 0..20 {
        match tuner.ask() {
            Answer::Run { id, level } => {
                let length = problem.fidelity.levels[level];
                tuner.tell(id, &[(length, f64::from(id))], Outcome::Completed, None);
            }
            Answer::Wait => unreachable!("nothing is under way"),
            Answer::Exhausted => {
                assert!(asks >= 3);
                assert_eq!(tuner.seen().trials().len(), 3);
                assert_eq!(tuner.expected_gain(), None);
                return;
            }
        }
    }
    unreachable!("three points have an end");
}
