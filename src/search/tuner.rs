//! Ask and tell: a search as a whole, whoever runs its trials.

use super::pruner::{Pruner, PrunerKind, Step, forecast};
use super::sampler::{Sampler, SamplerKind, gp};
use super::surrogate::{Beliefs, Surrogate, SurrogateSettings, log_improvement};
use super::{Failure, Observations, Problem, State};
use crate::space::UnitPoint;
use crate::trial::TrialId;

/// What a search answers when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Run this trial to this level.
    Run {
        /// Which trial; one that is known goes on.
        id: TrialId,
        /// To which level.
        level: usize,
    },
    /// Nothing new is left to be tried, and who goes on depends on those that are under way.
    Wait,
    /// Nothing is left to be tried.
    Exhausted,
}

/// How a run ended, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is still on its way.
    Running,
    /// It got where it was asked to.
    Completed,
    /// It can't go on.
    Failed(Failure),
}

/// How a search goes about it.
#[derive(Clone, Debug)]
pub struct TunerSettings {
    /// Who proposes points.
    pub sampler: SamplerKind,
    /// Who decides which trials go on.
    pub pruner: PrunerKind,
    /// What is believed of trials.
    pub surrogate: SurrogateSettings,
    /// Whether the Gaussian process proposes some quasi-random points.
    pub interleaves: bool,
    /// Whether a forecast gain is weighed against its cost.
    pub weighs_cost: bool,
}

/// A search.
pub struct Tuner {
    problem: Problem,
    seen: Observations,
    surrogate: Surrogate,
    settings: TunerSettings,
    sampler: Box<dyn Sampler>,
    pruner: Box<dyn Pruner>,
    expected_gain: Option<f64>,
}

impl Default for TunerSettings {
    fn default() -> Self {
        Self {
            sampler: SamplerKind::Gp,
            pruner: PrunerKind::Forecast,
            surrogate: SurrogateSettings::default(),
            interleaves: true,
            weighs_cost: true,
        }
    }
}

impl Tuner {
    /// A search of which nothing is seen yet.
    #[must_use]
    pub fn new(problem: Problem, settings: TunerSettings) -> Self {
        Self {
            problem,
            seen: Observations::default(),
            surrogate: Surrogate::new(settings.surrogate.clone()),
            sampler: settings.sampler.build(),
            pruner: settings.pruner.build(),
            settings,
            expected_gain: None,
        }
    }

    /// A search that has seen something already.
    #[must_use]
    pub fn resumed(problem: Problem, settings: TunerSettings, seen: Observations) -> Self {
        Self { seen, ..Self::new(problem, settings) }
    }

    /// The next point to be tried, without starting it, and by how much it is expected to improve on the best.
    pub fn propose(&mut self) -> Option<(UnitPoint, Option<f64>)> {
        if self.settings.sampler != SamplerKind::Gp {
            // The others expect nothing.
            return Some((self.proposal(None)?, None));
        }
        let beliefs = self.surrogate.beliefs(&self.problem, &self.seen);
        let point = self.proposal(Some(&beliefs))?;
        let gain =
            beliefs.gains(&self.problem, &[point.as_slice()]).first().map(|gain| log_improvement(*gain, 0.0));
        let gain = gain.and_then(|gain| beliefs.in_units(gain.exp()));
        Some((point, gain))
    }

    /// A point that can't be run: it counts as one that ran out of memory.
    pub fn refuse(&mut self, point: UnitPoint) {
        let id = self.seen.start(point, 0);
        self.tell(id, &[], Outcome::Failed(Failure::OutOfMemory), None);
    }

    /// What is believed of every trial's full run, on the surrogate's scale: the lower the better.
    pub fn forecasts(&mut self) -> Vec<f64> {
        let beliefs = self.surrogate.beliefs(&self.problem, &self.seen);
        let points: Vec<&[f64]> = self.seen.trials().iter().map(|trial| trial.point.as_slice()).collect();
        beliefs.at(&self.problem, &points).into_iter().map(|belief| belief.mean).collect()
    }

    /// What it is about.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What was seen.
    #[must_use]
    pub fn seen(&self) -> &Observations {
        &self.seen
    }

    /// By how much the last answer is expected to improve on the best full run, in units of the objective; none where
    /// nobody forecasts.
    #[must_use]
    pub fn expected_gain(&self) -> Option<f64> {
        self.expected_gain
    }

