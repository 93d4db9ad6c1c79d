//! Examples of different lengths as one micro-batch, one after another and without padding.
//!
//! Shapes: `n` inputs of all examples together.

use std::ops::Range;

use super::Example;

/// The target of a position that is not scored.
pub const IGNORED: u32 = u32::MAX;

/// One micro-batch of `n` inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[n]`: all tokens of each example but its last.
    pub input_ids: Vec<u32>,
    /// `[n]`: the token that follows each input; [`IGNORED`] in the prompt.
    pub targets: Vec<u32>,
    /// Where each example lies in the `n` positions; they follow one another.
    pub sequences: Vec<Range<usize>>,
    /// Targets that are scored.
    pub scored_tokens: usize,
}

impl Batch {
    /// Inputs (`n`).
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }
}

/// Puts examples one behind the other.
///
/// Attention keeps sequences apart, so nothing is padded and no position is computed in vain.
#[must_use]
pub fn collate(examples: &[&Example]) -> Batch {
    let inputs = |example: &Example| example.input_ids.len().saturating_sub(1);
    let tokens = examples.iter().map(|example| inputs(example)).sum();
    let mut input_ids = Vec::with_capacity(tokens);
    let mut targets = Vec::with_capacity(tokens);
    let mut sequences = Vec::with_capacity(examples.len());
    let mut scored_tokens = 0;
    for example in examples {
        let (count, ids, start) = (inputs(example), &example.input_ids, input_ids.len());
        input_ids.extend_from_slice(&ids[..count]);
        // Position i predicts token i + 1; the first token behind the prompt is number `prompt_tokens`.
        let first = example.prompt_tokens.saturating_sub(1).min(count);
        targets.resize(start + first, IGNORED);
        targets.extend_from_slice(&ids[ids.len() - (count - first)..]);
        sequences.push(start..start + count);
        scored_tokens += count - first;
    }
    Batch { input_ids, targets, sequences, scored_tokens }
}

/// Indices of the examples, the longest first; equals stay in order.
///
/// The worst that memory must hold comes first, so that it fails at once or not at all.
#[must_use]
pub fn longest_first(examples: &[Example]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(examples[*index].input_ids.len()));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(input_ids: &[u32], prompt_tokens: usize) -> Example {
        Example { input_ids: input_ids.to_vec(), prompt_tokens }
    }

    #[test]
    fn examples_lie_one_behind_the_other_and_only_the_completion_is_scored() {
        let batch = collate(&[&example(&[1, 2, 3, 4], 2), &example(&[5, 6, 7], 0)]);
        let expected = Batch {
            input_ids: vec![1, 2, 3, 5, 6],
            targets: vec![IGNORED, 3, 4, 6, 7],
            sequences: vec![0..3, 3..5],
            scored_tokens: 4,
        };
        assert_eq!(batch, expected);
    }

    #[test]
    fn an_empty_batch_and_an_example_without_targets_are_harmless() {
        assert_eq!(collate(&[]).tokens(), 0);
        let batch = collate(&[&example(&[], 0), &example(&[1], 0), &example(&[1, 2], 9)]);
        assert_eq!((batch.sequences, batch.scored_tokens), (vec![0..0, 0..0, 0..1], 0));
    }

    #[test]
    fn the_longest_come_first_and_equals_stay_in_order() {
        let examples = [example(&[1], 0), example(&[1, 2, 3], 0), example(&[2], 0), example(&[4, 5, 6], 0)];
        assert_eq!(longest_first(&examples), [1, 3, 0, 2]);
    }

    proptest! {
        #[test]
        fn exactly_the_completion_is_scored(
            shapes in prop::collection::vec((2_usize..20, 0_usize..20), 1..8),
        ) {
            let examples: Vec<Example> = shapes
                .iter()
                .zip(0_u32..)
                .map(|((length, prompt), row)| {
                    let ids: Vec<u32> = (0..*length).zip(1..).map(|(_, at)| row * 100 + at).collect();
                    example(&ids, *prompt.min(length))
                })
                .collect();
            let batch = collate(&examples.iter().collect::<Vec<_>>());
            for (range, example) in batch.sequences.iter().zip(&examples) {
                let targets = &batch.targets[range.clone()];
                let scored: Vec<u32> = targets.iter().copied().filter(|id| *id != IGNORED).collect();
                prop_assert_eq!(&scored[..], &example.input_ids[example.prompt_tokens.max(1)..]);
                for (input, target) in batch.input_ids[range.clone()].iter().zip(targets) {
                    prop_assert!(*target == IGNORED || *target == input + 1);
                }
            }
            let scored = batch.targets.iter().filter(|id| **id != IGNORED).count();
            prop_assert_eq!(scored, batch.scored_tokens);
            let inputs: usize = examples.iter().map(|example| example.input_ids.len() - 1).sum();
            prop_assert_eq!(batch.tokens(), inputs);
        }
    }
}
