//! Which columns of a table, or keys of an object, hold prompt and completion.

use std::path::Path;

use super::{DataError, Row};
use crate::space::ColumnMapping;
use crate::spelling::nearest;

/// Pairs that public instruction sets use, the most telling first.
///
/// A third column beside a pair, such as Alpaca's `input`, is not read.
const PAIRS: [(&str, &str); 11] = [
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("term", "definition"),
    ("input", "target"),
    ("input", "output"),
    ("source", "target"),
    ("input", "response"),
];

/// Names of a column that holds a whole text.
const TEXTS: [&str; 2] = ["text", "content"];

/// Positions of the wanted columns in a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) prompt: Option<usize>,
    pub(super) completion: usize,
}

impl Columns {
    /// Finds the columns that `mapping` asks for among the names `found` in `file`.
    pub(super) fn resolve(mapping: &ColumnMapping, found: &[String], file: &Path) -> Result<Self, DataError> {
        let named = |key, column: &str| {
            let position = found.iter().position(|name| name == column);
            position.ok_or_else(|| missing(file, key, column, found))
        };
        match mapping {
            ColumnMapping::PromptCompletion { prompt, completion } => Ok(Self {
                prompt: Some(named("prompt", prompt)?),
                completion: named("completion", completion)?,
            }),
            ColumnMapping::Text(text) => Ok(Self { prompt: None, completion: named("text", text)? }),
            ColumnMapping::Detect => detect(found)
                .ok_or_else(|| DataError::NoKnownColumns { file: file.to_owned(), found: found.to_vec() }),
        }
    }

    /// A row, with the text of a column given by its position.
    pub(super) fn row<E>(
        self,
        line: usize,
        mut text: impl FnMut(usize) -> Result<String, E>,
    ) -> Result<Row, E> {
        let prompt = self.prompt.map(&mut text).transpose()?;
        Ok(Row { prompt, completion: text(self.completion)?, line })
    }
}

fn detect(found: &[String]) -> Option<Columns> {
    let position = |wanted: &str| found.iter().position(|name| name.eq_ignore_ascii_case(wanted));
    let pair = |(prompt, completion): (&str, &str)| {
        Some(Columns { prompt: Some(position(prompt)?), completion: position(completion)? })
    };
    let text = |name: &str| Some(Columns { prompt: None, completion: position(name)? });
    PAIRS.into_iter().find_map(pair).or_else(|| TEXTS.into_iter().find_map(text))
}

fn missing(file: &Path, key: &'static str, column: &str, found: &[String]) -> DataError {
    let nearest = nearest(column, found.iter().map(String::as_str)).map(str::to_owned);
    DataError::ColumnMissing {
        file: file.to_owned(),
        key,
        column: column.to_owned(),
        found: found.to_vec(),
        nearest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(mapping: &ColumnMapping, header: &str) -> Result<Columns, DataError> {
        let found: Vec<String> = header.split(',').map(str::to_owned).collect();
        Columns::resolve(mapping, &found, Path::new("rows.csv"))
    }

    #[test]
    fn known_pairs_are_found_in_any_case_and_order() {
        for (header, prompt, completion) in [
            ("prompt,completion", Some(0), 1),
            ("id,Completion,PROMPT", Some(2), 1),
            ("instruction,input,output", Some(0), 2),
            ("answer,question,text", Some(1), 0),
            ("Term,Definition", Some(0), 1),
            ("input,target", Some(0), 1),
            ("id,Text", None, 1),
            ("content", None, 0),
        ] {
            let columns = resolve(&ColumnMapping::Detect, header).unwrap();
            assert_eq!(columns, Columns { prompt, completion }, "{header}");
        }
    }

    #[test]
    fn without_a_known_pair_the_columns_and_the_way_out_are_shown() {
        let error = resolve(&ColumnMapping::Detect, "word,meaning,prompt").unwrap_err().to_string();
        assert!(error.contains("rows.csv") && error.contains("`word`, `meaning`, `prompt`"), "{error}");
        assert!(error.contains("completion = "), "{error}");
    }

    #[test]
    fn a_named_column_that_is_missing_is_shown_with_the_nearest() {
        let mapping = ColumnMapping::PromptCompletion { prompt: "word".into(), completion: "Meening".into() };
        let error = resolve(&mapping, "word,meaning").unwrap_err().to_string();
        assert!(error.contains("`data.completion` names the column `Meening`"), "{error}");
        assert!(error.contains("did you mean `meaning`?"), "{error}");
        let error = resolve(&ColumnMapping::Text("essay".into()), "a,b").unwrap_err().to_string();
        assert!(error.contains("`essay`") && error.contains("hint: name one of these"), "{error}");
    }

    #[test]
    fn named_columns_win_over_known_pairs() {
        let mapping = ColumnMapping::Text("note".into());
        let columns = resolve(&mapping, "prompt,completion,note").unwrap();
        assert_eq!(columns, Columns { prompt: None, completion: 2 });
    }
}
