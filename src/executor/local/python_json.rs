//! JSON as Python writes it: with `NaN` and `Infinity`, which JSON does not have.

use serde_json::{Map, Value};

/// What Python writes for numbers that are none; the longer one first.
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The object in `text`, if it is one; numbers that are none are null.
pub(super) fn object(text: &[u8]) -> Option<Map<String, Value>> {
    if let Ok(object) = serde_json::from_slice(text) {
        return Some(object);
    }
    serde_json::from_str(&with_nulls(std::str::from_utf8(text).ok()?)).ok()
}

/// The text with `null` in place of what is no number, within strings excepted.
fn with_nulls(text: &str) -> String {
    let (mut nulled, mut rest, mut in_string) = (String::with_capacity(text.len()), text, false);
    while let Some(character) = rest.chars().next() {
        let found = NO_NUMBERS.iter().find(|word| !in_string && rest.starts_with(**word));
        let (taken, written) = match (found, character) {
            (Some(word), _) => (word.len(), "null"),
            // What is escaped ends no string.
            (None, '\\') if in_string => {
                let taken = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
                (taken, &rest[..taken])
            }
            (None, _) => (character.len_utf8(), &rest[..character.len_utf8()]),
        };
        in_string ^= found.is_none() && character == '"';
        nulled.push_str(written);
        rest = &rest[taken..];
    }
    nulled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_null_and_words_in_strings_stay() {
        for (text, expected) in [
            (r#"{"a": NaN, "b": [-Infinity, Infinity, 1]}"#, r#"{"a":null,"b":[null,null,1]}"#),
            (r#"{"a\"NaN": "NaN \\", "b": NaN, "é": "NaN"}"#, r#"{"a\"NaN":"NaN \\","b":null,"é":"NaN"}"#),
            (r#"{"a": 1}"#, r#"{"a":1}"#),
        ] {
            let found = object(text.as_bytes()).unwrap();
            assert_eq!(Value::Object(found), serde_json::from_str::<Value>(expected).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_none() {
        for text in [&b"[1]"[..], b"{\"a\": NaN", b"NaN", b"", b"{\"a\\", b"\xff"] {
            assert_eq!(object(text), None);
        }
    }
}
