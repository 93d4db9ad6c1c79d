//! Mean loss over examples.

use candle_core::Result;

use crate::data::{Example, collate};
use crate::model::Decoder;

/// Loss of a set of examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Negative log-likelihood in nats, summed over scored tokens.
    pub total_nats: f64,
    /// Scored tokens.
    pub tokens: u64,
}

impl Evaluation {
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
    let mut order: Vec<&Example> = examples.iter().collect();
    order.sort_by_key(|example| std::cmp::Reverse(example.input_ids.len()));
    let mut sum = Evaluation::default();
    for examples in order.chunks(micro_batch_size.max(1)) {
        let batch = collate(examples);
        let losses = model.losses(&batch)?;
        sum.total_nats += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        sum.tokens += batch.scored_tokens as u64;
        watch(examples.len());
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::ModelConfig;
    use crate::space::Precision;
    use candle_core::Device;

    #[test]
    fn the_loss_does_not_depend_on_the_micro_batch() {
        let json = r#"{"model_type":"llama","vocab_size":19,"hidden_size":16,"intermediate_size":24,
            "num_hidden_layers":1,"num_attention_heads":4}"#;
        let config = ModelConfig::from_json(json).unwrap();
        let model = Decoder::random(config, 5, Precision::F32, &Device::Cpu).unwrap();
        let example =
            |n: u32| Example { input_ids: (0..n).map(|i| (i * 7 + n) % 19).collect(), prompt_tokens: 2 };
        let examples: Vec<Example> = (4..13).map(example).collect();
        let one = evaluate(&model, &examples, 1).unwrap();
        let many = evaluate(&model, &examples, 5).unwrap();
        assert_eq!(one.tokens, many.tokens);
        assert!((one.loss_nats() - many.loss_nats()).abs() < 1e-6);
    }
}
