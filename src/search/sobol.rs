//! Quasi-random suggestions: a scrambled Sobol sequence over the learning plane.
//!
//! Source: Owen scrambling after Burley 2020, by the `sobol_burley` crate.

use crate::space::{Precision, Space};

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

/// Suggestion number `index` of a study: the textbook default first, then the sequence.
///
/// A function of its arguments alone.
#[must_use]
pub fn suggest(space: &Space, index: usize, seed: u64) -> Suggestion {
    let Some(position) = index.checked_sub(1) else {
        let (precision, batch_index, learning_rate) = space.default_point();
        return Suggestion { precision, batch_index, learning_rate };
    };
    Suggestion {
        learning_rate: space.learning_rate.at(coordinate(position, 0, seed)),
        batch_index: choice(coordinate(position, 1, seed), space.batch.len()),
        precision: space.precision[choice(coordinate(position, 2, seed), space.precision.len())],
    }
}

/// The sequence has 2¹⁶ points; after them it goes on with another scrambling.
#[expect(clippy::cast_possible_truncation, reason = "the seed is folded into 32 bits on purpose")]
fn coordinate(position: usize, dimension: u32, seed: u64) -> f64 {
    let (round, index) = (position >> 16, position & 0xffff);
    let seed = (seed ^ (seed >> 32) ^ round as u64) as u32;
    f64::from(sobol_burley::sample(index as u32, dimension, seed))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "unit lies in [0, 1) and choices are few"
)]
fn choice(unit: f64, choices: usize) -> usize {
    ((unit * choices as f64) as usize).min(choices - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{BatchDomain, FloatDomain};
    use proptest::prelude::*;

    fn space() -> Space {
        Space {
            default_learning_rate: 2e-5,
            precision: Precision::ALL.to_vec(),
            batch: BatchDomain::Effective(vec![4, 8, 16]),
            learning_rate: FloatDomain { low: 1e-4, high: 1e-2, log: true },
        }
    }

    proptest! {
        #[test]
        fn every_suggestion_lies_in_the_space_and_repeats(index in 0usize..100_000, seed: u64) {
            let suggestion = suggest(&space(), index, seed);
            prop_assert!((1e-4..=1e-2).contains(&suggestion.learning_rate));
            prop_assert!(suggestion.batch_index < 3);
            prop_assert_eq!(suggestion, suggest(&space(), index, seed));
        }
    }

    #[test]
    fn eight_suggestions_spread_over_eight_octants_of_the_learning_rate() {
        let mut octants: Vec<usize> = (1..9)
            .map(|index| choice((suggest(&space(), index, 7).learning_rate / 1e-4).ln() / 100f64.ln(), 8))
            .collect();
        octants.sort_unstable();
        assert_eq!(octants, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
