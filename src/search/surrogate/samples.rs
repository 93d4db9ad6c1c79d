//! Which of everything that was seen does the process look at?
//!
//! An exact process costs the cube of its samples, so it looks at a bounded number: the best trials, for the optimum
//! lies among them, and the latest, which were chosen to tell something.
//!
//! Of every trial its highest level counts alone. What it told on the way has the luck and the bias of the same run, not
//! of another: taken as further samples, it makes short runs look more telling than they are, and the search ends a
//! fifth to a half worse.

use super::super::{Observed, Problem, State};
use super::SurrogateSettings;
use super::prior::Expected;
use super::process::Sample;
use super::warp::Warp;
use crate::space::UnitPoint;

/// Most samples of the process.
const MOST: usize = 256;
/// Most samples that scales are fitted to.
const MOST_TO_FIT: usize = 56;
/// Scales are not fitted to fewer.
pub(super) const FEWEST_TO_FIT: usize = 5;
/// How much worse than the worst a run counts that failed, for whatever reason: where one failed, the next will.
const FAILED: f64 = 0.5;
/// Scales are fitted again when there are so many times more trials.
const GROWTH: f64 = 1.15;

/// The samples of a moment.
pub(super) struct Selection<'a> {
    pub problem: &'a Problem,
    pub trials: &'a [Observed],
    pub settings: &'a SurrogateSettings,
}

impl Selection<'_> {
    /// What the process is conditioned on.
    pub(super) fn all(&self, warp: Option<&Warp>) -> Vec<Sample> {
        warp.map_or_else(Vec::new, |warp| self.samples(warp, self.trials, MOST))
    }

    /// What scales are fitted to: the first trials, up to a number that rarely changes.
    pub(super) fn fitting(&self) -> Vec<Sample> {
        let trials = &self.trials[..fitted_trials(self.trials.len())];
        let warp = Warp::of(self.problem, trials);
        warp.map_or_else(Vec::new, |warp| self.samples(&warp, trials, MOST_TO_FIT))
    }

    /// Points of the trials that are on their way, each with the level it goes to.
    pub(super) fn running(&self) -> Vec<(UnitPoint, usize)> {
        let running = |trial: &Observed| match trial.state {
            State::Running(level) => Some((trial.point.clone(), level)),
            _ => None,
        };
        self.trials.iter().filter_map(running).collect()
    }

    fn samples(&self, warp: &Warp, trials: &[Observed], most: usize) -> Vec<Sample> {
        let worst =
            trials.iter().filter_map(|trial| self.last(warp, trial)).map(|(_, z)| z).fold(0.0, f64::max);
        let chosen = self.chosen(warp, trials, most).into_iter();
        chosen.filter_map(|trial| self.highest(warp, trial, worst)).collect()
    }

    /// Half of them the best, half the latest.
    fn chosen<'t>(&self, warp: &Warp, trials: &'t [Observed], most: usize) -> Vec<&'t Observed> {
        let told = || trials.iter().filter(|trial| self.tells(trial));
        if told().count() <= most {
            return told().collect();
        }
        let mut order: Vec<(f64, &Observed)> = told()
            .map(|trial| (self.last(warp, trial).map_or(f64::INFINITY, |last| last.1), trial))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.id.cmp(&a.1.id)));
        let (best, rest) = order.split_at(most / 2);
        let mut rest: Vec<&Observed> = rest.iter().map(|(_, trial)| *trial).collect();
        rest.sort_by_key(|trial| std::cmp::Reverse(trial.id));
        let latest = rest.into_iter().take(most - most / 2);
        best.iter().map(|(_, trial)| *trial).chain(latest).collect()
    }

    fn tells(&self, trial: &Observed) -> bool {
        match trial.state {
            State::Failed(_) => true,
            _ => trial.level(self.problem).is_some(),
        }
    }

    fn last(&self, warp: &Warp, trial: &Observed) -> Option<(usize, f64)> {
        let (level, value) = trial.last(self.problem).filter(|_| !trial.has_failed())?;
        Some((level, warp.warped(level, value)))
    }

    fn highest(&self, warp: &Warp, trial: &Observed, worst: f64) -> Option<Sample> {
        if trial.has_failed() {
            return Some(self.sample(trial, self.problem.fidelity.top(), worst + FAILED));
        }
        self.last(warp, trial).map(|(level, z)| self.sample(trial, level, z))
    }

    fn sample(&self, trial: &Observed, level: usize, value: f64) -> Sample {
        let share = if self.settings.ignores_fidelity { 1.0 } else { self.problem.fidelity.share(level) };
        let short = self.settings.shortness(self.problem, level);
        let prior = self.settings.expected(self.problem, &trial.point, share);
        Sample {
            point: trial.point.clone(),
            short,
            prior,
            value,
            is_full: level == self.problem.fidelity.top(),
            has_failed: trial.has_failed(),
        }
    }
}

impl SurrogateSettings {
    /// What is expected of a run over this `share` of the full length; nothing where nothing is told.
    pub(super) fn expected(&self, problem: &Problem, point: &[f64], share: f64) -> Expected {
        let prior = self.prior.as_ref();
        prior.map_or_else(Expected::default, |prior| prior.at(&problem.space, point, share))
    }

    /// How short of the full run one to `level` counts.
    pub(super) fn shortness(&self, problem: &Problem, level: usize) -> f64 {
        if self.ignores_fidelity { 0.0 } else { shortness(problem, level) }
    }
}

/// 0 for the full run, 1 for the shortest; equal for equal factors between.
fn shortness(problem: &Problem, level: usize) -> f64 {
    let shortest = problem.fidelity.share(0).ln();
    if shortest < 0.0 { problem.fidelity.share(level).ln() / shortest } else { 0.0 }
}

/// How many of `trials` trials the scales were fitted to last: a series that grows by a factor.
fn fitted_trials(trials: usize) -> usize {
    let mut fitted = FEWEST_TO_FIT;
    loop {
        let next = grown(fitted);
        if next > trials {
            return fitted.min(trials);
        }
        fitted = next;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "trials stay below 2^32"
)]
fn grown(trials: usize) -> usize {
    (trials as f64 * GROWTH).ceil() as usize
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is exact by construction is compared exactly")]
mod tests;
