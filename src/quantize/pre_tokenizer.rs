//! Which of llama.cpp's ways to split text a `tokenizer.json` means, and back.
//!
//! llama.cpp does not read the regular expressions of a tokenizer: it knows them by name, in
//! `tokenizer.ggml.pre`. A wrong name loads, and then tokenizes wrongly.
//!
//! Source: `llama_vocab::impl::load` and `llm_tokenizer_bpe` in llama.cpp's `src/llama-vocab.cpp`.

use serde_json::{Value, json};

/// Up to three digits together.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Each digit alone.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-2's; `ByteLevel` has it within it.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    Digits,
    Split(&'a str),
    Bytes { regex: bool },
    Other(&'a str),
}

/// One of llama.cpp's ways to split text.
struct Known {
    name: &'static str,
    /// Names for which llama.cpp does exactly the same.
    also: &'static [&'static str],
    steps: &'static [Step<'static>],
    /// A word that is a token is taken whole, whatever merges would make of it.
    ignore_merges: bool,
    /// A text gets a first token where the file does not say.
    adds_first: bool,
}

const BYTES: Step<'static> = Step::Bytes { regex: false };
const GPT2_BYTES: Step<'static> = Step::Bytes { regex: true };

/// Both ways; among rows that differ in `ignore_merges` alone, both stand here.
const KNOWN: [Known; 6] = [
    Known {
        name: "gpt-2",
        also: &["olmo", "mpt", "jais", "trillion"],
        steps: &[GPT2_BYTES],
        ignore_merges: false,
        adds_first: false,
    },
    Known {
        name: "smollm",
        also: &["starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        steps: &[Step::Digits, GPT2_BYTES],
        ignore_merges: false,
        adds_first: false,
    },
    Known {
        name: "llama-bpe",
        also: &["llama3", "llama-v3", "falcon3"],
        steps: &[Step::Split(LLAMA3), BYTES],
        ignore_merges: true,
        adds_first: true,
    },
    Known {
        name: "smaug-bpe",
        also: &["dbrx"],
        steps: &[Step::Split(LLAMA3), BYTES],
        ignore_merges: false,
        adds_first: false,
    },
    Known {
        name: "qwen2",
        also: &["stablelm2", "megrez", "deepseek-r1-qwen", "hunyuan"],
        steps: &[Step::Split(QWEN2), BYTES],
        ignore_merges: false,
        adds_first: false,
    },
    Known {
        name: DEFAULT,
        also: &[],
        steps: &[
            Step::Split(r"[\p{P}\$\+<=>\^~\|]+"),
            Step::Split(GPT2),
            Step::Split(r"\p{N}+"),
            Step::Split("[0-9][0-9][0-9]"),
            BYTES,
        ],
        ignore_merges: false,
        adds_first: false,
    },
];

/// What llama.cpp does where nothing better is known.
const DEFAULT: &str = "default";

/// llama.cpp's name for a pre-tokenizer, and what it will do otherwise than the tokenizer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    pub name: &'static str,
    pub warnings: Vec<String>,
}

/// The pre-tokenizer's name; none where text is not split into bytes.
pub(super) fn recognize(pre_tokenizer: &Value, ignore_merges: bool) -> Option<PreTokenizer> {
    let mut values = Vec::new();
    flatten(pre_tokenizer, &mut values);
    let bytes = values.iter().find(|value| value["type"] == "ByteLevel")?;
    let prefix_space = flag(bytes, "add_prefix_space");
    let steps: Vec<Step<'_>> = values.into_iter().map(step).collect();
    let same = || KNOWN.iter().filter(|known| known.steps == steps);
    let known = same().find(|known| known.ignore_merges == ignore_merges).or_else(|| same().next());
    let mut warnings = Vec::new();
    if known.is_none() {
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
    // Only where the table says so does llama.cpp look a word up before merging.
    if ignore_merges && !known.is_some_and(|known| known.ignore_merges) {
        warnings.push(
            "tokenizer: `ignore_merges` is set, which llama.cpp does not do for this pre-tokenizer"
                .to_owned(),
        );
    }
    Some(PreTokenizer { name: known.map_or(DEFAULT, |known| known.name), warnings })
}

/// What stands for one of llama.cpp's names in a `tokenizer.json`.
pub(super) struct Definition {
    pub pre_tokenizer: Value,
    pub ignore_merges: bool,
    pub adds_first: bool,
}

/// The definition of a name; none where we do not know it.
pub(super) fn definition(name: &str) -> Option<Definition> {
    let known = KNOWN.iter().find(|known| known.name == name || known.also.contains(&name))?;
    let mut steps: Vec<Value> = known.steps.iter().map(|step| written(*step)).collect();
    let pre_tokenizer = match (steps.len(), steps.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            steps.extend(last);
            json!({"type": "Sequence", "pretokenizers": steps})
        }
    };
    let Known { ignore_merges, adds_first, .. } = *known;
    Some(Definition { pre_tokenizer, ignore_merges, adds_first })
}

/// Every name with a definition.
pub(super) fn names() -> Vec<&'static str> {
    KNOWN.iter().flat_map(|known| [known.name].into_iter().chain(known.also.iter().copied())).collect()
}

fn written(step: Step<'_>) -> Value {
    match step {
        Step::Digits => json!({"type": "Digits", "individual_digits": true}),
        Step::Split(regex) => {
            json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
        }
        Step::Bytes { regex } => {
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex})
        }
        Step::Other(kind) => json!({ "type": kind }),
    }
}

fn flatten<'a>(value: &'a Value, steps: &mut Vec<&'a Value>) {
    match value["pretokenizers"].as_array() {
        Some(inner) if value["type"] == "Sequence" => inner.iter().for_each(|step| flatten(step, steps)),
        _ if value["type"].is_string() => steps.push(value),
        _ => {}
    }
}

/// What a file leaves out has the default of the `tokenizers` library: true.
fn flag(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or(true)
}

fn step(value: &Value) -> Step<'_> {
    let kind = value["type"].as_str().unwrap_or_default();
    match kind {
        "ByteLevel" => Step::Bytes { regex: flag(value, "use_regex") },
        "Digits" if value["individual_digits"] == true => Step::Digits,
        "Split" if value["behavior"] == "Isolated" && value["invert"] != true => {
            value["pattern"]["Regex"].as_str().map_or(Step::Other(kind), Step::Split)
        }
        _ => Step::Other(kind),
    }
}

#[cfg(test)]
mod tests {
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
    fn the_definition_of_every_name_is_recognized_as_it() {
        for name in names() {
            let Definition { pre_tokenizer, ignore_merges, .. } = definition(name).unwrap();
            let known = KNOWN.iter().find(|known| known.name == name || known.also.contains(&name)).unwrap();
            let right = PreTokenizer { name: known.name, warnings: Vec::new() };
            assert_eq!(recognize(&pre_tokenizer, ignore_merges), Some(right), "{name}");
        }
        assert!(definition("tekken").is_none());
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
