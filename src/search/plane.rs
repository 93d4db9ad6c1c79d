//! The learning plane of a study: its space, its trials and its expectations in the words of every search.

use serde_json::Value;

use super::knowledge::{Facts, expected, published_batch, published_rate};
use super::past::Shift;
use super::{Failure, Fidelity, Observations, Problem, State, Tuner, TunerSettings};
use crate::space::{
    BatchDomain, Dimension, Domain, Hyperparams, Precision, PrunerKind, SearchSpace, Study, UnitPoint,
};
use crate::trial::{History, Outcome, Trial};

/// Suggestions that are refused one after the other before a space counts as exhausted.
const MOST_REFUSED: usize = 512;
/// The order of the dimensions.
const LEARNING_RATE: usize = 0;
const BATCH: usize = 1;
const PRECISION: usize = 2;

/// One point of the learning plane; the hardware plane turns it into a batch plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// Number format.
    pub precision: Precision,
    /// Which choice of the batch domain.
    pub batch_index: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
}

/// What is known of a study's task beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Task {
    /// What the user, the model and the data tell.
    pub facts: Facts,
    /// What past studies tell.
    pub shift: Shift,
}

/// The search of a study, with everything its trials have told.
pub struct Plane<'a> {
    study: &'a Study,
    tuner: Tuner,
}

impl<'a> Plane<'a> {
    /// From the study, what is known of its task, and what has happened: a function of these alone.
    #[must_use]
    pub fn new(study: &'a Study, task: &Task, history: &History) -> Self {
        let space = search_space(study);
        let mut settings = TunerSettings { sampler: study.search.sampler, ..TunerSettings::default() };
        // Who goes on is decided rung by rung, with the forecasts.
        settings.pruner = PrunerKind::None;
        settings.surrogate.prior = expected(&space, &task.facts, task.shift);
        let first = published_point(study, task);
        let fidelity = Fidelity { levels: levels(study), resume: true };
        let problem = Problem { space, fidelity, seed: study.seed, first: vec![first] };
        let mut seen = Observations::default();
        for trial in &history.trials {
            // What the machine failed says nothing of a configuration that was tried again.
            add(&mut seen, study, &problem, history.retry_of(trial).unwrap_or(trial));
        }
        Self { study, tuner: Tuner::resumed(problem, settings, seen) }
    }

    /// The next point that is possible, and what is expected of it; none if the space has no more.
    ///
    /// What is not possible, because the device has no room for it, counts as a trial that ran out of memory.
    pub fn suggest(
        &mut self,
        is_possible: &dyn Fn(&Suggestion) -> bool,
    ) -> Option<(Suggestion, Option<f64>)> {
        for _ in 0..MOST_REFUSED {
            let (point, gain) = self.tuner.propose()?;
            let suggestion = suggestion(self.study, &point);
            if is_possible(&suggestion) {
                return Some((suggestion, gain));
            }
            self.tuner.refuse(point);
        }
        None
    }

    /// The full run's loss that is expected of each trial, on a scale of its own: the lower the better.
    #[must_use]
    pub fn forecasts(&mut self) -> Vec<f64> {
        self.tuner.forecasts()
    }
}

/// The dimensions of a study's space.
fn search_space(study: &Study) -> SearchSpace {
    let space = &study.space;
    let rate = &space.learning_rate;
    let batch = match &space.batch {
        BatchDomain::Effective(sizes) => sizes.iter().map(|size| Value::from(*size)).collect(),
        BatchDomain::Explicit(plans) => plans
            .iter()
            .map(|plan| {
                Value::from(format!("{} × {}", plan.micro_batch_size, plan.gradient_accumulation_steps))
            })
            .collect(),
    };
    let precisions = space.precision.iter().map(|precision| Value::from(precision.to_string())).collect();
    let dimension = |name: &str, domain| Dimension { name: name.to_owned(), domain, condition: None };
    SearchSpace {
        dimensions: vec![
            dimension("learning_rate", Domain::Float { low: rate.low, high: rate.high, log: rate.log }),
            dimension("effective_batch_size", Domain::Ordinal(batch)),
            dimension("precision", Domain::Categorical(precisions)),
        ],
        constraints: vec![],
    }
}

