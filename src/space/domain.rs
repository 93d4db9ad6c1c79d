//! The interval of a continuous hyperparameter and its map from the unit interval.

use serde::{Deserialize, Serialize};

/// A float in `[low, high]`, on a linear or a logarithmic scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatDomain {
    /// Smallest value, included.
    pub low: f64,
    /// Largest value, included.
    pub high: f64,
    /// Whether equal steps in the unit interval are equal factors.
    pub log: bool,
}

impl FloatDomain {
    /// A domain of one value.
    #[must_use]
    pub const fn fixed(value: f64) -> Self {
        Self { low: value, high: value, log: false }
    }

    /// The value at `unit` ∈ [0, 1].
    #[must_use]
    pub fn at(&self, unit: f64) -> f64 {
        let value = if self.log {
            (self.low.ln() + unit * (self.high.ln() - self.low.ln())).exp()
        } else {
            self.low + unit * (self.high - self.low)
        };
        value.clamp(self.low, self.high)
    }

    /// Whether the domain is a single value.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.low >= self.high
    }

    /// The value of the domain nearest to `value`.
    #[must_use]
    pub const fn clamp(&self, value: f64) -> f64 {
        value.clamp(self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_middle_of_a_log_domain_is_its_geometric_mean() {
        let domain = FloatDomain { low: 1e-4, high: 1e-2, log: true };
        assert!((domain.at(0.5) - 1e-3).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn every_value_lies_in_its_domain(low in 1e-6f64..1.0, factor in 1.0f64..1e4, unit in 0.0f64..=1.0, log: bool) {
            let domain = FloatDomain { low, high: low * factor, log };
            prop_assert!((domain.low..=domain.high).contains(&domain.at(unit)));
        }
    }
}
