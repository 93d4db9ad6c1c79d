//! Which trials are good, and which are not?

use super::super::super::{Observations, Observed, Problem};

/// The share that is good, in per cent (Falkner et al. 2018; Watanabe 2023 found no better one) …
const GOOD_PER_CENT: usize = 15;
/// … but not more than these: more would only blur the density (Bergstra et al. 2011).
const GOOD_AT_MOST: usize = 25;

/// Trials in two sets.
pub(super) struct Split<'a> {
    /// The best ones.
    pub(super) good: Vec<&'a Observed>,
    /// All others, those without a value among them.
    pub(super) bad: Vec<&'a Observed>,
    /// How many came to something: a value or a failure.
    pub(super) told: usize,
}

impl<'a> Split<'a> {
    /// The sets of what was seen.
    pub(super) fn of(problem: &Problem, seen: &'a Observations) -> Self {
        let is_valued = |trial: &&Observed| !trial.has_failed() && trial.last(problem).is_some();
        let (valued, others): (Vec<&Observed>, Vec<&Observed>) = seen.trials().iter().partition(is_valued);
        let told = valued.len() + others.iter().filter(|trial| trial.has_failed()).count();
        let level = compared_at(problem, &valued);
        let mut good = sorted(problem, valued, level);
        let at_level = good.iter().filter(|trial| value(problem, trial, level).is_some()).count();
        let mut bad = good.split_off(good_ones(good.len(), at_level));
        bad.extend(others);
        Self { good, bad, told }
    }
}

/// The greatest level with enough trials for a density (BOHB: two more than a simplex has corners); the
/// lowest if there is none.
fn compared_at(problem: &Problem, valued: &[&Observed]) -> usize {
    let enough = problem.space.len() + 3;
    let count = |level: usize| valued.iter().filter(|trial| value(problem, trial, level).is_some()).count();
    let levels = 0..problem.fidelity.levels.len();
    levels.rev().find(|level| count(*level) >= enough).unwrap_or(0)
}

/// How many of `valued` trials are good, if so many are at the level where they are compared.
///
/// Promotion has chosen those at the level already, so the share is of all. But if all of them were good, what is
/// known of them would not be used; so half of them are at most.
fn good_ones(valued: usize, at_level: usize) -> usize {
    (valued * GOOD_PER_CENT).div_ceil(100).min(GOOD_AT_MOST).min(at_level.div_ceil(2))
}

/// The best first; of equals the one that was suggested first.
fn sorted<'a>(problem: &Problem, trials: Vec<&'a Observed>, level: usize) -> Vec<&'a Observed> {
    let ranked = trials.into_iter().map(|trial| (rank(problem, trial, level), trial));
    let mut ranked: Vec<((usize, f64), &Observed)> = ranked.collect();
    ranked.sort_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    ranked.into_iter().map(|(_, trial)| trial).collect()
}

/// First those that have reached `level`, by their value there; then the others, the longest first.
fn rank(problem: &Problem, trial: &Observed, level: usize) -> (usize, f64) {
    let at_level = value(problem, trial, level).map(|value| (0, value));
    let below = || trial.last(problem).map(|(reached, value)| (problem.fidelity.top() + 1 - reached, value));
    at_level.or_else(below).unwrap_or((usize::MAX, f64::INFINITY))
}

/// The value at `level`, or at the next one where there was none on the way.
fn value(problem: &Problem, trial: &Observed, level: usize) -> Option<f64> {
    let reached = trial.level(problem).filter(|reached| *reached >= level)?;
    (level..=reached).find_map(|level| trial.value_at(level, problem))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::{Failure, Fidelity, State};
    use super::*;
    use crate::space::{Dimension, Domain, SearchSpace};

    fn problem() -> Problem {
        let domain = Domain::Float { low: 0.0, high: 1.0, log: false };
        let dimensions = vec![Dimension { name: "x".to_owned(), domain, condition: None }];
        let space = SearchSpace { dimensions, constraints: vec![] };
        let fidelity = Fidelity { levels: vec![1.0, 3.0, 9.0], resume: true };
        Problem { space, fidelity, seed: 1, first: vec![] }
    }

    /// Trials whose values at the levels are these.
    fn seen(trials: &[(&[f64], State)]) -> Observations {
        let mut seen = Observations::default();
        for (number, (values, state)) in trials.iter().enumerate() {
            let id = seen.start(vec![f64::from(u32::try_from(number).unwrap()) / 100.0], 0);
            let trial = seen.trial_mut(id).unwrap();
            trial.curve = [1.0, 3.0, 9.0].into_iter().zip(values.iter().copied()).collect();
            trial.state = *state;
        }
        seen
    }

    fn ids(trials: &[&Observed]) -> Vec<u32> {
        trials.iter().map(|trial| trial.id).collect()
    }

    #[test]
    fn fifteen_in_a_hundred_are_good_and_25_at_most() {
        for (trials, good) in [(1u32, 1), (10, 2), (13, 2), (14, 3), (100, 15), (250, 25), (400, 25)] {
            let values: Vec<[f64; 1]> = (0..trials).map(|id| [f64::from(id * 7 % trials)]).collect();
            let seen = seen(&values.iter().map(|value| (&value[..], State::Paused)).collect::<Vec<_>>());
            let split = Split::of(&problem(), &seen);
            assert_eq!((split.good.len(), split.bad.len()), (good, trials as usize - good));
            let worst = split.good.iter().map(|trial| trial.curve[0].1).fold(0.0, f64::max);
            assert!(split.bad.iter().all(|trial| trial.curve[0].1 >= worst));
        }
    }

    #[test]
    fn trials_are_compared_at_the_longest_length_that_enough_have_reached() {
        // One dimension wants four trials: level 1 has them, the full run has not.
        let paused = State::Paused;
        let trials: &[(&[f64], State)] = &[
            (&[0.1], paused),
            (&[5.0, 4.0, 3.0], State::Ended),
            (&[5.0, 1.0], paused),
            (&[5.0, 2.0], State::Running(2)),
            (&[5.0, 5.0, 0.5], State::Ended),
        ];
        let (problem, seen) = (problem(), seen(trials));
        let valued: Vec<&Observed> = seen.trials().iter().collect();
        let level = compared_at(&problem, &valued);
        assert_eq!(level, 1);
        assert_eq!(ids(&sorted(&problem, valued, level)), [2, 3, 1, 4, 0]);
    }

    #[test]
    fn of_those_that_were_promoted_half_are_good_at_most() {
        assert_eq!(good_ones(100, 100), 15);
        assert_eq!(good_ones(100, 9), 5);
        assert_eq!(good_ones(100, 1), 1);
    }

    #[test]
    fn what_fails_and_what_runs_without_a_value_is_bad() {
        let trials: &[(&[f64], State)] = &[
            (&[2.0], State::Paused),
            (&[0.1], State::Failed(Failure::Diverged)),
            (&[], State::Running(0)),
            (&[], State::Failed(Failure::OutOfMemory)),
        ];
        let (problem, seen) = (problem(), seen(trials));
        let split = Split::of(&problem, &seen);
        assert_eq!((ids(&split.good), ids(&split.bad), split.told), (vec![0], vec![1, 2, 3], 3));
    }
}