/// Shares of a full run at which the rungs stop.
fn levels(study: &Study) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a small factor")]
    let factor = study.search.reduction_factor as f64;
    (0..study.search.rungs).rev().map(|below| factor.powf(-f64::from(below))).collect()
}

/// What is published for such a task, and corrected by past studies, moved into the space's own bounds: tried first.
fn published_point(study: &Study, task: &Task) -> UnitPoint {
    let facts = &task.facts;
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    let effective = |index: usize| study.space.batch.effective(index) as f64;
    let typical = published_batch(facts) * 10f64.powf(task.shift.batch);
    let off = |index: &usize| (effective(*index) / typical).ln().abs();
    let batch = (0..study.space.batch.len()).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0);
    let rate = published_rate(facts, effective(batch)) * 10f64.powf(task.shift.learning_rate);
    coordinates(study, study.space.learning_rate.clamp(rate), batch, 0)
}

fn coordinates(study: &Study, learning_rate: f64, batch: usize, precision: usize) -> UnitPoint {
    let space = search_space(study);
    let rate = space.dimensions[LEARNING_RATE].domain.unit(&Value::from(learning_rate)).unwrap_or(0.5);
    let middle = |index: usize, dimension: usize| {
        let count = space.dimensions[dimension].domain.len().unwrap_or(1);
        #[expect(clippy::cast_precision_loss, reason = "choices are few")]
        let middle = (index as f64 + 0.5) / count as f64;
        middle
    };
    space.snapped(&[rate, middle(batch, BATCH), middle(precision, PRECISION)])
}

/// The trial as one that was seen. Its configuration is of the space, for the study file of a folder is fixed.
fn add(seen: &mut Observations, study: &Study, problem: &Problem, trial: &Trial) {
    let id = seen.start(point_of(study, &trial.hyperparams), 0);
    let Some(observed) = seen.trial_mut(id) else { return };
    for record in trial.rungs.iter().filter(|record| record.outcome == Outcome::Finished) {
        let level = problem.fidelity.levels.get(record.rung as usize);
        observed.curve.extend(level.copied().zip(record.measurement.eval_loss_nats()));
    }
    observed.state = match trial.last().map(|record| &record.outcome) {
        None => State::Running(0),
        Some(Outcome::Finished) => State::Paused,
        Some(Outcome::Diverged { .. }) => State::Failed(Failure::Diverged),
        Some(Outcome::OutOfMemory { .. }) => State::Failed(Failure::OutOfMemory),
        Some(_) => State::Failed(Failure::Failed),
    };
}

fn point_of(study: &Study, hyperparams: &Hyperparams) -> UnitPoint {
    let space = &study.space;
    let batch = (0..space.batch.len()).find(|index| match &space.batch {
        BatchDomain::Effective(sizes) => sizes[*index] == hyperparams.batch.effective_batch_size(),
        BatchDomain::Explicit(plans) => plans[*index] == hyperparams.batch,
    });
    let precision = space.precision.iter().position(|one| *one == hyperparams.precision);
    coordinates(study, hyperparams.learning_rate, batch.unwrap_or(0), precision.unwrap_or(0))
}

