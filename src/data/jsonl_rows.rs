//! Rows of a JSON Lines file: one object a line, blank lines skipped.

use serde_json::{Map, Value};

use super::columns::Columns;
use super::source::Document;
use super::{DataError, Place, Row};
use crate::space::ColumnMapping;

const ONE_OBJECT: &str = "write one JSON object a line, such as {\"prompt\": \"…\", \"completion\": \"…\"}";

/// Reads the rows; the keys are taken from the first object and must be in every other.
pub(super) fn read(document: &Document, mapping: &ColumnMapping) -> Result<Vec<Row>, DataError> {
    let lines = document.text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let mut found: Option<(Columns, Vec<String>)> = None;
    let mut rows = Vec::new();
    for (line, number) in lines {
        let object = parse(document, line, number)?;
        let (columns, names) = match found.take() {
            Some(found) => found,
            None => resolve(document, mapping, &object)?,
        };
        rows.push(columns.row(number, |column| take(document, number, &object, &names[column]))?);
        found = Some((columns, names));
    }
    Ok(rows)
}

fn resolve(
    document: &Document,
    mapping: &ColumnMapping,
    first: &Map<String, Value>,
) -> Result<(Columns, Vec<String>), DataError> {
    let names: Vec<String> = first.keys().cloned().collect();
    Ok((Columns::resolve(mapping, &names, &document.file)?, names))
}

fn parse(document: &Document, line: &str, number: usize) -> Result<Map<String, Value>, DataError> {
    let malformed = |column, problem| DataError::Malformed {
        place: Place { file: document.file.clone(), line: number, column },
        problem,
        hint: ONE_OBJECT,
    };
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(malformed(None, format!("{} where an object should be", kind(&other)))),
        Err(error) => {
            let message = error.to_string();
            // serde_json's own place is within the line it was given, so always "line 1".
            let message = message.split(" at line ").next().unwrap_or_default();
            Err(malformed(Some(error.column().max(1)), format!("not JSON: {message}")))
        }
    }
}

/// The text of a key; null stands for an empty one, which cleaning counts.
fn take(
    document: &Document,
    line: usize,
    object: &Map<String, Value>,
    key: &str,
) -> Result<String, DataError> {
    let problem = match object.get(key) {
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Null) => return Ok(String::new()),
        Some(other) => format!("`{key}` is {}", kind(other)),
        None => format!("the key `{key}` is missing"),
    };
    Err(DataError::Malformed {
        place: Place::line(&document.file, line),
        problem,
        hint: "every object needs the keys of the first, each with a string",
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<Row>, DataError> {
        let document = Document { file: "rows.jsonl".into(), text: text.to_owned() };
        read(&document, &ColumnMapping::Detect)
    }

    #[test]
    fn objects_are_read_with_their_line_numbers() {
        let rows = lines(
            "{\"question\": \"a\", \"answer\": \"b\\nc\"}\r\n\n{\"answer\": null, \"question\": \"d\", \"id\": 3}\n",
        )
        .unwrap();
        let row = |prompt: &str, completion: &str, line| Row {
            prompt: Some(prompt.to_owned()),
            completion: completion.to_owned(),
            line,
        };
        assert_eq!(rows, [row("a", "b\nc", 1), row("d", "", 3)]);
    }

    #[test]
    fn one_column_may_serve_as_prompt_and_completion() {
        let document = Document { file: "rows.jsonl".into(), text: "{\"a\": \"x\"}".to_owned() };
        let mapping = ColumnMapping::PromptCompletion { prompt: "a".into(), completion: "a".into() };
        let rows = read(&document, &mapping).unwrap();
        assert_eq!((rows[0].prompt.as_deref(), rows[0].completion.as_str()), (Some("x"), "x"));
    }

    #[test]
    fn a_broken_line_is_named_with_what_is_wrong() {
        let good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
        for (bad, told) in [
            ("{\"prompt\": \"a\" \"completion\": 1}", "rows.jsonl:2:16: not JSON: expected `,` or `}`"),
            ("{\"prompt\": \"a\"}", "rows.jsonl:2: the key `completion` is missing"),
            ("{\"prompt\": \"a\", \"completion\": 7}", "rows.jsonl:2: `completion` is a number"),
            ("[1]", "rows.jsonl:2: an array where an object should be"),
        ] {
            let error = lines(&format!("{good}{bad}\n")).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("hint:"), "{error}");
        }
    }
}
