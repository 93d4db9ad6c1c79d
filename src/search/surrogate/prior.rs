//! What is expected of a full run before anything was seen: a bowl around what is published, and what is uncertain
//! about it.
//!
//! 1. m(x) = compressed(Σ zₖ² − 1), where zₖ is how many widths x lies off the best value of hyperparameter k.
//! 2. How deep the bowl is, is uncertain: d₁ = σ·m.
//! 3. So is where it lies: d₂ = Σ σₖ·∂m/∂bestₖ·exp(−zₖ²), to the first order; far from the bottom, where that order is
//!    not enough, nothing is said. A task whose best rate lies half a decade beside the published one moves the bowl
//!    after a few trials.

use super::warp::{compressed, compressed_slope};
use crate::space::SearchSpace;

/// Standard deviation of the weight of the prior mean: at −1 it is gone.
const WEIGHT_DEVIATION: f64 = 0.25;

/// What is expected of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// The mean, warped.
    pub mean: f64,
    /// By how much it rises for one standard deviation of each thing that is uncertain about it.
    pub doubts: [f64; 2],
}

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
    /// Its standard deviation from task to task, in decades.
    pub spread: f64,
    /// So far below it, in decades, a run is as good as the median.
    pub below: f64,
    /// So far above it.
    pub above: f64,
    /// By how many decades the best value of a run is smaller for each decade that it is shorter.
    pub drift: f64,
    /// How the best value moves with other hyperparameters.
    pub tilts: Vec<Tilt>,
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
    pub fn at(&self, space: &SearchSpace, point: &[f64], share: f64) -> Expected {
        let (mut squares, mut moved) = (0.0, 0.0);
        for term in &self.terms {
            let off = term.off(space, point, share);
            squares += off.widths.powi(2);
            moved += term.spread * off.rise();
        }
        let bowl = squares - 1.0;
        let mean = compressed(bowl);
        Expected { mean, doubts: [WEIGHT_DEVIATION * mean, moved * compressed_slope(bowl)] }
    }
}

/// How far a value is off the best one.
struct Off {
    /// In widths of the bowl on that side.
    widths: f64,
    /// That width, in decades.
    width: f64,
}

impl Off {
    /// By how much the square of the widths rises for each decade that the best value rises; fades far from the best.
    fn rise(&self) -> f64 {
        -2.0 * self.widths / self.width * (-self.widths.powi(2)).exp()
    }
}

impl Term {
    fn off(&self, space: &SearchSpace, point: &[f64], share: f64) -> Off {
        let none = Off { widths: 0.0, width: self.below };
        let Some(value) = log_value(space, self.dimension, point) else { return none };
        let tilted = |tilt: &Tilt| {
            let other = log_value(space, tilt.dimension, point)?;
            Some(tilt.exponent * (other - tilt.from))
        };
        let tilted: f64 = self.tilts.iter().filter_map(tilted).sum();
        let off = value - self.best - tilted - self.drift * share.log10();
        let width = if off > 0.0 { self.above } else { self.below };
        Off { widths: off / width, width }
    }
}

