//! Mean loss over examples.

use candle_core::Result;

use super::TrainError;
use crate::data::{Example, IGNORED, collate, longest_first};
use crate::device::Rank;
use crate::model::Decoder;
use crate::trial::ExampleLosses;

/// Loss of a set of examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Negative log-likelihood in nats, summed over scored tokens.
    pub total_nats: f64,
    /// Scored tokens.
    pub tokens: u64,
}

impl Evaluation {
    /// All examples together.
    #[must_use]
    pub fn of(each: &ExampleLosses) -> Self {
        Self { total_nats: each.nats.iter().sum(), tokens: each.tokens.iter().copied().map(u64::from).sum() }
    }

    /// Mean negative log-likelihood per scored token.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "token counts stay below 2^53")]
    pub fn loss_nats(&self) -> f64 {
        self.total_nats / self.tokens.max(1) as f64
    }
}

/// Loss of `examples` under `model`, `micro_batch_size` at a time, longest first.
///
/// The result does not depend on the micro-batch beyond rounding: it is weighted by tokens.
///
/// # Errors
/// The device fails or refuses memory.
pub fn evaluate(model: &Decoder, examples: &[Example], micro_batch_size: usize) -> Result<Evaluation> {
    evaluate_watched(model, examples, micro_batch_size, &mut |_| {})
}

/// As [`evaluate`]; `watch` hears after each micro-batch how many examples it had.
///
/// # Errors
/// The device fails or refuses memory.
pub fn evaluate_watched(
    model: &Decoder,
    examples: &[Example],
    micro_batch_size: usize,
    watch: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    Ok(Evaluation::of(&evaluate_each(model, examples, micro_batch_size, watch)?))
}

/// As [`evaluate_watched`], example by example, in the order of `examples`.
///
/// # Errors
/// The device fails or refuses memory.
pub fn evaluate_each(
    model: &Decoder,
    examples: &[Example],
    micro_batch_size: usize,
    watch: &mut dyn FnMut(usize),
) -> Result<ExampleLosses> {
    evaluate_share(model, examples, (micro_batch_size, &Rank::alone()), watch)
}

/// As [`evaluate_each`] by several ranks, each of which does its share of the micro-batches. All find the same,
/// and the same as one alone.
///
/// # Errors
/// The device fails or refuses memory; another rank has ended.
pub(super) fn evaluate_together(
    model: &Decoder,
    examples: &[Example],
    (micro_batch_size, rank): (usize, &Rank),
) -> std::result::Result<ExampleLosses, TrainError> {
    let own = evaluate_share(model, examples, (micro_batch_size, rank), &mut |_| {})?;
    let numbers = own.nats.into_iter().chain(own.tokens.into_iter().map(f64::from)).collect();
    let mut nats = rank.sum(numbers)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers that fit before"
    )]
    let tokens = nats.split_off(examples.len()).into_iter().map(|tokens| tokens as u32).collect();
    Ok(ExampleLosses { nats, tokens })
}

/// What `rank` does of them; zeros stand for all others.
fn evaluate_share(
    model: &Decoder,
    examples: &[Example],
    (micro_batch_size, rank): (usize, &Rank),
    watch: &mut dyn FnMut(usize),
) -> Result<ExampleLosses> {
    let mut each = ExampleLosses { nats: vec![0.0; examples.len()], tokens: vec![0; examples.len()] };
    let order = longest_first(examples);
    let micro_batches: Vec<&[usize]> = order.chunks(micro_batch_size.max(1)).collect();
    for (_, indices) in rank.share(&micro_batches) {
        let batch = collate(&indices.iter().map(|index| &examples[*index]).collect::<Vec<_>>());
        let losses = model.losses(&batch)?;
        for (index, range) in indices.iter().zip(&batch.sequences) {
            let scored = batch.targets[range.clone()].iter().filter(|id| **id != IGNORED).count();
            each.nats[*index] = losses[range.clone()].iter().map(|loss| f64::from(*loss)).sum();
            each.tokens[*index] = u32::try_from(scored).unwrap_or(u32::MAX);
        }
        watch(indices.len());
    }
    Ok(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::ModelConfig;
    use crate::space::Precision;
    use candle_core::Device;

    fn model() -> Decoder {
        let json = r#"{"model_type":"llama","vocab_size":19,"hidden_size":16,"intermediate_size":24,
            "num_hidden_layers":1,"num_attention_heads":4}"#;
        let config = ModelConfig::from_json(json).unwrap();
        Decoder::random(config, 5, Precision::F32, &Device::Cpu).unwrap()
    }

    fn examples() -> Vec<Example> {
        let example =
            |n: u32| Example { input_ids: (0..n).map(|i| (i * 7 + n) % 19).collect(), prompt_tokens: 2 };
        (4..13).map(example).collect()
    }

    #[test]
    fn the_loss_does_not_depend_on_the_micro_batch() {
        let (model, examples) = (model(), examples());
        let one = evaluate(&model, &examples, 1).unwrap();
        let many = evaluate(&model, &examples, 5).unwrap();
        assert_eq!(one.tokens, many.tokens);
        assert!((one.loss_nats() - many.loss_nats()).abs() < 1e-6);
    }

    #[test]
    fn each_example_is_told_in_its_place_whatever_the_micro_batch() {
        let (model, examples) = (model(), examples());
        let each = evaluate_each(&model, &examples, 4, &mut |_| {}).unwrap();
        let whole = evaluate(&model, &examples, 4).unwrap();
        assert!((whole.loss_nats() - each.loss_nats()).abs() < 1e-12);
        for (index, example) in examples.iter().enumerate() {
            let alone = evaluate(&model, std::slice::from_ref(example), 1).unwrap();
            assert_eq!(alone.tokens, u64::from(each.tokens[index]));
            assert!((alone.total_nats - each.nats[index]).abs() < 1e-4, "example {index}");
        }
        // The longest stands last here and is evaluated first.
        assert!(each.tokens.is_sorted() && each.tokens[0] < each.tokens[8], "{:?}", each.tokens);
    }
}
