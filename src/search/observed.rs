//! What a search has seen: every trial, how far it got, and how it ended. Smaller values are better.

use std::collections::HashSet;

use super::Problem;
use crate::space::UnitPoint;
use crate::trial::TrialId;

/// Why a trial has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device refused memory.
    OutOfMemory,
    /// Loss or gradient ceased to be finite.
    Diverged,
    /// It crashed, or said that it could not go on.
    Failed,
}

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is on its way to this level.
    Running(usize),
    /// It has reached a level and may go on.
    Paused,
    /// It has reached the full run, or came to its own end.
    Ended,
    /// It can't go on.
    Failed(Failure),
}

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Its number: trials are numbered in the order in which they were suggested.
    pub id: TrialId,
    /// Where in the space.
    pub point: UnitPoint,
    /// Lengths and values, the shortest first; of the objective, to be minimised.
    pub curve: Vec<(f64, f64)>,
    /// Seconds that it took for its whole length, where they were told.
    pub seconds: Option<f64>,
    /// Where it stands.
    pub state: State,
}

/// Everything that was seen, in the order of suggestion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    trials: Vec<Observed>,
    /// Which points there are, by the bits of their coordinates.
    known: HashSet<Vec<u64>>,
}

impl Observed {
    /// How far it has run.
    #[must_use]
    pub fn length(&self) -> f64 {
        self.curve.last().map_or(0.0, |point| point.0)
    }

    /// The highest level it has reached.
    #[must_use]
    pub fn level(&self, problem: &Problem) -> Option<usize> {
        problem.fidelity.reached(self.length())
    }

    /// Its value at `level`: the last one up to there, if it has got so far.
    #[must_use]
    pub fn value_at(&self, level: usize, problem: &Problem) -> Option<f64> {
        if self.level(problem).is_none_or(|reached| reached < level) {
            return None;
        }
        let own = |point: &&(f64, f64)| problem.fidelity.reached(point.0).is_none_or(|of| of <= level);
        self.curve.iter().rev().find(own).map(|point| point.1)
    }

    /// Its last value and the level it has reached.
    #[must_use]
    pub fn last(&self, problem: &Problem) -> Option<(usize, f64)> {
        Some((self.level(problem)?, self.curve.last()?.1))
    }

    /// Whether it failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed(_))
    }

    /// Whether it is on its way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }
}

impl Observations {
    /// All trials: `trials()[i].id == i`.
    #[must_use]
    pub fn trials(&self) -> &[Observed] {
        &self.trials
    }

    /// The number of the next trial.
    #[must_use]
    pub fn next_id(&self) -> TrialId {
        TrialId::try_from(self.trials.len()).unwrap_or(TrialId::MAX)
    }

    /// Adds a trial on its way to `level`.
    pub fn start(&mut self, point: UnitPoint, level: usize) -> TrialId {
        let id = self.next_id();
        self.known.insert(bits(&point));
        self.trials.push(Observed { id, point, curve: vec![], seconds: None, state: State::Running(level) });
        id
    }

    /// The trial with this number, to be changed.
    pub fn trial_mut(&mut self, id: TrialId) -> Option<&mut Observed> {
        self.trials.get_mut(id as usize)
    }

    /// Whether nobody has tried this snapped point.
    #[must_use]
    pub fn is_new(&self, point: &[f64]) -> bool {
        !self.known.contains(&bits(point))
    }

    /// The best value at the highest level that any sound trial has reached.
    #[must_use]
    pub fn incumbent(&self, problem: &Problem) -> Option<(&Observed, usize, f64)> {
        let sound = || self.trials.iter().filter(|trial| !trial.has_failed());
        let level = sound().filter_map(|trial| trial.level(problem)).max()?;
        let at_level = sound().filter_map(|trial| Some((trial, level, trial.value_at(level, problem)?)));
        at_level.min_by(|a, b| a.2.total_cmp(&b.2))
    }
}

fn bits(point: &[f64]) -> Vec<u64> {
    point.iter().map(|coordinate| coordinate.to_bits()).collect()
}
