//! Examples of different lengths as one rectangle of inputs and targets.
//!
//! Shapes: `b` examples, `t` inputs of the longest.

use super::Example;

/// The target of a position that is not scored.
pub const IGNORED: u32 = u32::MAX;

/// One micro-batch; both tensors are `[b, t]`, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Examples (`b`).
    pub rows: usize,
    /// Inputs of the longest example (`t`).
    pub length: usize,
    /// `[b, t]`: all tokens of an example but its last, then zeros.
    pub input_ids: Vec<u32>,
    /// `[b, t]`: the token that follows each input; [`IGNORED`] in the prompt and in the padding.
    pub targets: Vec<u32>,
    /// Inputs that are not padding.
    pub tokens: usize,
    /// Targets that are scored.
    pub scored_tokens: usize,
}

/// Pads examples to the longest, behind their own tokens.
///
/// A causal model does not look ahead, so padding behind needs no mask: what stands there cannot
/// reach a scored position.
#[must_use]
pub fn collate(examples: &[&Example]) -> Batch {
    let inputs = |example: &Example| example.input_ids.len().saturating_sub(1);
    let length = examples.iter().map(|example| inputs(example)).max().unwrap_or(0);
    let mut input_ids = vec![0; examples.len() * length];
    let mut targets = vec![IGNORED; examples.len() * length];
    let mut scored_tokens = 0;
    for (row, example) in examples.iter().enumerate() {
        let (count, ids) = (inputs(example), &example.input_ids);
        let start = row * length;
        input_ids[start..start + count].copy_from_slice(&ids[..count]);
        // Position i predicts token i + 1; the first token behind the prompt is number `prompt_tokens`.
        let first = example.prompt_tokens.saturating_sub(1).min(count);
        targets[start + first..start + count].copy_from_slice(&ids[ids.len() - (count - first)..]);
        scored_tokens += count - first;
    }
    let tokens = examples.iter().map(|example| inputs(example)).sum();
    Batch { rows: examples.len(), length, input_ids, targets, tokens, scored_tokens }
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
    fn examples_are_padded_and_only_the_completion_is_scored() {
        let batch = collate(&[&example(&[1, 2, 3, 4], 2), &example(&[5, 6, 7], 0)]);
        let expected = Batch {
            rows: 2,
            length: 3,
            input_ids: vec![1, 2, 3, 5, 6, 0],
            targets: vec![IGNORED, 3, 4, 6, 7, IGNORED],
            tokens: 5,
            scored_tokens: 4,
        };
        assert_eq!(batch, expected);
    }

    #[test]
    fn an_empty_batch_and_an_example_without_targets_are_harmless() {
        assert_eq!(collate(&[]).tokens, 0);
        let batch = collate(&[&example(&[], 0), &example(&[1], 0), &example(&[1, 2], 9)]);
        assert_eq!((batch.length, batch.tokens, batch.scored_tokens), (1, 1, 0));
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
            for (row, example) in examples.iter().enumerate() {
                let range = row * batch.length..(row + 1) * batch.length;
                let scored: Vec<u32> =
                    batch.targets[range.clone()].iter().copied().filter(|id| *id != IGNORED).collect();
                prop_assert_eq!(&scored[..], &example.input_ids[example.prompt_tokens.max(1)..]);
                for (input, target) in batch.input_ids[range.clone()].iter().zip(&batch.targets[range]) {
                    prop_assert!(*target == IGNORED || *target == input + 1);
                }
            }
            let scored = batch.targets.iter().filter(|id| **id != IGNORED).count();
            prop_assert_eq!(scored, batch.scored_tokens);
            prop_assert_eq!(batch.tokens, batch.input_ids.iter().filter(|id| **id != 0).count());
        }
    }
}
