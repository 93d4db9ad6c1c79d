//! Hyperband (Li et al. 2018): halving with several lengths of the first rung, because nobody knows which is right.
//!
//! 1. There are as many brackets as levels. Bracket s starts at the level s below the full run; the number of
//!    its trials is n = ⌈(`s_max` + 1) / (s + 1) · R / r⌉, where r is the length of that level, R of the full run,
//!    and `s_max` the number of levels below the full run. All brackets cost about the same.
//! 2. Brackets follow each other from `s_max`, which bets most on short runs, to 0, which runs all in full; then
//!    they start anew. Which bracket a trial belongs to follows from its number.
//! 3. Within a bracket trials are promoted as by [`super::Asha`], with η the quotient of the two levels (Li et al.
//!    have one η, so levels that grow by it): of n trials at a rung the best ⌊n / η⌋ go on. Rounds of a bracket count
//!    together.
//! 4. If nobody goes on in any bracket, a new trial starts at the first level of its bracket.

use super::super::{Fidelity, Observations, Observed, Problem};
use super::asha::promotion;
use super::{Pruner, Step};
use crate::trial::TrialId;

/// Brackets of asynchronous halving.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hyperband;

/// Some trials that start at the same level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bracket {
    lowest: usize,
    trials: usize,
}

impl Pruner for Hyperband {
    fn next(&self, problem: &Problem, seen: &Observations) -> Step {
        let brackets = brackets(&problem.fidelity);
        let levels = &problem.fidelity.levels;
        let factor = |rung: usize| levels[rung + 1] / levels[rung];
        let promoted = brackets.iter().find_map(|bracket| {
            let is_in = |trial: &&Observed| bracket_of(trial.id, &brackets) == bracket.lowest;
            promotion(problem, &|| seen.trials().iter().filter(is_in), bracket.lowest, factor)
        });
        promoted.unwrap_or_else(|| Step::Start(bracket_of(seen.next_id(), &brackets)))
    }
}

/// One round of brackets, the one with the shortest first rung first.
fn brackets(fidelity: &Fidelity) -> Vec<Bracket> {
    let levels = fidelity.levels.len();
    (0..levels).map(|lowest| Bracket { lowest, trials: size(fidelity, lowest) }).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "levels are few, and quotients of lengths far below 2^53"
)]
fn size(fidelity: &Fidelity, lowest: usize) -> usize {
    // The quotient of two lengths may miss a whole number by rounding.
    const ROUNDING: f64 = 1.0 - 1e-9;
    let levels = fidelity.levels.len();
    let share = levels as f64 / (levels - lowest) as f64;
    (share / fidelity.share(lowest) * ROUNDING).ceil() as usize
}

/// The lowest level of the bracket that trial `id` belongs to.
fn bracket_of(id: TrialId, brackets: &[Bracket]) -> usize {
    let round: usize = brackets.iter().map(|bracket| bracket.trials).sum();
    let mut place = id as usize % round.max(1);
    for bracket in brackets {
        match place.checked_sub(bracket.trials) {
            Some(behind) => place = behind,
            None => return bracket.lowest,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::super::super::State;
    use super::*;
    use crate::space::SearchSpace;

    fn sizes(levels: &[f64]) -> Vec<usize> {
        let fidelity = Fidelity { levels: levels.to_vec(), resume: true };
        brackets(&fidelity).iter().map(|bracket| bracket.trials).collect()
    }

    /// Li et al. 2018, Algorithm 1, line 3: n = ⌈B / R · η^s / (s + 1)⌉ with B = (`s_max` + 1) R, for R = 81
    /// and η = 3. Line 6: `n_i` = ⌊n η^-i⌋.
    #[test]
    fn brackets_are_those_of_the_paper() {
        let levels = [1.0, 3.0, 9.0, 27.0, 81.0];
        assert_eq!(sizes(&levels), [81, 34, 15, 8, 5]);
        let rungs: [&[usize]; 5] = [&[81, 27, 9, 3, 1], &[34, 11, 3, 1], &[15, 5, 1], &[8, 2], &[5]];
        for (lowest, wanted) in rungs.into_iter().enumerate() {
            assert_eq!(full_rungs(&levels, lowest), wanted, "bracket that starts at {lowest}");
        }
    }

    /// How many trials get how far in one round, if later numbers are worse and nobody fails.
    fn full_rungs(levels: &[f64], lowest: usize) -> Vec<usize> {
        let fidelity = Fidelity { levels: levels.to_vec(), resume: true };
        let problem = Problem { space: SearchSpace::default(), fidelity, seed: 0, first: vec![] };
        let (mut seen, brackets) = (Observations::default(), brackets(&problem.fidelity));
        let round: usize = brackets.iter().map(|bracket| bracket.trials).sum();
        // Far more steps than a round has.
        for _ in 0..1000 {
            let (id, level) = match Hyperband.next(&problem, &seen) {
                Step::Start(_) if seen.trials().len() == round => break,
                Step::Start(level) => (seen.start(vec![], level), level),
                Step::Continue(id, level) => (id, level),
            };
            let trial = seen.trial_mut(id).unwrap();
            trial.curve.push((levels[level], f64::from(id)));
            trial.state = if level + 1 == levels.len() { State::Ended } else { State::Paused };
        }
        let in_bracket = seen.trials().iter().filter(|trial| bracket_of(trial.id, &brackets) == lowest);
        let reached: Vec<Option<usize>> = in_bracket.map(|trial| trial.level(&problem)).collect();
        let at = |level| reached.iter().filter(|reached| **reached >= Some(level)).count();
        (lowest..levels.len()).map(at).collect()
    }

    /// The table in the manual of mlr3hyperband, for R = 8 and η = 2.
    #[test]
    fn brackets_are_those_of_another_program() {
        assert_eq!(sizes(&[1.0, 2.0, 4.0, 8.0]), [8, 6, 4, 4]);
        assert_eq!(sizes(&[0.1, 0.2, 0.4, 0.8]), [8, 6, 4, 4]);
    }

    #[test]
    fn trials_fill_the_brackets_of_a_round_one_after_the_other() {
        let fidelity = Fidelity { levels: vec![1.0, 3.0, 9.0], resume: true };
        let brackets = brackets(&fidelity);
        let of: Vec<usize> = (0..36).map(|id| bracket_of(id, &brackets)).collect();
        // 9 trials, ⌈3 / 2 · 3⌉ = 5, and 3: a round of 17.
        let round = [[0; 9].as_slice(), &[1; 5], &[2; 3]].concat();
        assert_eq!(of, [&round[..], &round[..], &[0, 0]].concat());
    }

    #[test]
    fn where_there_is_one_level_every_trial_runs_in_full() {
        assert_eq!(sizes(&[7.0]), [1]);
    }
}
