//! The decoder as a whole: by both paths, with adapters, with recomputation, of every family.

use candle_core::{DType, Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Decoder, Gradients, mutate};
use crate::arch::ModelConfig;
use crate::data::{Batch, Example, collate};
use crate::space::{ALL_LINEAR, LoraSettings, Precision};
use crate::trial::Phase;

mod adapters;
mod families;
mod paths;
mod recomputation;

/// Adapters of rank 3 on every linear layer.
fn lora() -> LoraSettings {
    LoraSettings {
        rank: 3,
        alpha: 6.0,
        dropout: 0.0,
        targets: vec![ALL_LINEAR.to_owned()],
        rslora: false,
        quantize_base: None,
    }
}

/// Two query heads for each key head, and sizes that no vector register divides.
fn config(tied: bool) -> ModelConfig {
    let json = format!(
        r#"{{"model_type":"llama","vocab_size":37,"hidden_size":24,"intermediate_size":42,"num_hidden_layers":2,
        "num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":32,"tie_word_embeddings":{tied}}}"#
    );
    ModelConfig::from_json(&json).unwrap()
}

/// A tiny model of each family but the plain one, with all that it does otherwise.
fn families() -> Vec<ModelConfig> {
    let of = |model_type: &str, more: serde_json::Value| {
        let mut config = serde_json::json!({
            "model_type": model_type, "vocab_size": 37, "hidden_size": 24, "intermediate_size": 42,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "max_position_embeddings": 32, "sliding_window": 5, "use_sliding_window": true,
            "max_window_layers": 1, "query_pre_attn_scalar": 12,
        });
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        ModelConfig::from_json(&config.to_string()).unwrap()
    };
    let llama3 = serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 16});
    let long = serde_json::json!({"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 4.0]});
    vec![
        of("llama", serde_json::json!({"attention_bias": true, "mlp_bias": true, "rope_scaling": llama3})),
        of("mistral", serde_json::json!({})),
        of("qwen2", serde_json::json!({})),
        of("qwen3", serde_json::json!({"tie_word_embeddings": true})),
        of("gemma2", serde_json::json!({"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0})),
        of("gemma3_text", serde_json::json!({"sliding_window_pattern": 2})),
        of(
            "phi3",
            serde_json::json!({"partial_rotary_factor": 0.5, "rope_scaling": long,
            "original_max_position_embeddings": 10}),
        ),
    ]
}

/// Sequences of different lengths, one of a single position; prompts are not scored.
fn batch() -> Batch {
    let example = |length: u32, prompt_tokens| Example {
        input_ids: (0..length).map(|i| (i * i * 7 + length * 5) % 37).collect(),
        prompt_tokens,
    };
    let (long, short, one) = (example(20, 6), example(9, 1), example(2, 1));
    collate(&[&long, &short, &one])
}

/// Weights so large that slopes do not drown in the rounding of f32.
fn decoder(tied: bool, adapters: bool, precision: Precision) -> Decoder {
    decoder_of(config(tied), adapters, precision)
}

/// The same of any configuration, with norms and biases of different values.
fn decoder_of(config: ModelConfig, adapters: bool, precision: Precision) -> Decoder {
    let is_plain = config.traits.are_plain();
    let model = Decoder::random(config, 3, precision, &Device::Cpu).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for (spec, weight) in model.trainable() {
        match spec.is_matrix() {
            true => set(weight, |value| *value *= 12.0),
            false if is_plain => {}
            false => set(weight, |value| *value += rng.random_range(-0.3..0.3)),
        }
    }
    if !adapters {
        return model;
    }
    let model = model.with_adapters(&lora(), 5).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (_, weight) in model.trainable().filter(|(spec, _)| spec.name.ends_with("lora_B.weight")) {
        set(weight, |value| *value = rng.random_range(-0.2..0.2));
    }
    model
}

/// Changes every value of a weight in place.
fn set(weight: &Tensor, mut change: impl FnMut(&mut f32)) {
    let changed = mutate::<f32>(weight, |values| {
        values.iter_mut().for_each(&mut change);
        Ok(())
    });
    changed.unwrap();
}

fn silent() -> impl FnMut(Phase) -> Result<()> {
    |_| Ok(())
}

/// Sum of the losses, and the gradient of each trainable weight with its name.
type Pass = (f64, Vec<(String, Vec<f32>)>);

fn pass(model: &Decoder) -> Pass {
    let mut gradients = Gradients::zeros(model).unwrap();
    let loss = model.accumulate(&batch(), 0.25, &mut gradients, &mut silent()).unwrap();
    assert!(gradients.buffers().iter().flat_map(values).all(f32::is_finite));
    let named = |((spec, _), gradient): ((&crate::arch::ParameterSpec, _), &Tensor)| {
        (spec.name.clone(), values(gradient))
    };
    (loss, model.trainable().zip(gradients.buffers()).map(named).collect())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, as a share of the largest value of `plain`.
fn off(ours: &[f32], plain: &[f32]) -> f32 {
    assert_eq!(ours.len(), plain.len());
    let largest =
        |values: &mut dyn Iterator<Item = f32>| values.map(f32::abs).max_by(f32::total_cmp).unwrap();
    largest(&mut ours.iter().zip(plain).map(|(a, b)| a - b)) / largest(&mut plain.iter().copied())
}
