//! How long a study's examples are, and how many tokens its full run sees: counted, or guessed from the file.

use std::fs;
use std::path::Path;

use super::{Layout, StudyError};
use crate::data;
use crate::space::{DataFormat, Study};

/// Bytes of English in one token of a large vocabulary, about (the rule of thumb of model providers).
const BYTES_PER_TOKEN: u64 = 4;

/// What a study's full run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Tokens of the longest example.
    pub longest: usize,
    /// Tokens of all epochs together; none where there is no data yet.
    pub tokens: Option<u64>,
    /// Whether they were counted in the prepared data, not guessed from the size of its source.
    pub is_counted: bool,
}

/// Reads the prepared data set, if the study has one.
///
/// # Errors
/// The prepared data can't be read.
pub fn horizon(study: &Study) -> Result<Horizon, StudyError> {
    if study.own_examples().is_some() {
        return Ok(Horizon { longest: study.data.max_length, tokens: None, is_counted: false });
    }
    let file = Layout::new(&study.output).dataset();
    if file.exists() {
        let dataset = data::cache::read(&file)?;
        let lengths = || dataset.train.iter().map(|example| example.input_ids.len());
        let tokens = epochs(study, lengths().map(|length| length as u64).sum());
        let longest = lengths().max().unwrap_or(study.data.max_length);
        return Ok(Horizon { longest, tokens: Some(tokens), is_counted: true });
    }
    // Memory can be told without the data.
    let bytes = bytes_of(&study.data.source, study.data.format).ok();
    let tokens = bytes.map(|bytes| epochs(study, guessed(study, bytes)));
    Ok(Horizon { longest: study.data.max_length, tokens, is_counted: false })
}

/// Tokens of the training split of a file of so many bytes.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a guess"
)]
fn guessed(study: &Study, bytes: u64) -> u64 {
    let share = 1.0 - study.data.validation_fraction - study.data.test_fraction;
    ((bytes / BYTES_PER_TOKEN) as f64 * share) as u64
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "far below 2^53"
)]
fn epochs(study: &Study, tokens: u64) -> u64 {
    (tokens as f64 * study.train.epochs) as u64
}

fn bytes_of(source: &Path, format: DataFormat) -> std::io::Result<u64> {
    let metadata = fs::metadata(source)?;
    if format != DataFormat::Text || !metadata.is_dir() {
        return Ok(metadata.len());
    }
    fs::read_dir(source)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