    /// What is to be run next.
    pub fn ask(&mut self) -> Answer {
        let (step, proposal) = self.decide();
        match (step, proposal) {
            (Some(Step::Continue(id, level)), _) => {
                if let Some(trial) = self.seen.trial_mut(id) {
                    trial.state = State::Running(level);
                }
                Answer::Run { id, level }
            }
            (Some(Step::Start(level)), Some(point)) => {
                Answer::Run { id: self.seen.start(point, level), level }
            }
            _ if self.may_go_on() => Answer::Wait,
            _ => Answer::Exhausted,
        }
    }

    /// Whether a trial is under way that will not have run in full when it gets where it was asked to.
    fn may_go_on(&self) -> bool {
        let top = self.problem.fidelity.top();
        self.seen.trials().iter().any(|trial| matches!(trial.state, State::Running(level) if level < top))
    }

    /// Takes up a trial that nobody was asked for: another program's, or one of an earlier search.
    pub fn start(&mut self, point: UnitPoint, level: usize) -> TrialId {
        self.seen.start(point, level)
    }

    fn decide(&mut self) -> (Option<Step>, Option<UnitPoint>) {
        if self.settings.pruner != PrunerKind::Forecast {
            return match self.pruner.next(&self.problem, &self.seen) {
                step @ Step::Start(_) => (Some(step), self.proposal(None)),
                step @ Step::Continue(..) => (Some(step), None),
            };
        }
        let beliefs = self.surrogate.beliefs(&self.problem, &self.seen);
        let proposal = self.proposal(Some(&beliefs));
        let TunerSettings { sampler, weighs_cost, .. } = self.settings;
        let is_initial = sampler == SamplerKind::Gp && gp::is_initial(&self.problem, self.seen.next_id());
        let (problem, seen) = (&self.problem, &self.seen);
        let next = forecast::next_step(problem, seen, &beliefs, proposal.as_ref(), is_initial, weighs_cost);
        self.expected_gain = next.as_ref().and_then(|next| next.gain);
        (next.map(|next| next.step), proposal)
    }

    /// What the user wants first, then what the sampler suggests.
    fn proposal(&mut self, beliefs: Option<&Beliefs>) -> Option<UnitPoint> {
        let (problem, seen) = (&self.problem, &self.seen);
        if let Some(first) = problem.first.iter().find(|point| seen.is_new(point)) {
            return Some(first.clone());
        }
        if self.settings.sampler != SamplerKind::Gp {
            return self.sampler.suggest(problem, seen);
        }
        let interleaves = self.settings.interleaves;
        match beliefs {
            Some(beliefs) => gp::suggest(problem, seen, beliefs, interleaves),
            None => gp::suggest(problem, seen, &self.surrogate.beliefs(problem, seen), interleaves),
        }
    }

    /// Takes what trial `id` told: lengths and values in any order, those already known included or not. A value that
    /// is no number means that the trial diverged.
    pub fn tell(&mut self, id: TrialId, points: &[(f64, f64)], outcome: Outcome, seconds: Option<f64>) {
        let problem = &self.problem;
        let Some(trial) = self.seen.trial_mut(id) else { return };
        for point in points.iter().filter(|point| point.1.is_finite()) {
            add(&mut trial.curve, *point);
        }
        let is_sound = points.iter().all(|point| point.1.is_finite());
        let outcome = if is_sound { outcome } else { Outcome::Failed(Failure::Diverged) };
        trial.seconds = seconds.or(trial.seconds);
        let target = match trial.state {
            State::Running(level) => level,
            _ => problem.fidelity.top(),
        };
        let reached = trial.level(problem);
        trial.state = match outcome {
            Outcome::Failed(failure) => State::Failed(failure),
            _ if reached == Some(problem.fidelity.top()) => State::Ended,
            _ if reached >= Some(target) => State::Paused,
            Outcome::Completed => State::Ended,
            Outcome::Running => State::Running(target),
        };
    }
}

/// Keeps lengths rising; of two values at one length the first told counts.
fn add(curve: &mut Vec<(f64, f64)>, point: (f64, f64)) {
    let position = curve.partition_point(|known| known.0 < point.0);
    let is_known = curve.get(position).is_some_and(|known| known.0 <= point.0);
    if point.0 > 0.0 && point.0.is_finite() && !is_known {
        curve.insert(position, point);
    }
}

#[cfg(test)]
mod tests;
