//! Rows of a CSV file with a header: quotes, line breaks inside them, LF and CR LF.

use super::columns::Columns;
use super::source::Document;
use super::{DataError, Place, Row};
use crate::space::ColumnMapping;

/// Reads the rows of a table; one with too few or too many fields is an error.
pub(super) fn read(document: &Document, mapping: &ColumnMapping) -> Result<Vec<Row>, DataError> {
    if let Some((line, problem)) = stray_quote(&document.text) {
        return Err(malformed(document, line, problem, "a quote inside a quoted field is written twice"));
    }
    let mut reader = csv::Reader::from_reader(document.text.as_bytes());
    let header = reader.headers().map_err(|error| wrong_record(document, &error))?;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    if header.is_empty() {
        return Err(malformed(document, 1, "the file is empty", "start it with a row of column names"));
    }
    let columns = Columns::resolve(mapping, &header, &document.file)?;
    let mut lines = Lines::of(&document.text);
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|error| wrong_record(document, &error))?;
        let line = lines.at(record.position());
        columns.row(line, |column| Ok(record[column].to_owned()))
    };
    reader.records().map(row).collect()
}

fn malformed(document: &Document, line: usize, problem: &str, hint: &'static str) -> DataError {
    DataError::Malformed { place: Place::line(&document.file, line), problem: problem.to_owned(), hint }
}

fn wrong_record(document: &Document, error: &csv::Error) -> DataError {
    let line = Lines::of(&document.text).at(error.position());
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields where the header has {expected_len}")
        }
        _ => error.to_string(),
    };
    malformed(document, line, &problem, "put fields with commas, quotes or line breaks in double quotes")
}

/// Line numbers of growing offsets.
///
/// The csv crate's own count is one too low after CR LF: it takes a record to end at the CR.
struct Lines<'a> {
    bytes: &'a [u8],
    offset: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), offset: 0, line: 1 }
    }

    /// Line of the first field of the record whose end of the record before lies at `position`.
    fn at(&mut self, position: Option<&csv::Position>) -> usize {
        let start = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(0);
        let ends = self.bytes[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let until = start + ends;
        self.line += line_ends(&self.bytes[self.offset..until]);
        self.offset = until;
        self.line
    }
}

#[expect(clippy::naive_bytecount, reason = "a crate more for a file that is read once is too much")]
fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Where a reader of CSV is within a field.
#[derive(Clone, Copy)]
enum Within {
    Start,
    Bare,
    Quoted,
    /// Behind a quote that ends the field, or is the first of two that stand for one.
    AfterQuote,
}

/// The line on which a quote opens that is closed nowhere, or not at the end of a field.
///
/// The csv crate takes either as it comes. But one stray quote swallows the rows up to the next
/// quote, and that one then lies within a field: silent loss unless it is looked for here.
fn stray_quote(text: &str) -> Option<(usize, &'static str)> {
    let (mut line, mut opened_at, mut within) = (1, 1, Within::Start);
    for byte in text.bytes() {
        within = match (within, byte) {
            (Within::Start, b'"') => {
                opened_at = line;
                Within::Quoted
            }
            (Within::Quoted, b'"') => Within::AfterQuote,
            (Within::Quoted, _) | (Within::AfterQuote, b'"') => Within::Quoted,
            (_, b',' | b'\n' | b'\r') => Within::Start,
            (Within::AfterQuote, _) => {
                return Some((opened_at, "the quote that opens here is closed within a field"));
            }
            _ => Within::Bare,
        };
        line += usize::from(byte == b'\n');
    }
    matches!(within, Within::Quoted).then_some((opened_at, "the quote that opens here is never closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Vec<Row>, DataError> {
        let document = Document { file: "rows.csv".into(), text: text.to_owned() };
        read(&document, &ColumnMapping::Detect)
    }

    #[test]
    fn quotes_line_breaks_and_both_line_ends_are_understood() {
        let rows = table(
            "prompt , completion\r\n\"a, b\",\"say \"\"yes\"\"\nand go\"\r\n\r\nc,\"\"\n\"d\",e\"e\nf,\"\"\"g\"\"\"",
        )
        .unwrap();
        let found: Vec<_> =
            rows.iter().map(|row| (row.line, row.prompt.as_deref().unwrap(), &*row.completion)).collect();
        assert_eq!(
            found,
            [(2, "a, b", "say \"yes\"\nand go"), (5, "c", ""), (6, "d", "e\"e"), (7, "f", "\"g\"")]
        );
    }

    #[test]
    fn a_broken_table_names_the_line() {
        for (text, told) in [
            ("prompt,completion\r\na,b\r\n\r\nc\r\n", "rows.csv:4: 1 fields where the header has 2"),
            ("prompt,completion\n\"a\nb\",c\nd,e,f\n", "rows.csv:4: 3 fields where the header has 2"),
            ("prompt,completion\na,b\nc,\"d\ne,f\n", "rows.csv:3: the quote that opens here is never closed"),
            ("prompt,completion\na,\"b\nc,\"d\"\n", "rows.csv:2: the quote that opens here is closed within"),
            ("", "rows.csv:1: the file is empty"),
        ] {
            let error = table(text).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("hint:"), "{error}\nfor {text:?}");
        }
    }
}
