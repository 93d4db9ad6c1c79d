//! A byte-level BPE trained on a study's own text, for models made from nothing.

use tokenizers::AddedToken;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::tokenizer::refusal;
use super::{DataError, Tokenizer};

/// The token that ends a text, and number 0.
pub const END_TOKEN: &str = "<|endoftext|>";

/// The bytes and the end token.
const LEAST_VOCABULARY: usize = 256 + 1;

/// What Transformers reads beside it; the length is its way to write "no limit".
const CONFIG: &str = r#"{
  "tokenizer_class": "PreTrainedTokenizerFast",
  "bos_token": "<|endoftext|>",
  "eos_token": "<|endoftext|>",
  "clean_up_tokenization_spaces": false,
  "model_max_length": 1000000000000000019884624838656
}
"#;

impl Tokenizer {
    /// Trains a byte-level BPE; `<|endoftext|>` is its only special token, number 0.
    ///
    /// The vocabulary is smaller than `vocab_size` where the texts do not hold enough pairs.
    ///
    /// Source: GPT-2's splitting pattern and byte alphabet (Radford et al. 2019).
    ///
    /// # Errors
    /// A vocabulary too small for the 256 bytes and the end token.
    pub fn train_bpe(
        texts: impl Iterator<Item = String> + Send,
        vocab_size: usize,
    ) -> Result<Self, DataError> {
        if vocab_size < LEAST_VOCABULARY {
            return Err(DataError::VocabularyTooSmall { asked: vocab_size, least: LEAST_VOCABULARY });
        }
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .vocab_size(vocab_size)
            // A pair seen once teaches nothing about language.
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(END_TOKEN, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build()
            .into();
        let bytes = ByteLevel::new(false, true, true);
        let mut inner = tokenizers::Tokenizer::new(BPE::default());
        inner.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));
        inner.train(&mut trainer, texts).map_err(refusal("be trained"))?;
        Self::new(inner, CONFIG)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::tokenizer;
    use super::*;

    #[test]
    fn a_trained_tokenizer_knows_its_end_token_and_is_the_same_every_time() {
        let first = tokenizer();
        assert_eq!(first.token_id(END_TOKEN), Some(0));
        assert_eq!(first.encode("a<|endoftext|>").unwrap().last(), Some(&0));
        assert!((258..=300).contains(&first.vocab_size()), "{}", first.vocab_size());
        assert_eq!(first.bytes(), tokenizer().bytes());
    }

    #[test]
    fn frequent_words_become_single_tokens() {
        assert_eq!(tokenizer().encode(" the").unwrap().len(), 1);
    }

    #[test]
    fn a_vocabulary_without_room_for_the_bytes_is_refused() {
        let error = Tokenizer::train_bpe(std::iter::empty(), 256).unwrap_err().to_string();
        assert!(error.contains("256") && error.contains("257"), "{error}");
        let bytes_only = Tokenizer::train_bpe(std::iter::empty(), 257).unwrap();
        assert_eq!(bytes_only.vocab_size(), 257);
    }

    proptest! {
        #[test]
        fn any_text_survives_the_way_to_tokens_and_back(text in any::<String>()) {
            let tokenizer = tokenizer();
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }
}
