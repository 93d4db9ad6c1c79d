//! The tokenizer of a GGUF as the files that Transformers reads: the reverse of `tokenizer`.
//!
//! | `tokenizer.ggml.model` | becomes |
//! |---|---|
//! | `gpt2` | BPE over bytes, split as `tokenizer.ggml.pre` names it |
//! | `llama` | BPE over characters with bytes to fall back on, merges by the pieces' scores |
//!
//! The llama.cpp program has no other tokenizers for the families we train.

use serde_json::{Value as Json, json};

use super::QuantizeError;
use super::model_keys::Keys;
use super::pre_tokenizer::{definition, names};
use super::sentence_piece;
use super::tokenizer::{BYTE_LEVEL, MERGES, MODEL, PRE};
use super::tokenizer_settings::{KeySettings, SPACE_PREFIX};
use super::vocabulary::Vocabulary;
use crate::data::Tokenizer;

/// The kind that merges characters by the scores of pieces, as `SentencePiece` does.
const SENTENCE_PIECE: &str = "llama";

/// Builds the tokenizer that the keys of a GGUF describe, for texts of `max_positions` tokens.
///
/// # Errors
/// No tokenizer in the file, one of another kind or with a pre-tokenizer we do not know, or keys
/// that do not fit each other.
pub(super) fn tokenizer(keys: &Keys<'_>, max_positions: usize) -> Result<Tokenizer, QuantizeError> {
    let (settings, vocabulary, mut file) = match keys.text(MODEL) {
        Some(BYTE_LEVEL) => byte_level(keys)?,
        Some(SENTENCE_PIECE) => pieces(keys)?,
        Some(other) => {
            let hint = "tokenizers that can be read are gpt2 (bytes) and llama (SentencePiece)";
            return Err(keys.wrong(MODEL, format!("`{other}`"), hint));
        }
        None => {
            let hint = "without a tokenizer in it the file is of use only beside its model folder";
            return Err(keys.wrong(MODEL, "missing".to_owned(), hint));
        }
    };
    file["version"] = "1.0".into();
    file["added_tokens"] = vocabulary.to_added_tokens();
    file["post_processor"] = settings.to_post_processor(&vocabulary);
    let config = settings.to_config(&vocabulary, max_positions);
    let text = |json: &Json| format!("{json:#}\n").into_bytes();
    let files = vec![("tokenizer.json", text(&file)), ("tokenizer_config.json", text(&config))];
    Ok(Tokenizer::from_files(keys.path, files)?)
}

type Parts = (KeySettings, Vocabulary, Json);

fn byte_level(keys: &Keys<'_>) -> Result<Parts, QuantizeError> {
    let name = keys.text(PRE);
    let unknown = || {
        let found = name.map_or_else(|| "missing".to_owned(), |name| format!("`{name}`"));
        QuantizeError::PreTokenizer { path: keys.path.to_owned(), found, known: names().join(", ") }
    };
    let definition = name.and_then(definition).ok_or_else(unknown)?;
    let settings = KeySettings::read(keys, definition.adds_first)?;
    let vocabulary = Vocabulary::from_keys(keys, &settings.ids())?;
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let model = json!({
        "type": "BPE",
        "vocab": vocabulary.to_vocab(),
        "merges": pairs(keys)?,
        "ignore_merges": definition.ignore_merges,
    });
    let file = json!({"pre_tokenizer": definition.pre_tokenizer, "decoder": bytes, "model": model});
    Ok((settings, vocabulary, file))
}

/// Merges as the two parts they join.
fn pairs(keys: &Keys<'_>) -> Result<Json, QuantizeError> {
    let pair = |merge: String| match merge.split_once(' ') {
        Some((left, right)) => Ok(json!([left, right])),
        None => Err(keys.wrong(
            MERGES,
            format!("`{merge}` somewhere"),
            "a merge is two parts with a space between",
        )),
    };
    keys.texts(MERGES)?.into_iter().map(pair).collect()
}

fn pieces(keys: &Keys<'_>) -> Result<Parts, QuantizeError> {
    let settings = KeySettings::read(keys, true)?;
    let vocabulary = Vocabulary::from_keys(keys, &settings.ids())?;
    let scores = keys.floats(sentence_piece::SCORES)?;
    keys.same_length(sentence_piece::SCORES, scores.len(), vocabulary.len())?;
    let prefix = keys.switch(SPACE_PREFIX)?.unwrap_or(true);
    let unknown = settings.token("unk_token", &vocabulary).map(|(_, text)| text);
    let file = sentence_piece::file(&vocabulary, &scores, unknown, prefix);
    Ok((settings, vocabulary, file))
}
