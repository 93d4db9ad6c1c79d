//! What would make a step fit that does not, each change with what it is predicted to save.

use std::fmt;

use super::{BatchShape, Machine, TrainingSetup, replay};
use crate::space::{BlockFormat, LoraSettings, Optimizer, Precision};
use crate::trial::{Phase, PhasePeak};
use crate::units::Bytes;

/// Rank of the adapters that are advised: the default of `[lora]`.
const RANK: usize = 16;

/// One change of a study file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Examples are cut to so many tokens.
    Shorter(usize),
    /// Activations are made again.
    Recompute,
    /// Activations are kept in two bytes.
    Bf16,
    /// Adapters are trained instead of all weights.
    Lora,
    /// Adapters on a base in blocks of four bits.
    QuantizedBase,
    /// Moments are kept in eight bits.
    Moments8Bit,
}

/// A change and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What to change.
    pub change: Change,
    /// Bytes it saves at the highest moment.
    pub saves: Bytes,
    /// Whether one example fits then.
    pub fits: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shorter(tokens) => write!(f, "`data.max_length = {tokens}`"),
            Self::Recompute => write!(f, "`train.gradient_checkpointing = true`"),
            Self::Bf16 => write!(f, "`space.precision = \"bf16\"`"),
            Self::Lora => write!(f, "`[lora] rank = {RANK}`"),
            Self::QuantizedBase => write!(f, "`[lora] rank = {RANK}, quantize_base = \"q4_k\"`"),
            Self::Moments8Bit => write!(f, "`train.optimizer = \"adamw_8bit\"`"),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let enough = if self.fits { ", which is enough" } else { "" };
        write!(f, "{} saves {}{enough}", self.change, self.saves)
    }
}

/// The highest moment of a run.
#[must_use]
pub fn highest(peaks: &[PhasePeak]) -> PhasePeak {
    let none = PhasePeak { phase: Phase::Load, peak_bytes: Bytes(0) };
    peaks.iter().copied().max_by_key(|peak| peak.peak_bytes).unwrap_or(none)
}

/// What saves memory in a step over one example of `length` inputs, most first.
///
/// `extra` are bytes that are held besides what shapes tell.
#[must_use]
pub fn advice(
    setup: &TrainingSetup,
    machine: Machine,
    length: usize,
    budget: Bytes,
    extra: Bytes,
) -> Vec<Advice> {
    let peak = |setup: &TrainingSetup, length| {
        let batch = BatchShape::equal(1, length);
        highest(&replay(setup, machine, &batch, &batch)).peak_bytes
    };
    let now = peak(setup, length);
    let of = |change, then: Bytes| Advice {
        change,
        saves: now.saturating_sub(then),
        fits: then.0 + extra.0 <= budget.0,
    };
    let lora = LoraSettings::of_rank(RANK);
    let quantized = LoraSettings { quantize_base: Some(BlockFormat::Q4K), ..lora.clone() };
    let narrow = |precision| TrainingSetup {
        keeps_gradients: setup.keeps_gradients && !setup.precision.scales_loss(),
        precision,
        ..setup.clone()
    };
    let mut all = vec![
        of(Change::Shorter(length.div_ceil(2) + 1), peak(setup, length.div_ceil(2))),
        of(Change::Recompute, peak(&TrainingSetup { gradient_checkpointing: true, ..setup.clone() }, length)),
        of(Change::Bf16, peak(&narrow(Precision::Bf16), length)),
        of(
            Change::Moments8Bit,
            peak(&TrainingSetup { optimizer: Optimizer::AdamW8Bit, ..setup.clone() }, length),
        ),
        of(Change::QuantizedBase, peak(&TrainingSetup { lora: Some(&quantized), ..setup.clone() }, length)),
    ];
    if setup.lora.is_none() {
        all.push(of(Change::Lora, peak(&TrainingSetup { lora: Some(&lora), ..setup.clone() }, length)));
    }
    all.retain(|advice| advice.saves > Bytes(0));
    all.sort_by_key(|advice| std::cmp::Reverse(advice.saves));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::ModelConfig;

    #[test]
    fn what_is_advised_saves_what_the_replay_says_and_most_comes_first() {
        let json = r#"{"model_type":"llama","vocab_size":8192,"hidden_size":576,"intermediate_size":1536,
            "num_hidden_layers":8,"num_attention_heads":9,"num_key_value_heads":3,"tie_word_embeddings":true}"#;
        let config = ModelConfig::from_json(json).unwrap();
        let setup = TrainingSetup {
            config: &config,
            precision: Precision::F32,
            lora: None,
            file_bytes: 2,
            optimizer: Optimizer::AdamW,
            gradient_checkpointing: false,
            keeps_gradients: true,
        };
        let batch = BatchShape::equal(1, 512);
        let now = highest(&replay(&setup, Machine::Card, &batch, &batch)).peak_bytes;
        let found = advice(&setup, Machine::Card, 512, Bytes(now.0 * 6 / 10), Bytes(0));
        assert!(found.is_sorted_by_key(|advice| std::cmp::Reverse(advice.saves)), "{found:?}");
        let of = |change| found.iter().find(|advice| advice.change == change).unwrap();
        assert!(of(Change::QuantizedBase).saves > of(Change::Lora).saves && of(Change::Lora).fits);
        assert!(!of(Change::Moments8Bit).to_string().is_empty());
        for advice in &found {
            assert!(!advice.fits || now.0 - advice.saves.0 <= now.0 * 6 / 10, "{advice}");
        }
    }
}
