//! What can be wrong with a data set, where it is, and what would be right.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::CleaningReport;

/// A place in a file, printed as editors and compilers do: `file:line:column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, where it is known.
    pub column: Option<usize>,
}

impl Place {
    pub(super) fn line(file: &Path, line: usize) -> Self {
        Self { file: file.to_owned(), line, column: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

/// Why there is no data set.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {reason}{}", file.display(), file_hint(reason))]
    File {
        /// What was tried: `read` or `write`.
        action: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// A folder of plain text without one.
    #[error("{}: no file in this folder ends in `.txt`\n  hint: one document a file, directly in the folder", folder.display())]
    NoDocuments {
        /// The folder.
        folder: PathBuf,
    },
    /// The source is not what its format promises.
    #[error("{place}: {problem}\n  hint: {hint}")]
    Malformed {
        /// Where.
        place: Place,
        /// What is wrong there.
        problem: String,
        /// What would be right.
        hint: &'static str,
    },
    /// No known pair of columns.
    #[error(
        "{}: no column is known as prompt, completion or text; found: {}\n  hint: name them in [data]: `prompt = \"…\"` and `completion = \"…\"`, or `text = \"…\"`",
        file.display(), quoted(found)
    )]
    NoKnownColumns {
        /// The table.
        file: PathBuf,
        /// Its columns.
        found: Vec<String>,
    },
    /// A column that the study names is not in the table.
    #[error(
        "{}: `data.{key}` names the column `{column}`, which is not there; found: {}\n  hint: {}",
        file.display(), quoted(found), column_hint(nearest.as_deref())
    )]
    ColumnMissing {
        /// The table.
        file: PathBuf,
        /// Key of the study file.
        key: &'static str,
        /// The name it gives.
        column: String,
        /// The columns of the table.
        found: Vec<String>,
        /// The column whose name is nearest, if one is near.
        nearest: Option<String>,
    },
    /// A tokenizer's file is missing or broken.
    #[error("{}: {problem}\n  hint: {hint}", file.display())]
    TokenizerFile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// What would be right.
        hint: &'static str,
    },
    /// The tokenizer refused a text, token numbers, or its own training.
    #[error("tokenizer cannot {action}: {problem}")]
    Tokenizer {
        /// What was tried.
        action: &'static str,
        /// What it says.
        problem: String,
    },
    /// A vocabulary that cannot hold every byte.
    #[error(
        "a vocabulary of {asked} is too small\n  hint: 256 bytes and the end token need at least {least}"
    )]
    VocabularyTooSmall {
        /// Entries asked for.
        asked: usize,
        /// Fewest possible.
        least: usize,
    },
    /// A token number that the model has no embedding for.
    #[error(
        "tokenizer does not match the model: {what} is {id}, but the model's vocabulary ends at {vocab_size}\n  hint: take the tokenizer from the model's own folder"
    )]
    TokenizerMismatch {
        /// Which token.
        what: &'static str,
        /// Its number.
        id: usize,
        /// `vocab_size` of the model.
        vocab_size: usize,
    },
    /// Examples longer than the model's context.
    #[error(
        "`data.max_length` is {max_length}, longer than the model's context of {positions} tokens\n  hint: set it to {positions} or less"
    )]
    MaxLengthBeyondContext {
        /// The setting.
        max_length: usize,
        /// `max_position_embeddings` of the model.
        positions: usize,
    },
    /// Cleaning left nothing.
    #[error(
        "no row is left to train on: {report} (`data.max_length` is {max_length} tokens)\n  hint: {}",
        nothing_left_hint(report)
    )]
    NothingLeft {
        /// What became of the rows.
        report: CleaningReport,
        /// The setting that decides what is too long.
        max_length: usize,
    },
    /// Not enough for three splits.
    #[error(
        "{rows} rows remain with {groups} different {unit}, and training, validation and test need one each\n  hint: give at least {} {unit}, better hundreds{}",
        super::split::LEAST_GROUPS,
        too_few_hint(unit)
    )]
    TooFewToSplit {
        /// Rows after cleaning.
        rows: usize,
        /// Groups that must not be torn apart.
        groups: usize,
        /// What a group is.
        unit: &'static str,
    },
    /// A cached data set that is broken or of another version.
    #[error("{}: not a data set of this version: {problem}\n  hint: delete the file; it is made again from the source", file.display())]
    Cache {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl DataError {
    pub(super) fn file(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |reason| Self::File { action, file, reason }
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn column_hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "name one of these".to_owned(), |name| format!("did you mean `{name}`?"))
}

fn file_hint(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::NotFound => "\n  hint: paths in a study file are relative to that file's folder",
        io::ErrorKind::IsADirectory => "\n  hint: only `data.format = \"text\"` reads a folder",
        _ => "",
    }
}

fn nothing_left_hint(report: &CleaningReport) -> &'static str {
    if report.too_long > 0 {
        "raise `data.max_length`"
    } else {
        "the source must hold rows whose prompt and completion are not empty"
    }
}

fn too_few_hint(unit: &str) -> &'static str {
    if unit == "windows" {
        ", or lower `data.max_length`"
    } else {
        ", or raise `data.max_length` if rows were too long"
    }
}
