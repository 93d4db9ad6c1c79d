//! What preparation makes and every run reads.

use super::{CleaningReport, Example, Split};

/// Examples ready to train on, in the order of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// For gradients.
    pub train: Vec<Example>,
    /// For choosing between trials and epochs.
    pub validation: Vec<Example>,
    /// For the figure that is reported.
    pub test: Vec<Example>,
    /// What became of the rows.
    pub report: CleaningReport,
    /// SHA-256, in hexadecimal, of source, settings, seed and tokenizer.
    pub digest: String,
}

impl Dataset {
    /// Cuts every longer example to `tokens`; at least half of what remains stays to be scored.
    pub fn cut_to(&mut self, tokens: usize) {
        let Self { train, validation, test, .. } = self;
        for example in [train, validation, test].into_iter().flatten() {
            example.input_ids.truncate(tokens);
            example.prompt_tokens = example.prompt_tokens.min(example.input_ids.len().div_ceil(2));
        }
    }

    pub(super) fn of(parts: Vec<(Example, Split)>, report: CleaningReport, digest: String) -> Self {
        let mut dataset = Self { train: vec![], validation: vec![], test: vec![], report, digest };
        for (example, split) in parts {
            match split {
                Split::Train => dataset.train.push(example),
                Split::Validation => dataset.validation.push(example),
                Split::Test => dataset.test.push(example),
            }
        }
        dataset
    }
}
