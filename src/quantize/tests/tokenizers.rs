//! A tokenizer that went into a GGUF comes out of it the same.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::super::fixture::{config, folder};
use super::super::model_keys::{Entries, Keys};
use super::super::pre_tokenizer::{definition, names};
use super::super::{GgufType, QuantizeError, export, read_tokenizer, tokenizer, tokenizer_files};
use crate::data::Tokenizer;

/// What tokenizers stumble over.
const HARD: [&str; 12] = [
    "The cat sat on the mat. It's 12345 o'clock, isn't it? I'LL SAY'S",
    " a  b   c    d\t\te \u{a0}f\u{3000}g ",
    "\n\n\nlines\r\n\r\n  indented\n\tand\n",
    "1 12 123 1234 12345678901234567890 3.14 2³⁰ ½ ٣٤٥ Ⅻ",
    "Überall élèves s'élèvent naïve Ångström ﬁn e\u{301}",
    "漢字とかな交じり文。中文句子！한국어 ไทย हिन्दी",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 emoji☃️",
    "def f(x):\n    return x[::-1] if x else {\"a\": 1}  # noqa\n#include <a.h>\n$x += ~|^=>;",
    "<|endoftext|>a<|im_start|>user\n<tool> b</tool><|im_end|><|endoftext|><|endoftext|> c",
    "<|im_start <|endoftext|x|> [PAD310] <0x0A>",
    "\0\u{7f}\u{200b}\u{feff} odd",
    "",
];

/// A model folder whose `tokenizer.json` and settings `change` has edited.
fn changed(change: impl FnOnce(&mut Json, &mut Json)) -> TempDir {
    let folder = folder(&config());
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut settings =
        json!({"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>", "pad_token": "<|im_end|>"});
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    for (id, content, special) in
        [(300, "<|im_start|>", true), (301, "<|im_end|>", true), (302, "<tool>", false)]
    {
        let mut token = added[0].clone();
        token["id"] = id.into();
        token["content"] = content.into();
        token["special"] = special.into();
        added.push(token);
    }
    change(&mut tokenizer, &mut settings);
    fs::write(path, tokenizer.to_string()).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
    folder
}

/// The tokenizer of a folder, and that of the GGUF that was made of it.
fn there_and_back(folder: &TempDir) -> (Tokenizer, Tokenizer) {
    let file = folder.path().join("out.gguf");
    export(folder.path(), GgufType::F16, &file).unwrap();
    (Tokenizer::from_folder(folder.path()).unwrap(), read_tokenizer(&file).unwrap())
}

fn check_same(first: &Tokenizer, second: &Tokenizer, name: &str) {
    assert_eq!(first.vocab_size(), second.vocab_size(), "{name}");
    for text in HARD {
        let ids = first.encode(text).unwrap();
        assert_eq!(second.encode(text).unwrap(), ids, "{name}: {text:?}");
        assert_eq!(second.encode_whole(text).unwrap(), first.encode_whole(text).unwrap(), "{name}: {text:?}");
        assert_eq!(second.decode(&ids).unwrap(), first.decode(&ids).unwrap(), "{name}: {text:?}");
    }
}

#[test]
fn a_tokenizer_of_each_known_kind_gives_the_same_ids_after_a_round_trip() {
    for name in names() {
        let definition = definition(name).unwrap();
        let folder = changed(|tokenizer, _| {
            tokenizer["pre_tokenizer"] = definition.pre_tokenizer;
            tokenizer["model"]["ignore_merges"] = definition.ignore_merges.into();
        });
        let (first, second) = there_and_back(&folder);
        check_same(&first, &second, name);
    }
}

#[test]
fn first_and_last_tokens_chat_template_and_special_tokens_survive_the_round_trip() {
    let special = |text: &str| json!({"SpecialToken": {"id": text, "type_id": 0}});
    let folder = changed(|tokenizer, settings| {
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let single = [special("<|endoftext|>"), text, special("<|im_end|>")];
        tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing", "single": single, "pair": single,
            "special_tokens": {
                "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]},
                "<|im_end|>": {"id": "<|im_end|>", "ids": [301], "tokens": ["<|im_end|>"]},
            },
        });
        settings["chat_template"] = "{{ messages }}".into();
    });
    let (first, second) = there_and_back(&folder);
    check_same(&first, &second, "framed");
    let ids = second.encode_whole("a").unwrap();
    assert_eq!((ids.first(), ids.last(), ids.len()), (Some(&0), Some(&301), 3));
    let out = folder.path().join("again");
    second.save(&out).unwrap();
    let settings: Json =
        serde_json::from_str(&fs::read_to_string(out.join("tokenizer_config.json")).unwrap()).unwrap();
    for (key, right) in [
        ("bos_token", json!("<|endoftext|>")),
        ("eos_token", json!("<|im_end|>")),
        ("pad_token", json!("<|im_end|>")),
        ("unk_token", Json::Null),
        ("add_bos_token", json!(true)),
        ("chat_template", json!("{{ messages }}")),
    ] {
        assert_eq!(settings[key], right, "{key}");
    }
}

