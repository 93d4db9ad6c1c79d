//! A command line that can be parsed and still asks for what can't be done.

use std::path::Path;

/// What is wrong with an argument, and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{problem}\n  hint: {hint}")]
pub(super) struct UsageError {
    problem: String,
    hint: &'static str,
}

impl UsageError {
    /// What is about no file.
    pub(super) fn plain(problem: &str, hint: &'static str) -> Self {
        Self { problem: problem.to_owned(), hint }
    }

    pub(super) fn new(path: &Path, problem: &str, hint: &'static str) -> Self {
        Self { problem: format!("{}: {problem}", path.display()), hint }
    }
}
