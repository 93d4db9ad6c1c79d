//! Which rows are learnt from, which steer the search, and which are seen only at the end.

use std::collections::HashMap;

use super::clean::normalized;
use super::shuffle::{Purpose, shuffled};
use super::{DataError, Row};

/// Training, validation and test need one group each.
pub(super) const LEAST_GROUPS: usize = 3;

/// What a row is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Gradients.
    Train,
    /// Choosing between trials and epochs.
    Validation,
    /// The figure that is reported.
    Test,
}

/// The split of each row, by a seeded shuffle of groups.
///
/// Rows with the same prompt (the same text, if there is no prompt) but for case and spaces are
/// one group, so no such row crosses a border. The fractions are of the groups, rounded, and
/// every split gets at least one.
///
/// # Errors
/// Fewer than three groups.
pub fn split(
    rows: &[Row],
    seed: u64,
    validation_fraction: f64,
    test_fraction: f64,
) -> Result<Vec<Split>, DataError> {
    let mut numbers = HashMap::new();
    let groups: Vec<usize> = rows
        .iter()
        .map(|row| {
            let next = numbers.len();
            *numbers.entry(normalized(row.prompt.as_ref().unwrap_or(&row.completion))).or_insert(next)
        })
        .collect();
    let count = numbers.len();
    let shares = Shares::of(count, validation_fraction, test_fraction).ok_or_else(|| {
        let unit = if rows.iter().any(|row| row.prompt.is_some()) { "prompts" } else { "documents" };
        DataError::TooFewToSplit { rows: rows.len(), groups: count, unit }
    })?;
    let mut splits = vec![Split::Train; count];
    for (place, group) in shuffled(count, seed, Purpose::Split, 0).into_iter().enumerate() {
        splits[group] = shares.split_at(place);
    }
    Ok(groups.into_iter().map(|group| splits[group]).collect())
}

/// How many groups go where; the rest is for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    train: usize,
    validation: usize,
}

impl Shares {
    /// Rounded, at least one each; `None` for fewer than three groups.
    pub(super) fn of(groups: usize, validation_fraction: f64, test_fraction: f64) -> Option<Self> {
        if groups < LEAST_GROUPS {
            return None;
        }
        let validation = part(groups, validation_fraction).clamp(1, groups - 2);
        let test = part(groups, test_fraction).clamp(1, groups - 1 - validation);
        Some(Self { train: groups - validation - test, validation })
    }

    /// The split of the group at a place in the shuffled (or natural) order: train comes first.
    pub(super) fn split_at(self, place: usize) -> Split {
        if place < self.train {
            Split::Train
        } else if place < self.train + self.validation {
            Split::Validation
        } else {
            Split::Test
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a fraction of a count, far below 2^52; the cast saturates and the caller clamps"
)]
fn part(groups: usize, fraction: f64) -> usize {
    (groups as f64 * fraction).round() as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::pair;
    use super::*;

    fn counts(splits: &[Split]) -> [usize; 3] {
        [Split::Train, Split::Validation, Split::Test]
            .map(|wanted| splits.iter().filter(|split| **split == wanted).count())
    }

    #[test]
    fn the_fractions_are_met_exactly_and_no_split_is_empty() {
        for (rows, validation, test, expected) in [
            (1000, 0.1, 0.05, [850, 100, 50]),
            (14, 0.1, 0.1, [12, 1, 1]),
            (15, 0.1, 0.1, [11, 2, 2]),
            (3, 0.5, 0.4, [1, 1, 1]),
            (3, 0.001, 0.001, [1, 1, 1]),
            (5, 0.5, 0.4, [1, 3, 1]),
        ] {
            let rows: Vec<Row> = (0..rows).map(|n| pair(&n.to_string(), "x")).collect();
            assert_eq!(counts(&split(&rows, 3, validation, test).unwrap()), expected);
        }
    }

    #[test]
    fn fewer_than_three_groups_are_an_error_with_the_numbers() {
        let rows = [pair("a", "x"), pair("A ", "y"), pair("b", "z")];
        let error = split(&rows, 0, 0.1, 0.1).unwrap_err().to_string();
        assert!(error.contains("3 rows remain with 2 different prompts"), "{error}");
    }

    #[test]
    fn another_seed_is_another_split() {
        let rows: Vec<Row> = (0..100).map(|n| pair(&n.to_string(), "x")).collect();
        let of_seed = |seed| split(&rows, seed, 0.2, 0.2).unwrap();
        assert_eq!(of_seed(1), of_seed(1));
        assert_ne!(of_seed(1), of_seed(2));
    }

    proptest! {
        #[test]
        fn no_prompt_and_no_duplicate_crosses_a_border(
            rows in prop::collection::vec(("[abAB ]{1,3}", "[xyXY ]{1,2}", any::<bool>()), 0..60),
            seed in any::<u64>(),
            fractions in (0.001..0.5, 0.001..0.4),
        ) {
            let rows: Vec<Row> = rows
                .into_iter()
                .map(|(prompt, text, plain)| Row { prompt: (!plain).then_some(prompt), ..pair("", &text) })
                .collect();
            if let Ok(splits) = split(&rows, seed, fractions.0, fractions.1) {
                prop_assert!(counts(&splits).iter().all(|count| *count > 0));
                let key = |row: &Row| normalized(row.prompt.as_ref().unwrap_or(&row.completion));
                for (a, split_a) in rows.iter().zip(&splits) {
                    for (b, split_b) in rows.iter().zip(&splits) {
                        prop_assert!(key(a) != key(b) || split_a == split_b, "{a:?} {b:?}");
                    }
                }
            }
        }
    }
}
