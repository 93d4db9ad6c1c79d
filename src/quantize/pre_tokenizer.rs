//! Which of llama.cpp's ways to split text a `tokenizer.json` means.
//!
//! llama.cpp does not read the regular expressions of a tokenizer: it knows them by name, in
//! `tokenizer.ggml.pre`. A wrong name loads, and then tokenizes wrongly.
//!
//! | `pre_tokenizer` | `ignore_merges` | name |
//! |---|---|---|
//! | `ByteLevel` with its own (GPT-2's) expression | | `gpt-2` |
//! | Digits, one by one, then the same | | `smollm` |
//! | Split by Llama 3's expression, `ByteLevel` without | true | `llama-bpe` |
//! | the same | false | `smaug-bpe` |
//! | Split by Qwen 2's expression, `ByteLevel` without | | `qwen2` |
//! | anything else with `ByteLevel` | | `default`, with a warning |
//!
//! Source: `llama_vocab::impl::load` and `llm_tokenizer_bpe` in llama.cpp's `src/llama-vocab.cpp`.

use serde_json::Value;

/// Up to three digits together.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Each digit alone.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// llama.cpp's name for a pre-tokenizer, and what it will do otherwise than the tokenizer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    pub name: &'static str,
    pub warnings: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Digits,
    Split(&'a str),
    Bytes { regex: bool, prefix_space: bool },
    Other(&'a str),
}

/// The pre-tokenizer's name; none where text is not split into bytes.
pub(super) fn recognize(pre_tokenizer: &Value, ignore_merges: bool) -> Option<PreTokenizer> {
    let mut steps = Vec::new();
    flatten(pre_tokenizer, &mut steps);
    let prefix_space = steps.iter().find_map(|step| match step {
        Step::Bytes { prefix_space, .. } => Some(*prefix_space),
        _ => None,
    })?;
    let name = known_name(&steps, ignore_merges);
    let mut warnings = Vec::new();
    if name.is_none() {
        warnings.push(format!(
            "tokenizer: llama.cpp has no name we know for the pre-tokenizer {steps:?}, so it will split text in its default way: compare its tokens"
        ));
    }
    if prefix_space {
        warnings.push(
            "tokenizer: `add_prefix_space` is set, which llama.cpp does not do: put the space into the prompt"
                .to_owned(),
        );
    }
    // Of the names in the table only `llama-bpe` makes llama.cpp look a word up before merging.
    if ignore_merges && name != Some("llama-bpe") {
        warnings.push(
            "tokenizer: `ignore_merges` is set, which llama.cpp does not do for this pre-tokenizer"
                .to_owned(),
        );
    }
    Some(PreTokenizer { name: name.unwrap_or("default"), warnings })
}

fn known_name(steps: &[Step], ignore_merges: bool) -> Option<&'static str> {
    match steps {
        [Step::Bytes { regex: true, .. }] => Some("gpt-2"),
        [Step::Digits, Step::Bytes { regex: true, .. }] => Some("smollm"),
        [Step::Split(LLAMA3), Step::Bytes { regex: false, .. }] if ignore_merges => Some("llama-bpe"),
        [Step::Split(LLAMA3), Step::Bytes { regex: false, .. }] => Some("smaug-bpe"),
        [Step::Split(QWEN2), Step::Bytes { regex: false, .. }] => Some("qwen2"),
        _ => None,
    }
}

fn flatten<'a>(value: &'a Value, steps: &mut Vec<Step<'a>>) {
    let Some(kind) = value["type"].as_str() else { return };
    if let ("Sequence", Some(inner)) = (kind, value["pretokenizers"].as_array()) {
        for step in inner {
            flatten(step, steps);
        }
        return;
    }
    steps.push(step(kind, value));
}

fn step<'a>(kind: &'a str, value: &'a Value) -> Step<'a> {
    // What a file leaves out has the default of the `tokenizers` library: true.
    let flag = |key: &str| value[key].as_bool().unwrap_or(true);
    match kind {
        "ByteLevel" => Step::Bytes { regex: flag("use_regex"), prefix_space: flag("add_prefix_space") },
        "Digits" if value["individual_digits"] == true => Step::Digits,
        "Split" if value["behavior"] == "Isolated" && value["invert"] != true => {
            value["pattern"]["Regex"].as_str().map_or(Step::Other(kind), Step::Split)
        }
        _ => Step::Other(kind),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(regex: bool) -> Value {
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex})
    }

    fn sequence(first: &Value, regex: bool) -> Value {
        json!({"type": "Sequence", "pretokenizers": [first, bytes(regex)]})
    }

    fn split(regex: &str) -> Value {
        let pattern = json!({ "Regex": regex });
        json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
    }

    #[test]
    fn known_pre_tokenizers_have_their_names_without_a_warning() {
        let digits = json!({"type": "Digits", "individual_digits": true});
        for (value, ignore_merges, name) in [
            (bytes(true), false, "gpt-2"),
            (sequence(&digits, true), false, "smollm"),
            (sequence(&split(LLAMA3), false), true, "llama-bpe"),
            (sequence(&split(LLAMA3), false), false, "smaug-bpe"),
            (sequence(&split(QWEN2), false), false, "qwen2"),
        ] {
            let right = PreTokenizer { name, warnings: Vec::new() };
            assert_eq!(recognize(&value, ignore_merges), Some(right));
        }
    }

    #[test]
    fn an_unknown_one_becomes_the_default_and_says_so() {
        let found = recognize(&sequence(&split("[a-z]+"), false), false).unwrap();
        assert_eq!((found.name, found.warnings.len()), ("default", 1));
        assert!(found.warnings[0].contains("[a-z]+"), "{found:?}");
    }

    #[test]
    fn what_llama_cpp_does_otherwise_is_a_warning() {
        let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true});
        let found = recognize(&prefixed, true).unwrap();
        assert_eq!((found.name, found.warnings.len()), ("gpt-2", 2));
    }

    #[test]
    fn text_that_is_not_split_into_bytes_has_no_name() {
        assert_eq!(recognize(&json!({"type": "Metaspace"}), false), None);
        assert_eq!(recognize(&Value::Null, false), None);
    }
}
