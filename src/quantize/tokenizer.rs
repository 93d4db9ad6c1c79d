//! A byte-level BPE tokenizer as GGUF keys, from `tokenizer.json` and `tokenizer_config.json`.
//!
//! llama.cpp tokenizes by what stands here. Tokenizers of other kinds are refused: a file that
//! loads and tokenizes wrongly is worse than none.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::QuantizeError;
use super::model_keys::Entries;
use super::pre_tokenizer::recognize;
use super::tokenizer_settings::{self, Settings, TEMPLATE, id_key};
use super::vocabulary::{AddedToken, KINDS, TOKENS, Vocabulary};
use crate::arch::ModelConfig;

/// Key of the kind of a tokenizer.
pub(super) const MODEL: &str = "tokenizer.ggml.model";
/// The kind that merges bytes.
pub(super) const BYTE_LEVEL: &str = "gpt2";
/// Key of how text is split before its bytes are merged.
pub(super) const PRE: &str = "tokenizer.ggml.pre";
/// Key of the merges, each two parts with a space between.
pub(super) const MERGES: &str = "tokenizer.ggml.merges";

/// The keys of a tokenizer and what llama.cpp will do otherwise than it.
pub(super) struct TokenizerKeys {
    pub entries: Entries,
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct TokenizerFile {
    model: BpeModel,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Json,
    #[serde(default)]
    pre_tokenizer: Json,
    #[serde(default)]
    post_processor: Json,
}

#[derive(Deserialize)]
struct BpeModel {
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
    #[serde(default)]
    ignore_merges: bool,
}

/// Old files join the two parts by a space, new ones list them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Joined(String),
    Pair(String, String),
}

/// What is wrong with a tokenizer, and what would be right.
type Wrong = (String, &'static str);

const NEEDS_BPE: &str = "only byte-level BPE can be written (GPT-2, SmolLM2, Llama 3, Qwen 2)";

/// Reads the tokenizer of a model folder.
///
/// # Errors
/// Missing or broken files, another kind of tokenizer, more tokens than the embedding has rows.
pub(super) fn read(folder: &Path, config: &ModelConfig) -> Result<TokenizerKeys, QuantizeError> {
    let path = folder.join("tokenizer.json");
    let text = fs::read_to_string(&path).map_err(QuantizeError::io(&path))?;
    let wrong = |(message, hint): Wrong| QuantizeError::Tokenizer { path: path.clone(), message, hint };
    let file = parse(&text).map_err(wrong)?;
    let settings = tokenizer_settings::read(folder)?;
    keys(&file, &settings, config).map_err(wrong)
}

fn parse(text: &str) -> Result<TokenizerFile, Wrong> {
    let broken = |error: serde_json::Error| {
        (format!("not a tokenizer: {error}"), "save the tokenizer again with `save_pretrained`")
    };
    let json: Json = serde_json::from_str(text).map_err(broken)?;
    // Files from before the key existed are BPE when they list merges.
    let kind = json["model"]["type"]
        .as_str()
        .unwrap_or_else(|| if json["model"]["merges"].is_array() { "BPE" } else { "(none named)" });
    if kind != "BPE" {
        return Err((format!("the tokenizer is of type `{kind}`"), NEEDS_BPE));
    }
    serde_json::from_value(json).map_err(broken)
}

fn keys(file: &TokenizerFile, settings: &Settings, config: &ModelConfig) -> Result<TokenizerKeys, Wrong> {
    let not_bytes = || ("the BPE tokenizer does not split text into bytes".to_owned(), NEEDS_BPE);
    let pre = recognize(&file.pre_tokenizer, file.model.ignore_merges).ok_or_else(not_bytes)?;
    let past = |(text, id): (String, u32)| {
        let message = format!("token `{text}` has id {id}, but the embedding has {} rows", config.vocab_size);
        (message, "the model folder must hold the tokenizer the model was trained with")
    };
    let vocabulary =
        Vocabulary::new(&file.model.vocab, &file.added_tokens, config.vocab_size).map_err(past)?;
    let text = |text: &str| Value::String(text.to_owned());
    let entries = vec![
        (MODEL, text(BYTE_LEVEL)),
        (PRE, text(pre.name)),
        (TOKENS, vocabulary.texts()),
        (KINDS, vocabulary.kinds()),
        (MERGES, merges(&file.model.merges)?),
    ];
    let mut warnings = pre.warnings;
    warnings.extend(differences(file));
    let mut entries: Entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let special = settings.special_tokens(&vocabulary, config);
    if !special.iter().any(|(key, _)| *key == id_key("eos")) {
        warnings
            .push("tokenizer: no token that ends a text is named, so llama.cpp will guess one".to_owned());
    }
    entries.extend(special);
    let switches = settings.switches(&file.post_processor);
    entries.extend(switches.map(|(key, value)| (key.to_owned(), value)));
    if let Some(template) = settings.template() {
        entries.push((TEMPLATE.to_owned(), text(template)));
    }
    Ok(TokenizerKeys { entries, warnings })
}

fn merges(merges: &[Merge]) -> Result<Value, Wrong> {
    let joined = |merge: &Merge| match merge {
        Merge::Joined(text) => text.clone(),
        Merge::Pair(left, right) => format!("{left} {right}"),
    };
    let checked = |text: String| match text.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok(Value::String(text))
        }
        _ => Err((format!("merge `{text}` is not two parts of byte-level text"), NEEDS_BPE)),
    };
    merges.iter().map(|merge| checked(joined(merge))).collect::<Result<_, _>>().map(Value::Array)
}

