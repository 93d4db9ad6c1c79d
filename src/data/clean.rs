//! What is dropped before training, and why, counted.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Row;

/// What became of the rows of a source; of documents in a plain text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleaningReport {
    /// Rows of the source.
    pub rows_read: usize,
    /// Dropped: no prompt, or nothing to learn from.
    pub empty: usize,
    /// Dropped: repeats an earlier row but for case and spaces.
    pub duplicate: usize,
    /// Dropped: more than `max_length` tokens.
    pub too_long: usize,
    /// What remains.
    pub kept: usize,
}

impl fmt::Display for CleaningReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows_read, empty, duplicate, too_long, kept } = self;
        write!(
            f,
            "{rows_read} rows read: {empty} empty, {duplicate} duplicate, {too_long} too long, {kept} kept"
        )
    }
}

/// Trims every row and drops those that are empty or repeat an earlier one.
///
/// Two rows are the same if prompt and completion are, but for case and spaces. A prompt with
/// two different completions stays twice; [`super::split`] keeps such rows together.
#[must_use]
pub fn clean(rows: Vec<Row>) -> (Vec<Row>, CleaningReport) {
    let mut report = CleaningReport { rows_read: rows.len(), ..CleaningReport::default() };
    let mut seen = HashSet::new();
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows.into_iter().map(trimmed) {
        if row.completion.is_empty() || row.prompt.as_ref().is_some_and(String::is_empty) {
            report.empty += 1;
        } else if seen.insert((row.prompt.as_deref().map(normalized), normalized(&row.completion))) {
            kept.push(row);
        } else {
            report.duplicate += 1;
        }
    }
    report.kept = kept.len();
    (kept, report)
}

fn trimmed(row: Row) -> Row {
    let trim = |text: String| text.trim().to_owned();
    Row { prompt: row.prompt.map(trim), completion: trim(row.completion), line: row.line }
}

/// A text without what does not make it another text: case, and how words are spaced.
///
/// Upper before lower case folds letters with two lower-case forms too (`ß` and `ss`, `σ` and `ς`).
pub(super) fn normalized(text: &str) -> String {
    let folded = text.to_uppercase().to_lowercase();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::read_rows;
    use super::super::testing::{pair, quickstart};
    use super::*;

    #[test]
    fn an_empty_row_is_dropped_and_counted() {
        let text = |text: &str| Row { prompt: None, completion: text.to_owned(), line: 9 };
        let rows = vec![pair("a", "b"), pair("a", " \n"), pair("\t", "b"), text(""), text(" x ")];
        let (kept, report) = clean(rows);
        assert_eq!(kept, [pair("a", "b"), text("x")]);
        assert_eq!(report, CleaningReport { rows_read: 5, empty: 3, kept: 2, ..Default::default() });
    }

    #[test]
    fn a_repeat_but_for_case_and_spaces_is_dropped_and_the_first_stays() {
        let (kept, report) = clean(vec![
            pair("Straße", "one  two"),
            pair(" STRASSE", "One\ntwo "),
            pair("Straße", "three"),
            pair("Straße one", "two"),
        ]);
        assert_eq!(kept, [pair("Straße", "one  two"), pair("Straße", "three"), pair("Straße one", "two")]);
        assert_eq!(report.duplicate, 1);
    }

    /// The counts are those of `search-spaces/quickstart/README.md`: 12 rows lack a side, 35 repeat.
    #[test]
    fn the_flaws_of_the_quickstart_table_are_found_exactly() {
        let (kept, report) = clean(read_rows(&quickstart()).unwrap());
        assert_eq!(report.to_string(), "1029 rows read: 12 empty, 35 duplicate, 0 too long, 982 kept");
        assert!(kept.iter().all(|row| row.completion.trim() == row.completion));
        let reasons = kept.iter().filter(|row| row.prompt.as_deref() == Some("Reason")).count();
        assert_eq!(reasons, 2);
    }
}
