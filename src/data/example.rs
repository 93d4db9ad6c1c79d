//! From a cleaned row to token numbers.

use super::{DataError, Row, Tokenizer};
use crate::arch::ModelConfig;

/// One sequence of tokens to learn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Token numbers, prompt first.
    pub input_ids: Vec<u32>,
    /// So many of the first tokens are given and not scored.
    pub prompt_tokens: usize,
}

/// Tokens round every text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Put before a text. None where the model uses one token for both: the end of the text
    /// before would be learnt as the start of this one, yet nothing stands before it.
    pub(super) before: Option<u32>,
    /// Put behind a text, so that the model learns to stop.
    pub(super) after: Option<u32>,
}

impl Frame {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let after = config.eos_token_id;
        Self { before: config.bos_token_id.filter(|id| Some(*id) != after), after }
    }

    /// The tokens of a plain text in windows of `max_length`, none shorter than two tokens.
    pub(super) fn windows(
        self,
        text: &str,
        max_length: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Example>, DataError> {
        let ids: Vec<u32> =
            self.before.into_iter().chain(tokenizer.encode(text)?).chain(self.after).collect();
        Ok(windows(&ids, max_length))
    }

    /// The tokens of prompt, separator and completion.
    ///
    /// Prompt and completion are tokenized apart: where generation starts, the prompt stands
    /// alone, and no token may straddle the border between what is given and what is scored.
    pub(super) fn pair(
        self,
        row: &Row,
        separator: &str,
        tokenizer: &Tokenizer,
    ) -> Result<Example, DataError> {
        let prompt = row.prompt.as_deref().unwrap_or_default();
        let mut input_ids: Vec<u32> = self.before.into_iter().collect();
        input_ids.extend(tokenizer.encode(&format!("{prompt}{separator}"))?);
        let prompt_tokens = input_ids.len();
        input_ids.extend(tokenizer.encode(&row.completion)?);
        input_ids.extend(self.after);
        Ok(Example { input_ids, prompt_tokens })
    }
}

/// Tokens one window after another, each of `max_length` but the last.
///
/// A last window of one token is left out: it has nothing to predict.
pub(super) fn windows(ids: &[u32], max_length: usize) -> Vec<Example> {
    let window = |ids: &[u32]| Example { input_ids: ids.to_vec(), prompt_tokens: 0 };
    ids.chunks(max_length).filter(|ids| ids.len() >= 2).map(window).collect()
}

impl Example {
    /// Whether a target is scored: a token behind the prompt that has one before it.
    pub(super) fn teaches(&self) -> bool {
        self.input_ids.len() > self.prompt_tokens.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, pair, tokenizer};
    use super::*;

    fn frame(bos: Option<u32>, eos: Option<u32>) -> Frame {
        Frame::of(&ModelConfig { bos_token_id: bos, eos_token_id: eos, ..config(300, 64) })
    }

    #[test]
    fn a_pair_is_prompt_separator_completion_and_end() {
        let tokenizer = tokenizer();
        let example = frame(Some(0), Some(0)).pair(&pair("xy", "zq"), "\n", &tokenizer).unwrap();
        let prompt = tokenizer.encode("xy\n").unwrap();
        let expected = [prompt.clone(), tokenizer.encode("zq").unwrap(), vec![0]].concat();
        assert_eq!(example, Example { input_ids: expected, prompt_tokens: prompt.len() });
    }

    #[test]
    fn the_start_token_stands_first_only_where_it_is_not_the_end_token() {
        let tokenizer = tokenizer();
        let ids = |bos, eos| frame(bos, eos).pair(&pair("x", "z"), "", &tokenizer).unwrap();
        let bare = ids(None, None);
        assert_eq!(ids(Some(1), Some(2)).input_ids, [&[1], &bare.input_ids[..], &[2]].concat());
        assert_eq!(ids(Some(1), Some(2)).prompt_tokens, bare.prompt_tokens + 1);
        assert_eq!(ids(Some(2), Some(2)).input_ids, [&bare.input_ids[..], &[2]].concat());
        assert_eq!(ids(Some(1), None).input_ids, [&[1], &bare.input_ids[..]].concat());
    }

    #[test]
    fn a_text_is_cut_into_windows_that_lose_only_a_single_last_token() {
        let tokenizer = tokenizer();
        let text = "the cat and the dog; zyx wvu";
        let whole = tokenizer.encode(text).unwrap();
        for length in 2..12 {
            let windows = frame(None, Some(0)).windows(text, length, &tokenizer).unwrap();
            let joined: Vec<u32> = windows.iter().flat_map(|window| window.input_ids.clone()).collect();
            let mut expected = [&whole[..], &[0]].concat();
            if expected.len() % length == 1 {
                expected.pop();
            }
            assert_eq!(joined, expected, "length {length}");
            assert!(
                windows.iter().all(|w| (2..=length).contains(&w.input_ids.len()) && w.prompt_tokens == 0)
            );
        }
    }
}
