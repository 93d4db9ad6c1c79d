//! The default: whatever is expected to improve the best most for its cost goes next.
//!
//! 1. A trial that is to tell of the space starts when it is proposed, and stops at its first level: where what was
//!    expected beforehand is wrong, a full run would have been wasted on it.
//! 2. Of each paused trial and of the next suggestion, the surrogate forecasts the full run's value.
//! 3. Its gain is EI, the expected improvement on the best, as far as its run to the next level would reveal it: where
//!    much is known already, little is. As long as none has run in full, it is the whole EI on a usual run.
//! 4. Its cost is the way to its next level, and the rest of the way with the probability that it is still promising
//!    then. As long as none has run in full, promising is whatever may be better than a usual run; of those few go on,
//!    so the rest counts less. But not for ever: where all are alike, one new trial after the other would promise more;
//!    after many, one that stands furthest goes on.
//! 5. The highest gain for its cost runs, to its next level; then all is weighed again.
//!
//! Source: Swersky et al. 2014 (freeze-thaw) for the idea of weighing old trials against new ones; Frazier et al. 2009
//! (knowledge gradient) for what a run reveals.

use super::{Pruner, Step};
use crate::search::sampler::gp;
use crate::search::surrogate::{
    Belief, Beliefs, Surrogate, SurrogateSettings, log_improvement, probability_below,
};
use crate::search::{Observations, Observed, Problem, State};
use crate::space::UnitPoint;
use crate::trial::TrialId;

/// So many paused trials are weighed, those that stand best.
const MOST_WEIGHED: usize = 64;
/// A new trial's first stop is the lowest level of at least this share of a full run.
const FIRST_SHARE: f64 = 0.1;
/// So much of the rest counts at first, as long as none has run in full.
const FIRST_REST: f64 = 1.0 / 3.0;
/// All of it counts when there are so many trials of which none has, and no more start until one has.
const PATIENCE: TrialId = 36;

/// The forecast of a surrogate of its own, with the default sampler's proposal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forecast;

impl Pruner for Forecast {
    fn next(&self, problem: &Problem, seen: &Observations) -> Step {
        let beliefs = Surrogate::new(SurrogateSettings::default()).beliefs(problem, seen);
        let proposal = gp::suggest(problem, seen, &beliefs, true);
        let step = next_step(problem, seen, &beliefs, proposal.as_ref(), false, true);
        step.map_or(Step::Start(problem.fidelity.top()), |forecasted| forecasted.step)
    }
}

/// A step, and what is expected of it.
pub(crate) struct Forecasted {
    pub step: Step,
    /// Expected improvement on the best, in units of the objective, where it was weighed.
    pub gain: Option<f64>,
}

/// What is done next, if `proposal` is the best new point; none if there is neither.
pub(crate) fn next_step(
    problem: &Problem,
    seen: &Observations,
    beliefs: &Beliefs,
    proposal: Option<&UnitPoint>,
    is_initial: bool,
    weighs_cost: bool,
) -> Option<Forecasted> {
    let top = problem.fidelity.top();
    let first = (0..top).find(|level| problem.fidelity.share(*level) >= FIRST_SHARE).unwrap_or(top);
    if proposal.is_some() && is_initial {
        return Some(Forecasted { step: Step::Start(first), gain: None });
    }
    let has_full = seen.incumbent(problem).is_some_and(|(_, level, _)| level == top);
    let counted = if has_full { 1.0 } else { counted_rest(seen.next_id()) };
    let is_late = !has_full && seen.next_id() >= PATIENCE;
    let mut paused = paused(problem, seen);
    if is_late {
        retain_furthest(problem, &mut paused);
    }
    let proposal = proposal.filter(|_| !is_late || paused.is_empty());
    let points: Vec<&[f64]> =
        paused.iter().map(|trial| trial.point.as_slice()).chain(proposal.map(Vec::as_slice)).collect();
    let steps = paused.iter().map(|trial| {
        let from = trial.level(problem);
        (from, Step::Continue(trial.id, from.map_or(first, |from| from + 1)))
    });
    let steps: Vec<(Option<usize>, Step)> =
        steps.chain(proposal.map(|_| (None, Step::Start(first)))).collect();
    let levels: Vec<usize> = steps.iter().map(|(_, step)| step.level()).collect();
    let gains = beliefs.gains(problem, &points);
    let revelations = beliefs.revelations(problem, &points, &levels);
    let weighed = steps.into_iter().zip(gains).zip(revelations).map(|(((from, step), gain), revelation)| {
        let cost = if weighs_cost { cost(problem, from, step.level(), gain, counted) } else { 1.0 };
        let improvement = beliefs.in_units(log_improvement(gain, 0.0).exp());
        (Forecasted { step, gain: improvement }, log_improvement(revelation, 0.0) - cost.ln())
    });
    weighed.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(forecasted, _)| forecasted)
}

/// How much of the rest of the way counts after so many trials of which none has run in full.
fn counted_rest(trials: TrialId) -> f64 {
    (f64::from(trials) / f64::from(PATIENCE)).clamp(FIRST_REST, 1.0)
}

/// What bringing a trial to `level` costs, in full runs; of the rest of the way so much is `counted`.
pub(super) fn cost(
    problem: &Problem,
    from: Option<usize>,
    level: usize,
    belief: Belief,
    counted: f64,
) -> f64 {
    let rest = problem.fidelity.cost(Some(level), problem.fidelity.top());
    problem.fidelity.cost(from, level) + probability_below(belief, 0.0) * rest * counted
}

/// Those that may go on, by their last values.
fn paused<'a>(problem: &Problem, seen: &'a Observations) -> Vec<&'a Observed> {
    let mut paused: Vec<&Observed> = seen
        .trials()
        .iter()
        .filter(|trial| trial.state == State::Paused && trial.level(problem) < Some(problem.fidelity.top()))
        .collect();
    paused.sort_by(|a, b| last_value(a).total_cmp(&last_value(b)));
    paused.truncate(MOST_WEIGHED);
    paused
}

/// Leaves those alone that have reached the highest level of any.
fn retain_furthest(problem: &Problem, trials: &mut Vec<&Observed>) {
    let furthest = trials.iter().map(|trial| trial.level(problem)).max();
    trials.retain(|trial| Some(trial.level(problem)) == furthest);
}

fn last_value(trial: &Observed) -> f64 {
    trial.curve.last().map_or(f64::INFINITY, |point| point.1)
}
