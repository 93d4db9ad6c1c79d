//! Text to token numbers and back, as Hugging Face's `tokenizers` does it.

use std::fs;
use std::path::Path;

use super::DataError;
use crate::arch::ModelConfig;
use crate::files::write_bytes;

const TOKENIZER_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// `tokenizer.json` and what Transformers reads beside it; a chat template must outlive fine-tuning.
pub const TOKENIZER_FILES: [&str; 5] =
    [TOKENIZER_FILE, CONFIG_FILE, "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"];

/// A tokenizer of the Hugging Face `tokenizers` format.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// `tokenizer.json` and its companions as they were found, by name.
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Tokenizer {
    /// Reads the `tokenizer.json` of a model's folder.
    ///
    /// Truncation and padding that were saved in it are switched off: they would cut texts unseen.
    ///
    /// # Errors
    /// The file is missing or not a tokenizer.
    pub fn from_folder(folder: &Path) -> Result<Self, DataError> {
        let file = folder.join(TOKENIZER_FILE);
        let bytes = fs::read(&file).map_err(|error| DataError::TokenizerFile {
            file: file.clone(),
            problem: format!("cannot read the tokenizer: {error}"),
            hint: "a model's folder needs `tokenizer.json`; Transformers' `save_pretrained` writes it",
        })?;
        let mut files = vec![(TOKENIZER_FILE, bytes)];
        for name in &TOKENIZER_FILES[1..] {
            let file = folder.join(name);
            if file.is_file() {
                files.push((name, fs::read(&file).map_err(DataError::file("read", &file))?));
            }
        }
        Self::from_files(&file, files)
    }

    /// The tokenizer of a `tokenizer.json` and its companions, by name, that `file` gave.
    ///
    /// # Errors
    /// The first of them is not a tokenizer.
    pub fn from_files(file: &Path, files: Vec<(&'static str, Vec<u8>)>) -> Result<Self, DataError> {
        let json = files.first().map_or(&[][..], |(_, bytes)| bytes);
        let inner = tokenizers::Tokenizer::from_bytes(json).and_then(|mut inner| {
            inner.with_truncation(None)?.with_padding(None);
            Ok(inner)
        });
        let wrong = |error| DataError::TokenizerFile {
            file: file.to_owned(),
            problem: format!("not a tokenizer: {error}"),
            hint: "it may be cut short; copy or download it again",
        };
        Ok(Self { inner: inner.map_err(wrong)?, files })
    }

    /// A tokenizer made here, with the text of its `tokenizer_config.json`.
    pub(super) fn new(inner: tokenizers::Tokenizer, config: &str) -> Result<Self, DataError> {
        let json = inner.to_string(true).map_err(refusal("be written"))?;
        let files = vec![(TOKENIZER_FILE, json.into_bytes()), (CONFIG_FILE, config.into())];
        Ok(Self { inner, files })
    }

    /// Writes the tokenizer so that Transformers reads it: as it was found, or as it was trained.
    ///
    /// # Errors
    /// The folder cannot be made or a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), DataError> {
        for (name, bytes) in &self.files {
            let file = folder.join(name);
            write_bytes(&file, bytes).map_err(DataError::file("write", &file))?;
        }
        Ok(())
    }

    /// The tokens of a text; none is added, but a special token written in the text is one.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let encoding = self.inner.encode_fast(text, false).map_err(refusal("encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of a whole text as Transformers makes them: first and last tokens that the
    /// tokenizer adds of its own accord are among them.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let encoding = self.inner.encode_fast(text, true).map_err(refusal("encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens; special tokens are left out.
    ///
    /// # Errors
    /// The tokenizer refuses the tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        self.inner.decode(ids, true).map_err(refusal("decode"))
    }

    /// Rows an embedding needs: the highest token number, added tokens included, plus one.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        let vocabulary = self.inner.get_vocab(true);
        vocabulary.into_values().max().map_or(0, |highest| highest as usize + 1)
    }

    /// The number of a token by its exact name.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Makes sure that the model has an embedding for every token that may occur.
    ///
    /// # Errors
    /// A token of the tokenizer, or one that the configuration names, is beyond the vocabulary.
    pub fn check_against(&self, config: &ModelConfig) -> Result<(), DataError> {
        let vocab_size = config.vocab_size;
        let highest = self.vocab_size().checked_sub(1);
        for (what, id) in [
            ("its highest token", highest),
            ("the model's `bos_token_id`", config.bos_token_id.map(|id| id as usize)),
            ("the model's `eos_token_id`", config.eos_token_id.map(|id| id as usize)),
        ] {
            if let Some(id) = id.filter(|id| *id >= vocab_size) {
                return Err(DataError::TokenizerMismatch { what, id, vocab_size });
            }
        }
        Ok(())
    }

    /// The bytes of `tokenizer.json`, for the data set's digest.
    pub(super) fn bytes(&self) -> &[u8] {
        self.files.first().map_or(&[], |(_, bytes)| bytes)
    }
}

pub(super) fn refusal(action: &'static str) -> impl FnOnce(tokenizers::Error) -> DataError {
    move |error| DataError::Tokenizer { action, problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, tokenizer, write_file};
    use super::*;

    #[test]
    fn a_saved_tokenizer_is_read_back_the_same_with_its_companions() {
        let (folder, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = tokenizer();
        first.save(folder.path()).unwrap();
        write_file(folder.path(), "chat_template.jinja", b"{{ messages }}");
        let second = Tokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(second.bytes(), first.bytes());
        assert_eq!(second.encode("the cat; ü").unwrap(), first.encode("the cat; ü").unwrap());
        second.save(again.path()).unwrap();
        for name in [TOKENIZER_FILE, CONFIG_FILE, "chat_template.jinja"] {
            let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
            assert_eq!(read(folder.path()), read(again.path()), "{name}");
        }
    }

    #[test]
    fn truncation_that_was_saved_with_a_tokenizer_does_not_cut_texts() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = tokenizer();
        let truncation = tokenizers::TruncationParams { max_length: 2, ..Default::default() };
        first.inner.with_truncation(Some(truncation)).unwrap();
        write_file(folder.path(), TOKENIZER_FILE, first.inner.to_string(false).unwrap().as_bytes());
        let read = Tokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(read.encode("xyzzy").unwrap().len(), 5);
    }

    #[test]
    fn a_missing_and_a_broken_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("tokenizer.json: cannot read") && error.contains("save_pretrained"),
            "{error}"
        );
        write_file(folder.path(), TOKENIZER_FILE, b"{\"version\": ");
        let error = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: not a tokenizer"), "{error}");
    }

    #[test]
    fn a_tokenizer_larger_than_the_model_does_not_match_it() {
        let tokenizer = tokenizer();
        let fitting = config(tokenizer.vocab_size(), 64);
        tokenizer.check_against(&fitting).unwrap();
        for wrong in [
            config(tokenizer.vocab_size() - 1, 64),
            ModelConfig { eos_token_id: Some(300), ..fitting.clone() },
            ModelConfig { bos_token_id: Some(300), ..fitting },
        ] {
            let error = tokenizer.check_against(&wrong).unwrap_err().to_string();
            assert!(error.contains("tokenizer does not match the model"), "{error}");
        }
    }
}
