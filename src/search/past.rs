//! What a user's own past studies say of the published values: how far their best lay from them.
//!
//! One shift of the learning rate and one of the batch, in decades, for all of a user's tasks. They minimise
//! Σ (z − bowl(shift) − c)²/σ² + |shift|²/τ², where z are the losses of the runs of one study that were equally long, on
//! the surrogate's scale, and c is a constant of each such group. Few runs change little: at none the shift is 0.
//!
//! Source: ridge regression (Hoerl and Kennard 1970) of a nonlinear surface, by its values on a grid.

use super::knowledge::{Facts, published_batch, published_rate};

/// Standard deviation of a run's z around the bowl.
const NOISE: f64 = 0.5;
/// Standard deviation of the shift beforehand, in decades.
const SPREAD: f64 = 0.4;
/// Groups of fewer runs tell no shape.
const FEWEST: usize = 4;
/// The grid: so many steps of so many decades to either side.
const STEPS: i32 = 30;
const STEP: f64 = 0.05;

/// One run of a past study.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PastRun {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Examples of an optimizer step.
    pub effective_batch_size: f64,
    /// Its loss, or none where it diverged.
    pub loss_nats: Option<f64>,
    /// How long it was: only equals are compared.
    pub rung: u32,
}

/// A past study.
#[derive(Clone, Debug, PartialEq)]
pub struct PastStudy {
    /// Its task.
    pub facts: Facts,
    /// Its runs.
    pub runs: Vec<PastRun>,
}

/// How far a user's best values lie from the published ones, in decades.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shift {
    /// Of the learning rate.
    pub learning_rate: f64,
    /// Of the batch.
    pub batch: f64,
}

/// One run on the surrogate's scale, its hyperparameters as decades above the published ones.
struct Point {
    rate: f64,
    batch: f64,
    z: f64,
}

impl Shift {
    /// From past studies.
    #[must_use]
    pub fn learnt(studies: &[PastStudy]) -> Self {
        let groups: Vec<Vec<Point>> = studies.iter().flat_map(groups).collect();
        let grid = || (-STEPS..=STEPS).map(|step| f64::from(step) * STEP);
        let shifts = grid().flat_map(|learning_rate| grid().map(move |batch| Self { learning_rate, batch }));
        let costs = shifts.map(|shift| (shift, shift.cost(&groups)));
        costs.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(shift, _)| shift).unwrap_or_default()
    }

    fn cost(self, groups: &[Vec<Point>]) -> f64 {
        let misfit: f64 = groups.iter().map(|group| self.misfit(group)).sum();
        misfit / NOISE.powi(2) + (self.learning_rate.powi(2) + self.batch.powi(2)) / SPREAD.powi(2)
    }

    fn misfit(self, group: &[Point]) -> f64 {
        let residual = |point: &Point| {
            let (rate, batch) = (point.rate - self.learning_rate, point.batch - self.batch);
            point.z - super::knowledge::bowl(rate, batch)
        };
        #[expect(clippy::cast_precision_loss, reason = "runs are few")]
        let count = group.len() as f64;
        let constant = group.iter().map(residual).sum::<f64>() / count;
        group.iter().map(|point| (residual(point) - constant).powi(2)).sum()
    }
}

/// The runs of a study that can be compared with each other.
fn groups(study: &PastStudy) -> Vec<Vec<Point>> {
    let mut rungs: Vec<u32> = study.runs.iter().map(|run| run.rung).collect();
    rungs.sort_unstable();
    rungs.dedup();
    let group = |rung| {
        let runs: Vec<&PastRun> = study.runs.iter().filter(|run| run.rung == rung).collect();
        points(study.facts, &runs)
    };
    rungs.into_iter().map(group).filter(|points| points.len() >= FEWEST).collect()
}

fn points(facts: Facts, runs: &[&PastRun]) -> Vec<Point> {
    let mut losses: Vec<f64> = runs.iter().filter_map(|run| run.loss_nats).collect();
    losses.sort_by(f64::total_cmp);
    let (Some(best), Some(middle)) = (losses.first().copied(), losses.get(losses.len() / 2).copied()) else {
        return vec![];
    };
    if losses.len() < FEWEST || middle <= best {
        return vec![];
    }
    let z = |loss: f64| super::surrogate::compressed((loss - middle) / (middle - best));
    let worst = losses.last().copied().map_or(1.0, z).max(1.0);
    let point = |run: &&PastRun| Point {
        rate: (run.learning_rate / published_rate(&facts, run.effective_batch_size)).log10(),
        batch: (run.effective_batch_size / published_batch(&facts)).log10(),
        z: run.loss_nats.map_or(worst, z),
    };
    runs.iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::super::knowledge::Method;
    use super::*;

    /// Runs whose best learning rate and batch lie so many decades from the published ones.
    fn study(rate: f64, batch: f64, count: usize) -> PastStudy {
        let facts = Facts { method: Some(Method::Full), parameters: Some(1e9), ..Facts::default() };
        let run = |index: usize| {
            #[expect(clippy::cast_precision_loss)]
            let spread = |factor: f64| (index as f64 * factor).fract() * 2.0 - 1.0;
            let (off_rate, off_batch) = (spread(0.618_034), spread(0.754_878));
            let size = published_batch(&facts) * 10f64.powf(off_batch + batch);
            PastRun {
                learning_rate: published_rate(&facts, size) * 10f64.powf(off_rate + rate),
                effective_batch_size: size,
                loss_nats: Some(2.0 + 0.3 * off_rate.powi(2) + 0.1 * off_batch.powi(2)),
                rung: 0,
            }
        };
        PastStudy { facts, runs: (1..=count).map(run).collect() }
    }

    #[test]
    fn nothing_is_learnt_from_nothing() {
        assert_eq!(Shift::learnt(&[]), Shift::default());
        assert_eq!(Shift::learnt(&[study(0.6, 0.0, 3)]), Shift::default());
    }

    #[test]
    fn many_runs_tell_where_the_best_rate_lies() {
        let shift = Shift::learnt(&[study(0.6, 0.0, 30), study(0.6, 0.0, 30)]);
        assert!((shift.learning_rate - 0.6).abs() < 0.15, "{shift:?}");
        let shift = Shift::learnt(&[study(-0.5, 0.0, 40)]);
        assert!((shift.learning_rate + 0.5).abs() < 0.2, "{shift:?}");
    }

    #[test]
    fn studies_that_contradict_each_other_cancel() {
        let shift = Shift::learnt(&[study(0.5, 0.0, 30), study(-0.5, 0.0, 30)]);
        assert!(shift.learning_rate.abs() < 0.5, "{shift:?}");
    }
}
