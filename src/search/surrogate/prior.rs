//! What is expected of a full run before anything was seen: a bowl around what is published.

use super::warp::compressed;
use crate::space::SearchSpace;

/// Standard deviation of the weight of the prior mean: at −1 it is gone.
pub(super) const WEIGHT_DEVIATION: f64 = 0.4;

/// A bowl in the logarithms of named hyperparameters.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorMean {
    /// One term a hyperparameter.
    pub terms: Vec<Term>,
}

/// What is expected along one hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Which dimension.
    pub dimension: usize,
    /// Decimal logarithm of the best value.
    pub best: f64,
    /// So far below it, in decades, a run is as good as the median.
    pub below: f64,
    /// So far above it.
    pub above: f64,
    /// By how many decades the best value of a run is smaller for each decade that it is shorter.
    pub drift: f64,
    /// The best value's change with another dimension's decimal logarithm, from where.
    pub tilt: Option<Tilt>,
}

/// How a best value moves with another hyperparameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tilt {
    /// The other dimension.
    pub dimension: usize,
    /// Decades by which the best value rises for each decade of the other.
    pub exponent: f64,
    /// Decimal logarithm of the other's value for which `best` is meant.
    pub from: f64,
}

impl PriorMean {
    /// Expected warped value of a run over this `share` of the full length: −1 for the best, 0 for the median run.
    #[must_use]
    pub fn at(&self, space: &SearchSpace, point: &[f64], share: f64) -> f64 {
        let bowl: f64 = self.terms.iter().map(|term| term.at(space, point, share)).sum();
        compressed(bowl - 1.0)
    }
}

impl Term {
    fn at(&self, space: &SearchSpace, point: &[f64], share: f64) -> f64 {
        let Some(value) = log_value(space, self.dimension, point) else { return 0.0 };
        let other = self.tilt.and_then(|tilt| {
            let other = log_value(space, tilt.dimension, point)?;
            Some(tilt.exponent * (other - tilt.from))
        });
        let off = value - self.best - other.unwrap_or(0.0) - self.drift * share.log10();
        (off / if off > 0.0 { self.above } else { self.below }).powi(2)
    }
}

fn log_value(space: &SearchSpace, dimension: usize, point: &[f64]) -> Option<f64> {
    let number = space.dimensions[dimension].domain.number(point[dimension])?;
    (number > 0.0 && space.is_active(dimension, point)).then(|| number.log10())
}