fn suggestion(study: &Study, point: &[f64]) -> Suggestion {
    let space = search_space(study);
    let index = |dimension: usize| {
        let domain = &space.dimensions[dimension].domain;
        let (Domain::Ordinal(choices) | Domain::Categorical(choices)) = domain else { return 0 };
        let value = domain.at(point[dimension]);
        choices.iter().position(|choice| *choice == value).unwrap_or(0)
    };
    Suggestion {
        precision: study.space.precision[index(PRECISION)],
        batch_index: index(BATCH),
        learning_rate: study.space.learning_rate.at(point[LEARNING_RATE]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::knowledge::Method;
    use super::super::testing::history::trial;
    use super::*;
    use crate::space::BatchPlan;

    const BATCHES: [usize; 3] = [4, 12, 64];

    /// A study with these rates.
    fn study(rates: &str) -> Study {
        let text = format!(
            "[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n[space]\n\
             effective_batch_size = {BATCHES:?}\nlearning_rate = {rates}\n"
        );
        Study::from_toml(&text, "tiny.toml".as_ref()).unwrap()
    }

    /// Batch and rate of its first suggestion.
    fn first(task: &Task, rates: &str) -> (usize, f64) {
        let study = study(rates);
        let suggestion = Plane::new(&study, task, &History::default()).suggest(&|_| true).unwrap().0;
        (BATCHES[suggestion.batch_index], suggestion.learning_rate)
    }

    fn near(found: (usize, f64), batch: usize, rate: f64) {
        assert!(found.0 == batch && (found.1 / rate - 1.0).abs() < 1e-3, "{found:?}, not {batch} and {rate}");
    }

    const WIDE: &str = "{ low = 1e-7, high = 1e-1 }";

    /// By hand: 2e-5 at a batch of 16, (12/16)⁰·³ = 0.9173; a hundredth of the parameters and of the tokens is
    /// 10⁰·⁸ = 6.3096, and (1/100)⁰·² of the batch, 6.37: the choice of 4 is nearer to it than 12, (4/6.37)⁰·³ = 0.8697.
    #[test]
    fn what_is_published_for_the_model_and_the_run_is_tried_first() {
        near(first(&Task::default(), WIDE), 12, 2e-5 * 0.9173);
        let lora = Facts { method: Some(Method::Lora), ..Facts::default() };
        near(first(&Task { facts: lora, ..Task::default() }, WIDE), 12, 2e-4 * 0.9173);
        let facts = Facts { parameters: Some(7e7), tokens: Some(1e5), ..Facts::default() };
        let small = Task { facts, ..Task::default() };
        near(first(&small, WIDE), 4, 2e-5 * 6.3096 * 0.8697);
        let adapters = Task { facts: Facts { method: Some(Method::Lora), ..facts }, ..small };
        near(first(&adapters, WIDE), 4, 2e-4 * 6.3096 * 0.8697);
    }

    #[test]
    fn what_past_studies_tell_moves_the_first_suggestion() {
        let moved = |learning_rate, batch| Task { shift: Shift { learning_rate, batch }, ..Task::default() };
        near(first(&moved(0.5, 0.0), WIDE), 12, 2e-5 * 0.9173 * 10f64.sqrt());
        assert_eq!(first(&moved(0.0, 0.5), WIDE).0, 64);
    }

    /// Of two runs that told the same of rates a decade below and above the published one.
    #[test]
    fn what_past_studies_tell_moves_what_is_expected() {
        let study = study(WIDE);
        let batch = BatchPlan { micro_batch_size: 12, gradient_accumulation_steps: 1 };
        let run = |(id, learning_rate)| {
            let same = trial(id, &[Some(3.0)]);
            Trial { hyperparams: Hyperparams { batch, learning_rate, ..same.hyperparams }, ..same }
        };
        let history = History { trials: [(0, 2e-6), (1, 2e-4)].map(run).to_vec() };
        let better = |learning_rate| {
            let facts = Facts { method: Some(Method::Full), ..Facts::default() };
            let task = Task { facts, shift: Shift { learning_rate, batch: 0.0 } };
            let forecasts = Plane::new(&study, &task, &history).forecasts();
            usize::from(forecasts[1] < forecasts[0])
        };
        assert_eq!([-1.0, 1.0].map(better), [0, 1]);
    }

    #[test]
    fn the_first_suggestion_stays_within_the_bounds() {
        near(first(&Task::default(), "{ low = 1e-3, high = 1e-2 }"), 12, 1e-3);
    }
}
