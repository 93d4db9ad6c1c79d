//! The tokens of a vocabulary as GGUF lists them: one text and one kind per row of the embedding.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;

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
enum Kind {
    Normal = 1,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
}

/// Texts and kinds of all tokens, by id.
pub(super) struct Vocabulary {
    rows: Vec<(String, Kind)>,
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
        let unused = |id: usize| (format!("[PAD{id}]"), Kind::Unused);
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

    /// Id of a token by its text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        let row = self.rows.iter().position(|(own, kind)| own == text && *kind != Kind::Unused)?;
        u32::try_from(row).ok()
    }

    /// `tokenizer.ggml.tokens`.
    pub(super) fn texts(&self) -> Value {
        Value::Array(self.rows.iter().map(|(text, _)| Value::String(text.clone())).collect())
    }

    /// `tokenizer.ggml.token_type`.
    pub(super) fn kinds(&self) -> Value {
        Value::Array(self.rows.iter().map(|(_, kind)| Value::I32(*kind as i32)).collect())
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