/// What the tokenizer does and llama.cpp does not.
fn differences(file: &TokenizerFile) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(kind) = file.normalizer["type"].as_str() {
        warnings.push(format!(
            "tokenizer: llama.cpp does not apply its normalizer `{kind}`: normalize prompts before"
        ));
    }
    let stripping = |token: &&AddedToken| token.lstrip || token.rstrip || token.single_word;
    if let Some(token) = file.added_tokens.iter().find(stripping) {
        warnings.push(format!(
            "tokenizer: token `{}` strips spaces or stands for whole words only, which llama.cpp does not do",
            token.content
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::config;
    use super::*;

    fn tokenizer() -> Json {
        json!({
            "added_tokens": [{"id": 0, "content": "<|endoftext|>", "special": true}],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
            "post_processor": null,
            "model": {"type": "BPE", "vocab": {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}, "merges": ["a b"]},
        })
    }

    fn value(tokenizer: &Json, settings: Json, key: &str) -> Option<String> {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let keys = keys(&parse(&tokenizer.to_string()).unwrap(), &settings, &config()).unwrap();
        keys.entries.iter().find(|(own, _)| own == key).map(|(_, value)| format!("{value:?}"))
    }

    #[test]
    fn merges_are_the_same_as_texts_and_as_pairs() {
        let mut pairs = tokenizer();
        pairs["model"]["merges"] = json!([["a", "b"]]);
        let key = "tokenizer.ggml.merges";
        assert_eq!(value(&tokenizer(), json!({}), key), value(&pairs, json!({}), key));
        assert_eq!(value(&pairs, json!({}), key).unwrap(), r#"Array([String("a b")])"#);
    }

    #[test]
    fn the_settings_name_special_tokens_before_the_configuration_does() {
        let key = "tokenizer.ggml.eos_token_id";
        assert_eq!(value(&tokenizer(), json!({"eos_token": {"content": "ab"}}), key).unwrap(), "U32(3)");
        assert_eq!(value(&tokenizer(), json!({"eos_token": "unheard of"}), key).unwrap(), "U32(0)");
        assert_eq!(value(&tokenizer(), json!({"eos_token": null}), key).unwrap(), "U32(0)");
    }

    #[test]
    fn a_first_token_is_added_where_the_tokenizer_adds_it() {
        let key = "tokenizer.ggml.add_bos_token";
        let mut adding = tokenizer();
        let single = json!([{"SpecialToken": {"id": "<|endoftext|>"}}, {"Sequence": {"id": "A"}}]);
        let template = json!({"type": "TemplateProcessing", "single": single});
        adding["post_processor"] =
            json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]});
        assert_eq!(value(&tokenizer(), json!({}), key).unwrap(), "Bool(false)");
        assert_eq!(value(&adding, json!({}), key).unwrap(), "Bool(true)");
        assert_eq!(value(&adding, json!({"add_bos_token": false}), key).unwrap(), "Bool(false)");
        assert_eq!(value(&adding, json!({}), "tokenizer.ggml.add_eos_token").unwrap(), "Bool(false)");
    }

    #[test]
    fn the_default_chat_template_is_kept() {
        let key = "tokenizer.chat_template";
        let several = json!({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]});
        assert_eq!(value(&tokenizer(), several, key).unwrap(), r#"String("d")"#);
        assert_eq!(value(&tokenizer(), json!({"chat_template": "t"}), key).unwrap(), r#"String("t")"#);
        assert_eq!(value(&tokenizer(), json!({}), key), None);
    }

    #[test]
    fn what_llama_cpp_does_not_do_is_a_warning() {
        let mut other = tokenizer();
        other["normalizer"] = json!({"type": "NFC"});
        other["added_tokens"][0]["lstrip"] = json!(true);
        let config = ModelConfig { eos_token_id: None, ..config() };
        let keys = keys(&parse(&other.to_string()).unwrap(), &Settings::default(), &config).unwrap();
        assert_eq!(keys.warnings.len(), 3, "{:?}", keys.warnings);
    }

    #[test]
    fn a_tokenizer_of_another_kind_is_named_with_what_is_right() {
        let mut unigram = tokenizer();
        unigram["model"] = json!({"type": "Unigram", "vocab": [["a", 0.5]]});
        let mut sentence_piece = tokenizer();
        sentence_piece["pre_tokenizer"] = json!({"type": "Metaspace"});
        for (wrong, word) in [(unigram, "Unigram"), (sentence_piece, "bytes")] {
            let outcome =
                parse(&wrong.to_string()).and_then(|file| keys(&file, &Settings::default(), &config()));
            let (message, hint) = outcome.err().unwrap();
            assert!(message.contains(word) && hint.contains("byte-level"), "{message} {hint}");
        }
    }
}
