//! The tokens of a vocabulary as GGUF lists them: one text and one kind per row of the embedding.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::QuantizeError;
use super::model_keys::Keys;

/// Key of the texts.
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
/// Key of the kinds.
pub(super) const KINDS: &str = "tokenizer.ggml.token_type";

/// A token that was added to the vocabulary of a `tokenizer.json`.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file's format has these four switches")]
pub(super) struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub special: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub single_word: bool,
}

/// Kinds of tokens, by the numbers of `llama_token_type` in llama.cpp's `include/llama.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    /// Stands for what the vocabulary lacks.
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    /// One byte, written as `<0x0A>`, in vocabularies of characters.
    Byte = 6,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Normal, Self::Unknown, Self::Control, Self::UserDefined, Self::Unused, Self::Byte];

    fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i64 == number)
    }

    /// Whether the token is found in a text before the text is split, and left out of its decoding;
    /// none where it is a part of the vocabulary like any other.
    const fn added_as_special(self) -> Option<bool> {
        match self {
            Self::Control | Self::Unknown => Some(true),
            Self::UserDefined => Some(false),
            Self::Normal | Self::Unused | Self::Byte => None,
        }
    }
}

/// Texts and kinds of all tokens, by id.
pub(super) struct Vocabulary {
    rows: Vec<(String, Kind)>,
}

/// The text of a row without a token: no text can match it.
fn placeholder(id: usize) -> String {
    format!("[PAD{id}]")
}

impl Vocabulary {
    /// Fills `rows` rows; those without a token get a placeholder no text can match.
    ///
    /// # Errors
    /// The first token whose id lies past the last row.
    pub(super) fn new(
        vocab: &HashMap<String, u32>,
        added: &[AddedToken],
        rows: usize,
    ) -> Result<Self, (String, u32)> {
        let unused = |id: usize| (placeholder(id), Kind::Unused);
        let mut filled: Vec<(String, Kind)> = (0..rows).map(unused).collect();
        let learned = vocab.iter().map(|(text, id)| (text, *id, Kind::Normal));
        let kind = |token: &AddedToken| if token.special { Kind::Control } else { Kind::UserDefined };
        // Added tokens come last: they are often in the vocabulary too, and their kind counts.
        let added = added.iter().map(|token| (&token.content, token.id, kind(token)));
        for (text, id, kind) in learned.chain(added) {
            let row = filled.get_mut(id as usize).ok_or_else(|| (text.clone(), id))?;
            *row = (text.clone(), kind);
        }
        Ok(Self { rows: filled })
    }

    /// The vocabulary a GGUF lists. Where it lists no kinds, the `special` tokens are of control.
    ///
    /// # Errors
    /// No tokens, kinds that do not exist, or another number of them than of tokens.
    pub(super) fn from_keys(keys: &Keys<'_>, special: &[u32]) -> Result<Self, QuantizeError> {
        let texts = keys.texts(TOKENS)?;
        let kind = |id: usize| {
            let is_special = special.iter().any(|special| *special as usize == id);
            if is_special { Kind::Control } else { Kind::Normal }
        };
        let kinds = match keys.integers(KINDS)? {
            None => (0..texts.len()).map(kind).collect(),
            Some(numbers) => {
                keys.same_length(KINDS, numbers.len(), texts.len())?;
                let kind = |number: i64| {
                    let found = || keys.wrong(KINDS, format!("{number} somewhere"), "kinds are 1 to 6");
                    Kind::of(number).ok_or_else(found)
                };
                numbers.into_iter().map(kind).collect::<Result<Vec<_>, _>>()?
            }
        };
        Ok(Self { rows: texts.into_iter().zip(kinds).collect() })
    }

    /// Rows, with a token or without.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Id of a token by its text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        let row = self.rows.iter().position(|(own, kind)| own == text && *kind != Kind::Unused)?;
        u32::try_from(row).ok()
    }

    /// Text of a token by its id.
    pub(super) fn text(&self, id: u32) -> Option<&str> {
        self.rows.get(id as usize).map(|(text, _)| text.as_str())
    }

    /// Text and kind of every token by its id; rows without a token are left out.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (usize, &str, Kind)> {
        let rows = self.rows.iter().enumerate().map(|(id, (text, kind))| (id, text.as_str(), *kind));
        rows.filter(|(id, text, kind)| *kind != Kind::Unused || *text != placeholder(*id))
    }

    /// `tokenizer.ggml.tokens`.
    pub(super) fn texts(&self) -> Value {
        Value::Array(self.rows.iter().map(|(text, _)| Value::String(text.clone())).collect())
    }

    /// `tokenizer.ggml.token_type`.
    pub(super) fn kinds(&self) -> Value {
        Value::Array(self.rows.iter().map(|(_, kind)| Value::I32(*kind as i32)).collect())
    }

    /// `model.vocab` of a `tokenizer.json`.
    ///
    /// Added tokens are in it too: those that are not get the next free ids, not their own.
    pub(super) fn to_vocab(&self) -> Json {
        self.tokens().map(|(id, text, _)| (text.to_owned(), Json::from(id))).collect::<Map<_, _>>().into()
    }

    /// `added_tokens` of a `tokenizer.json`.
    pub(super) fn to_added_tokens(&self) -> Json {
        let added = self.tokens().filter_map(|(id, text, kind)| {
            let special = kind.added_as_special()?;
            Some(json!({
                "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special,
            }))
        });
        added.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(id: u32, content: &str, special: bool) -> AddedToken {
        let content = content.to_owned();
        AddedToken { id, content, special, lstrip: false, rstrip: false, single_word: false }
    }

    #[test]
    fn rows_without_a_token_are_unused_and_added_tokens_have_their_kind() {
        let vocab = HashMap::from([("a".to_owned(), 0), ("<s>".to_owned(), 1)]);
        let vocabulary =
            Vocabulary::new(&vocab, &[added(1, "<s>", true), added(2, "tool", false)], 4).unwrap();
        let kinds: Vec<Kind> = vocabulary.rows.iter().map(|(_, kind)| *kind).collect();
        assert_eq!(kinds, [Kind::Normal, Kind::Control, Kind::UserDefined, Kind::Unused]);
        assert_eq!((vocabulary.id("<s>"), vocabulary.id("[PAD3]")), (Some(1), None));
    }

    #[test]
    fn a_token_past_the_embedding_is_named() {
        let error = Vocabulary::new(&HashMap::new(), &[added(7, "<s>", true)], 4).err();
        assert_eq!(error, Some(("<s>".to_owned(), 7)));
    }
}
