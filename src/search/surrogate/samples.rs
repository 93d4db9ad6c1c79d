//! Which of everything that was seen does the process look at?
//!
//! An exact process costs the cube of its samples, so it looks at a bounded number: the best trials, for the optimum
//! lies among them, and the latest, which were chosen to tell something. Of every trial its highest level counts first.

use super::super::{Observed, Problem, State};
use super::SurrogateSettings;
use super::process::Sample;
use super::warp::Warp;

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

    /// Points of the trials that are on their way.
    pub(super) fn running(&self) -> Vec<Vec<f64>> {
        let running = self.trials.iter().filter(|trial| trial.is_running());
        running.map(|trial| trial.point.clone()).collect()
    }

    fn samples(&self, warp: &Warp, trials: &[Observed], most: usize) -> Vec<Sample> {
        let worst =
            trials.iter().filter_map(|trial| self.last(warp, trial)).map(|(_, z)| z).fold(0.0, f64::max);
        let chosen = self.chosen(warp, trials, most);
        let mut samples: Vec<Sample> =
            chosen.iter().filter_map(|trial| self.highest(warp, trial, worst)).collect();
        let tops = samples.len();
        for trial in chosen {
            let below = trial.level(self.problem).unwrap_or(0);
            for level in (0..below).rev().take_while(|_| !trial.has_failed()) {
                if samples.len() >= most.min(tops + most / 4) {
                    return samples;
                }
                let value = trial.value_at(level, self.problem);
                samples.extend(value.map(|value| self.sample(trial, level, warp.warped(level, value))));
            }
        }
        samples
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
        let prior = self.settings.prior.as_ref();
        let prior = prior.map_or(0.0, |prior| prior.at(&self.problem.space, &trial.point, share));
        let short = if self.settings.ignores_fidelity { 0.0 } else { shortness(self.problem, level) };
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
mod tests {
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
    fn of_every_trial_the_highest_level_comes_first() {
        let problem = problem(1, &LEVELS);
        let mut seen = Observations::default();
        add(&mut seen, &[0.1], &curve(&[3.0, 2.0, 1.0]), State::Ended);
        add(&mut seen, &[0.2], &curve(&[4.0, 3.0]), State::Paused);
        add(&mut seen, &[0.3], &[], State::Running(0));
        let told: Vec<(f64, f64, bool)> =
            all(&problem, &seen).iter().map(|one| (one.point[0], one.short, one.is_full)).collect();
        assert_eq!(
            told,
            [(0.1, 0.0, true), (0.2, 0.5, false), (0.1, 0.5, false), (0.1, 1.0, false), (0.2, 1.0, false)]
        );
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
        assert!(samples.len() == 12 && samples.iter().all(|sample| sample.short == 0.0));
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
}
