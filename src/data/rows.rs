//! From files to rows: one prompt and completion, or one text, as it was written.

use super::source::{self, Document};
use super::{DataError, csv_rows, jsonl_rows};
use crate::space::{DataFormat, DataSettings};

/// One row of a table or one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What the model is given; none for plain text.
    pub prompt: Option<String>,
    /// What it is to say, or the whole text.
    pub completion: String,
    /// Line on which the row starts, from 1; of a plain text the number of its document.
    pub line: usize,
}

/// Reads every row of a data set, uncleaned, in the order of the source.
///
/// # Errors
/// A file that cannot be read, is not UTF-8 or is malformed (with the line), or a table without
/// the wanted columns.
pub fn read_rows(settings: &DataSettings) -> Result<Vec<Row>, DataError> {
    parse(settings, &source::read(settings)?)
}

/// The rows of files that were read.
pub(super) fn parse(settings: &DataSettings, documents: &[Document]) -> Result<Vec<Row>, DataError> {
    if settings.format == DataFormat::Text {
        return Ok(documents.iter().zip(1..).map(text_row).collect());
    }
    let mut rows = Vec::new();
    for document in documents {
        rows.extend(match settings.format {
            DataFormat::Jsonl => jsonl_rows::read(document, &settings.columns)?,
            _ => csv_rows::read(document, &settings.columns)?,
        });
    }
    Ok(rows)
}

fn text_row((document, number): (&Document, usize)) -> Row {
    Row { prompt: None, completion: document.text.clone(), line: number }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{quickstart, settings, write_file};
    use super::*;

    #[test]
    fn every_document_of_a_folder_is_one_row() {
        let folder = tempfile::tempdir().unwrap();
        write_file(folder.path(), "2.txt", b"two\nlines\n");
        write_file(folder.path(), "1.txt", b"one");
        let rows = read_rows(&settings(folder.path(), DataFormat::Text)).unwrap();
        let expected = [("one", 1), ("two\nlines\n", 2)];
        let expected =
            expected.map(|(text, line)| Row { prompt: None, completion: text.to_owned(), line }).to_vec();
        assert_eq!(rows, expected);
    }

    /// The counts are those of `search-spaces/quickstart/README.md`.
    #[test]
    fn the_quickstart_table_is_read_with_its_line_breaks_and_true_line_numbers() {
        let settings = quickstart();
        let rows = read_rows(&settings).unwrap();
        assert_eq!(rows.len(), 1029);
        let broken = rows.iter().filter(|row| row.completion.contains('\n')).count();
        assert_eq!(broken, 283);
        let text = std::fs::read_to_string(&settings.source).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        for row in &rows {
            let prompt = row.prompt.as_ref().unwrap();
            assert!(lines[row.line - 1].trim_start_matches('"').starts_with(prompt.as_str()), "{row:?}");
        }
        let longest = rows.iter().max_by_key(|row| row.completion.chars().count()).unwrap();
        assert_eq!((longest.prompt.as_deref(), longest.completion.chars().count()), (Some("Story"), 5851));
    }
}