/// Keys of a GGUF, without the rest of one.
fn built(entries: Entries) -> Result<Tokenizer, QuantizeError> {
    let values: HashMap<String, Value> = entries.into_iter().collect();
    tokenizer_files::tokenizer(&Keys { path: Path::new("a.gguf"), values: &values }, 512)
}

/// A vocabulary and what the `sentencepiece` library makes of texts with it.
///
/// Made by `tests/peers/sentence_piece.py`.
#[derive(Deserialize)]
struct Reference {
    tokens: Vec<String>,
    scores: Vec<f32>,
    kinds: Vec<i32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../tests/fixtures/tokenizers/sentence_piece.json")).unwrap()
}

fn sentence_piece(reference: &Reference, more: &[(&str, Value)]) -> Entries {
    let mut entries = vec![
        ("tokenizer.ggml.model", Value::String("llama".to_owned())),
        (
            "tokenizer.ggml.tokens",
            Value::Array(reference.tokens.iter().cloned().map(Value::String).collect()),
        ),
        ("tokenizer.ggml.scores", Value::Array(reference.scores.iter().copied().map(Value::F32).collect())),
        (
            "tokenizer.ggml.token_type",
            Value::Array(reference.kinds.iter().copied().map(Value::I32).collect()),
        ),
        ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
    ];
    entries.extend(more.iter().cloned());
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[test]
fn pieces_with_scores_tokenize_as_sentence_piece_does() {
    let reference = reference();
    let tokenizer = built(sentence_piece(&reference, &[])).unwrap();
    for Case { text, ids } in &reference.cases {
        assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(&tokenizer.decode(ids).unwrap(), &text.replace('\u{2581}', " "), "{text:?}");
        assert_eq!(tokenizer.encode_whole(text).unwrap(), [&[1], &ids[..]].concat(), "{text:?}");
    }
    assert_eq!(tokenizer.encode("</s><s>").unwrap(), [2, 1]);
}

#[test]
fn a_text_gets_no_space_before_it_where_the_file_says_so() {
    let more = [
        ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
    ];
    let tokenizer = built(sentence_piece(&reference(), &more)).unwrap();
    let ids = tokenizer.encode_whole("the a").unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "the a");
    let with = built(sentence_piece(&reference(), &[])).unwrap();
    assert_eq!(with.encode(" a").unwrap().len(), tokenizer.encode(" a").unwrap().len() + 1);
}

#[test]
fn keys_that_make_no_tokenizer_are_named_with_what_would_be_right() {
    let folder = changed(|_, _| ());
    let keys = tokenizer::read(folder.path(), &config()).unwrap().entries;
    let text = |text: &str| Some(Value::String(text.to_owned()));
    let merges = Some(Value::Array(vec![Value::String("ab".to_owned())]));
    for (key, value, told) in [
        ("tokenizer.ggml.model", None, "`tokenizer.ggml.model` is missing"),
        ("tokenizer.ggml.model", text("bert"), "`bert`\n  hint: tokenizers that can be read are gpt2"),
        ("tokenizer.ggml.pre", None, "`tokenizer.ggml.pre` is missing"),
        (
            "tokenizer.ggml.pre",
            text("tekken"),
            "`tekken`, so it is not known how text is split\n  hint: known are gpt-2, olmo",
        ),
        ("tokenizer.ggml.tokens", None, "`tokenizer.ggml.tokens` is missing"),
        ("tokenizer.ggml.tokens", text("a"), "`tokenizer.ggml.tokens` is no list"),
        ("tokenizer.ggml.merges", merges, "`ab` somewhere"),
        ("tokenizer.ggml.token_type", Some(Value::Array(vec![Value::I32(1)])), "1 long for 320 tokens"),
        ("tokenizer.ggml.token_type", Some(Value::Array(vec![Value::I32(9); 320])), "9 somewhere"),
        ("tokenizer.ggml.add_bos_token", text("yes"), "true or false"),
    ] {
        let rest = keys.iter().filter(|(own, _)| own != key).cloned();
        let entries = rest.chain(value.map(|value| (key.to_owned(), value))).collect();
        let error = built(entries).unwrap_err().to_string();
        assert!(error.starts_with("a.gguf: ") && error.contains(told), "{error}");
    }
    let entries = sentence_piece(&reference(), &[]);
    let entries = entries.into_iter().filter(|(key, _)| key != "tokenizer.ggml.scores").collect();
    let error = built(entries).unwrap_err().to_string();
    assert!(error.contains("`tokenizer.ggml.scores` is missing"), "{error}");
}

#[test]
fn without_kinds_the_named_tokens_are_special() {
    let folder = changed(|_, _| ());
    let keys = tokenizer::read(folder.path(), &config()).unwrap().entries;
    let entries = keys.into_iter().filter(|(key, _)| key != "tokenizer.ggml.token_type").collect();
    let tokenizer = built(entries).unwrap();
    assert_eq!(tokenizer.encode("<|im_end|><|endoftext|>").unwrap(), [301, 0]);
    assert_eq!(tokenizer.decode(&[301, 0]).unwrap(), "");
}