fn log_value(space: &SearchSpace, dimension: usize, point: &[f64]) -> Option<f64> {
    let number = space.dimensions[dimension].domain.number(point[dimension])?;
    (number > 0.0 && space.is_active(dimension, point)).then(|| number.log10())
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is exact by construction is compared exactly")]
mod tests {
    use super::super::testing::dimension;
    use super::*;
    use crate::space::{Condition, Domain};
    use serde_json::json;

    /// A rate from 10⁻⁶ to 10⁻², a batch from 1 to 10⁴: a unit is four decades.
    fn space() -> SearchSpace {
        let rate = dimension("rate", Domain::Float { low: 1e-6, high: 1e-2, log: true });
        let batch = dimension("batch", Domain::Float { low: 1.0, high: 1e4, log: true });
        SearchSpace { dimensions: vec![rate, batch], constraints: vec![] }
    }

    fn term(dimension: usize, best: f64) -> Term {
        Term { dimension, best, spread: 0.0, below: 1.0, above: 0.5, drift: 0.0, tilts: vec![] }
    }

    fn check(prior: &PriorMean, point: [f64; 2], share: f64, expected: f64) {
        let told = prior.at(&space(), &point, share).mean;
        assert!((told - expected).abs() < 1e-9, "{point:?}: {told} is not {expected}");
    }

    #[test]
    fn the_best_is_minus_one_and_a_width_away_is_the_median() {
        let prior = PriorMean { terms: vec![term(0, -4.0)] };
        check(&prior, [0.5, 0.0], 1.0, -1.0);
        check(&prior, [0.25, 0.0], 1.0, 0.0);
        check(&prior, [0.625, 0.0], 1.0, 0.0);
        check(&prior, [0.375, 0.0], 1.0, 0.25 - 1.0);
        // Two decades below: 4 − 1 = 3, compressed.
        check(&prior, [0.0, 0.0], 1.0, 4f64.ln());
    }

    #[test]
    fn what_is_uncertain_is_how_deep_the_bowl_is_and_where_it_lies() {
        let at = |best: f64, unit: f64| {
            let rate = Term { spread: 0.3, ..term(0, best) };
            PriorMean { terms: vec![rate, term(1, 2.0)] }.at(&space(), &[unit, 0.4], 1.0)
        };
        for unit in [0.5, 0.45, 0.3, 0.55, 0.9] {
            let (told, step) = (at(-4.0, unit), 1e-6);
            assert_eq!(told.doubts[0], WEIGHT_DEVIATION * told.mean);
            let slope = (at(-4.0 + step, unit).mean - at(-4.0 - step, unit).mean) / (2.0 * step);
            let widths = (4.0 * unit - 2.0) / if unit > 0.5 { 0.5 } else { 1.0 };
            let moved = 0.3 * slope * (-widths * widths).exp();
            assert!((told.doubts[1] - moved).abs() < 1e-6, "{unit}: {told:?} {moved}");
        }
        assert!(at(-4.0, 0.5).doubts[1].abs() < 1e-12, "at the bottom a small move changes nothing");
        assert!(at(-4.0, 0.45).doubts[1] > 0.01 && at(-4.0, 0.55).doubts[1] < -0.01);
    }

    #[test]
    fn hyperparameters_add_up() {
        let prior = PriorMean { terms: vec![term(0, -4.0), term(1, 2.0)] };
        check(&prior, [0.375, 0.375], 1.0, 0.5 - 1.0);
    }

    #[test]
    fn the_best_value_moves_with_another_hyperparameter() {
        let tilts = vec![Tilt { dimension: 1, exponent: 0.5, from: 1.0 }];
        let prior = PriorMean { terms: vec![Term { tilts, ..term(0, -4.0) }] };
        check(&prior, [0.5, 0.25], 1.0, -1.0);
        // Two decades more of the other are one decade here.
        check(&prior, [0.75, 0.75], 1.0, -1.0);
        check(&prior, [0.5, 0.75], 1.0, 0.0);
    }

    #[test]
    fn what_moves_the_best_value_adds_up() {
        let tilt = |exponent| Tilt { dimension: 1, exponent, from: 1.0 };
        let prior = PriorMean { terms: vec![Term { tilts: vec![tilt(0.75), tilt(-0.25)], ..term(0, -4.0) }] };
        check(&prior, [0.75, 0.75], 1.0, -1.0);
    }

    #[test]
    fn short_runs_like_smaller_values_where_there_is_a_drift() {
        let prior = PriorMean { terms: vec![Term { drift: 0.5, ..term(1, 2.0) }] };
        check(&prior, [0.5, 0.5], 1.0, -1.0);
        // A hundredth of the length: half a decade for each of two.
        check(&prior, [0.5, 0.25], 0.01, -1.0);
    }

    #[test]
    fn what_takes_no_part_or_has_no_logarithm_says_nothing() {
        let mut space = space();
        space.dimensions[1].domain = Domain::Categorical(vec![json!("a"), json!("b")]);
        space.dimensions.push(dimension("zero", Domain::Float { low: 0.0, high: 1.0, log: false }));
        let mut rank = dimension("rank", Domain::Int { low: 1, high: 64, log: true });
        rank.condition = Some(Condition { on: 1, values: vec![json!("b")] });
        space.dimensions.push(rank);
        let terms = vec![term(1, 0.0), term(2, 0.0), term(3, 5.0)];
        let at = |kind: f64| PriorMean { terms: terms.clone() }.at(&space, &[0.5, kind, 0.0, 0.5], 1.0).mean;
        assert_eq!(at(0.25), -1.0);
        assert!(at(0.75) > 0.0);
    }
}
