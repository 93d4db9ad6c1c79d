//! Every combination of values by number: the list of a finite space that is never written down.

use serde_json::Value;

use crate::space::{Domain, INACTIVE, SearchSpace, UnitPoint};

/// The combinations of a space whose continua are cut into a few values.
pub(super) struct Lattice<'a> {
    space: &'a SearchSpace,
    radices: Vec<u64>,
}

impl<'a> Lattice<'a> {
    /// Continua have `cuts` values; all else has what its domain has.
    pub(super) fn new(space: &'a SearchSpace, cuts: u64) -> Self {
        let values = |domain: &Domain| domain.len().unwrap_or(cuts);
        let radices = space.dimensions.iter().map(|dimension| values(&dimension.domain)).collect();
        Self { space, radices }
    }

    /// How many combinations there are; those that differ only in what does not take part count as several.
    pub(super) fn count(&self) -> u64 {
        self.radices.iter().fold(1, |count: u64, radix| count.saturating_mul(*radix))
    }

    /// Combination number `number`, snapped; `continuum` says where the values of a continuum lie.
    pub(super) fn point(&self, mut number: u64, mut continuum: impl FnMut(u64) -> f64) -> UnitPoint {
        let mut point = Vec::with_capacity(self.radices.len());
        for (dimension, radix) in self.space.dimensions.iter().zip(&self.radices) {
            let digit = number % radix;
            number /= radix;
            point.push(coordinate(&dimension.domain, digit, *radix).unwrap_or_else(|| continuum(digit)));
        }
        self.space.snapped(&point)
    }
}

/// Where value number `digit` of a domain lies; none in a continuum.
fn coordinate(domain: &Domain, digit: u64, radix: u64) -> Option<f64> {
    match domain {
        Domain::Float { .. } => domain.len().map(|_| INACTIVE),
        // Cells are not equally wide on a log scale.
        Domain::Int { low, .. } => domain.unit(&Value::from(low.saturating_add_unsigned(digit))),
        #[expect(clippy::cast_precision_loss, reason = "choices are few")]
        Domain::Ordinal(_) | Domain::Categorical(_) => Some((digit as f64 + 0.5) / radix as f64),
    }
}
