//! The median stopping rule (Golovin et al. 2017, "Google Vizier", §3.2.2).
//!
//! 1. A new trial runs to the lowest level; where it rests, it is asked whether it goes on to the next one.
//! 2. Those before it that have reached the same level each give the mean of their values up to there.
//! 3. If there are at least [`Median::at_least`] of them, and the best value of the trial up to there is worse than
//!    the median of those means, the trial stays where it is.
//! 4. Else it goes on. The first that may go on does; if there is none, a new trial starts.
//!
//! The rule of the paper compares with the trials that were there when the question came up. Here these are those
//! with lower numbers, so that an answer does not change when later trials do better or worse.

use super::super::{Observations, Observed, Problem};
use super::rungs::rests_at;
use super::{Pruner, Step};

/// Stops what is worse than half of those before it.
#[derive(Clone, Copy, Debug)]
pub struct Median {
    /// A median of fewer trials stops nobody.
    pub at_least: usize,
}

impl Default for Median {
    /// Below five a median says little.
    fn default() -> Self {
        Self { at_least: 5 }
    }
}

impl Pruner for Median {
    fn next(&self, problem: &Problem, seen: &Observations) -> Step {
        let mut before = Means::new(problem);
        for trial in seen.trials() {
            if let Some(level) = may_go_on(problem, trial)
                && !before.stops(trial, level, self.at_least.max(1))
            {
                return Step::Continue(trial.id, level + 1);
            }
            before.add(trial);
        }
        Step::Start(0)
    }
}

/// The level below the full run where a trial rests.
fn may_go_on(problem: &Problem, trial: &Observed) -> Option<usize> {
    let level = trial.level(problem).filter(|level| *level < problem.fidelity.top())?;
    rests_at(problem, trial, level).then_some(level)
}

/// What the trials so far were like on the way to each level.
struct Means<'a> {
    problem: &'a Problem,
    /// Sorted, one list a level.
    at: Vec<Vec<f64>>,
}

impl<'a> Means<'a> {
    fn new(problem: &'a Problem) -> Self {
        Self { problem, at: vec![vec![]; problem.fidelity.levels.len()] }
    }

    fn add(&mut self, trial: &Observed) {
        let reached = trial.level(self.problem).map_or(0, |level| level + 1);
        for level in 0..reached {
            if let Some(mean) = mean(values(self.problem, trial, level)) {
                let means = &mut self.at[level];
                means.insert(means.partition_point(|other| other.total_cmp(&mean).is_lt()), mean);
            }
        }
    }

    fn stops(&self, trial: &Observed, level: usize, at_least: usize) -> bool {
        let best = values(self.problem, trial, level).min_by(f64::total_cmp);
        self.at[level].len() >= at_least && best > median(&self.at[level])
    }
}

/// The values of a trial up to `level`.
fn values(problem: &Problem, trial: &Observed, level: usize) -> impl Iterator<Item = f64> {
    let within = move |length: f64| problem.fidelity.reached(length).is_none_or(|own| own <= level);
    trial.curve.iter().filter(move |point| within(point.0)).map(|point| point.1)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// The median of sorted numbers.
fn median(numbers: &[f64]) -> Option<f64> {
    let (below, above) = (numbers.get(numbers.len().checked_sub(1)? / 2)?, numbers.get(numbers.len() / 2)?);
    Some(f64::midpoint(*below, *above))
}
