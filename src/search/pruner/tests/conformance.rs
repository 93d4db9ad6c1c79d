//! Properties over random pasts, and whole searches without a sampler.

use proptest::prelude::*;

use super::super::super::random::Stream;
use super::super::super::testing::{domain, fidelity, past, space};
use super::super::super::{Failure, Fidelity, Observations, Problem, State};
use super::super::{Pruner, Step};
use super::PRUNERS;
use crate::space::SearchSpace;

/// Why a step may not be taken, if so.
fn fault(problem: &Problem, seen: &Observations, step: Step) -> Option<&'static str> {
    let top = problem.fidelity.top();
    match step {
        Step::Start(level) => (level > top).then_some("it starts beyond the full run"),
        Step::Continue(id, to) => match seen.trials().get(id as usize) {
            None => Some("there is no such trial"),
            Some(trial) if trial.has_failed() => Some("the trial has failed"),
            Some(trial) if trial.state != State::Paused => Some("the trial does not rest"),
            Some(trial) if trial.level(problem) >= Some(to) => Some("the trial is there already"),
            Some(_) => (to > top).then_some("it goes on beyond the full run"),
        },
    }
}

/// Four workers take steps until a trial has run in full; none if that does not come to an end.
fn first_full_run(pruner: &dyn Pruner, fidelity: Fidelity, seed: u64, fails_in: usize) -> Option<usize> {
    let problem = Problem { space: SearchSpace::default(), fidelity, seed, first: vec![] };
    let (mut seen, mut stream) = (Observations::default(), Stream::new(seed, 9));
    let mut open: Vec<(u32, usize)> = vec![];
    for step in 0..4000 {
        while open.len() < 4 {
            let next = pruner.next(&problem, &seen);
            assert_eq!(fault(&problem, &seen, next), None, "{next:?}");
            open.push(match next {
                Step::Start(level) => (seen.start(vec![], level), level),
                Step::Continue(id, level) => {
                    seen.trial_mut(id)?.state = State::Running(level);
                    (id, level)
                }
            });
        }
        let (id, level) = open.swap_remove(stream.below(4));
        let trial = seen.trial_mut(id)?;
        if fails_in > 0 && stream.below(fails_in) == 0 {
            trial.state = State::Failed(Failure::Diverged);
            continue;
        }
        trial.curve.push((problem.fidelity.levels[level], stream.uniform()));
        trial.state = State::Paused;
        if level == problem.fidelity.top() {
            return Some(step);
        }
    }
    None
}

proptest! {
    #[test]
    fn an_answer_is_a_step_that_can_be_taken_and_the_same_twice(
        (problem, seen) in past(space(domain(), 3), 60)
    ) {
        for pruner in PRUNERS {
            let step = (pruner.build)().next(&problem, &seen);
            prop_assert_eq!(fault(&problem, &seen, step), None, "{}: {:?}", pruner.name, step);
            prop_assert_eq!(step, (pruner.build)().next(&problem, &seen), "{}", pruner.name);
        }
    }

    #[test]
    fn every_search_has_a_full_run_at_last(fidelity in fidelity(), seed: u64, fails_in in 0usize..6) {
        prop_assume!(fails_in != 1);
        for pruner in PRUNERS {
            let end = first_full_run(&*(pruner.build)(), fidelity.clone(), seed, fails_in);
            prop_assert!(end.is_some(), "{}", pruner.name);
        }
    }

    #[test]
    fn where_everything_fails_new_trials_start(fidelity in fidelity(), trials in 0u32..200) {
        let problem = Problem { space: SearchSpace::default(), fidelity, seed: 0, first: vec![] };
        let mut seen = Observations::default();
        for _ in 0..trials {
            let id = seen.start(vec![], 0);
            seen.trial_mut(id).unwrap().state = State::Failed(Failure::OutOfMemory);
        }
        for pruner in PRUNERS {
            let step = (pruner.build)().next(&problem, &seen);
            prop_assert!(matches!(step, Step::Start(_)), "{}: {:?}", pruner.name, step);
        }
    }
}
