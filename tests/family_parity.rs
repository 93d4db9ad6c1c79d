//! Logits of our decoder against candle-transformers' own models of other families, on the same files.
//!
//! Windows are longer than the text and scores are scaled by a head's width: its windows hold one
//! position more than Transformers', and it reads no `query_pre_attn_scalar`. Those, soft caps of the
//! scores in a trained range and rotary scaling are held to Transformers in `tests/gradients.rs`.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

#[path = "common/logits.rs"]
mod logits;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{gemma2, gemma3, mistral, phi3, qwen2, qwen3};
use diapason::arch::{ModelConfig, ParameterSpec};
use diapason::model::{self, CONFIG_FILE, Decoder, WEIGHTS_FILE};
use diapason::space::Precision;
use logits::{TOKENS, TOLERANCE, ours};
use serde::de::DeserializeOwned;

/// All keys that candle-transformers insists on.
fn config(model_type: &str, tied: bool) -> ModelConfig {
    let mut json = serde_json::json!({
        "model_type": model_type, "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 32, "rope_theta": 500.0, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied, "attention_bias": false, "sliding_window": 32,
        "use_sliding_window": false, "max_window_layers": 3, "hidden_act": "silu",
        "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": if model_type == "gemma2" { Some(20.0) } else { None },
        "final_logit_softcapping": 15.0, "rope_local_base_freq": 50.0, "sliding_window_pattern": 2,
        "partial_rotary_factor": 0.5,
    });
    if model_type == "gemma3_text" {
        // Its cache takes no values of several heads at several positions.
        json["num_key_value_heads"] = 1.into();
    }
    ModelConfig::from_json(&json.to_string()).unwrap()
}

/// Random weights so large that attention is sharp; norms and biases of different values.
fn weights(config: &ModelConfig) -> Vec<Tensor> {
    let fresh = Decoder::random(config.clone(), 11, Precision::F32, &Device::Cpu).unwrap();
    let differ = |(spec, weight): (&ParameterSpec, &Tensor)| {
        if spec.is_matrix() {
            return (weight * 10.0).unwrap();
        }
        let width = u8::try_from(spec.elements()).unwrap();
        let wave: Vec<f32> = (0..width).map(|n| 0.5 * f32::from(n).sin()).collect();
        (Tensor::from_vec(wave, spec.elements(), &Device::Cpu).unwrap() + weight).unwrap()
    };
    fresh.trainable().map(differ).collect()
}

/// The reference returns the last position alone, so a fresh one is fed every prefix.
fn check<C: DeserializeOwned>(
    model_type: &str,
    tied: bool,
    last: impl Fn(&C, VarBuilder, &Tensor) -> candle_core::Result<Tensor>,
) {
    let (folder, config) = (tempfile::tempdir().unwrap(), config(model_type, tied));
    model::write_folder(folder.path(), &config, &weights(&config), DType::F32, folder.path()).unwrap();
    let text = std::fs::read(folder.path().join(CONFIG_FILE)).unwrap();
    let theirs: C = serde_json::from_slice(&text).unwrap();
    let bytes = std::fs::read(folder.path().join(WEIGHTS_FILE)).unwrap();
    for (position, ours) in ours(folder.path()).iter().enumerate() {
        let weights = VarBuilder::from_buffered_safetensors(bytes.clone(), DType::F32, &Device::Cpu);
        let ids = Tensor::new(&TOKENS[..=position], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let logits = last(&theirs, weights.unwrap(), &ids).unwrap();
        let logits = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(ours.len(), logits.len());
        let largest = ours.iter().zip(&logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < TOLERANCE, "{model_type}, position {position}: {largest}");
        let spread = logits.iter().fold(0.0, |most: f32, logit| most.max(logit.abs()));
        assert!(spread > 1.0, "{model_type}: logits near zero would show nothing: {spread}");
    }
}

#[test]
fn mistral_has_the_logits_of_candle_transformers() {
    check("mistral", false, |config, weights, ids| mistral::Model::new(config, weights)?.forward(ids, 0));
}

#[test]
fn qwen2_has_the_logits_of_candle_transformers() {
    check("qwen2", true, |config, weights, ids| {
        qwen2::ModelForCausalLM::new(config, weights)?.forward(ids, 0)
    });
}

#[test]
fn qwen3_has_the_logits_of_candle_transformers() {
    check("qwen3", true, |config, weights, ids| {
        qwen3::ModelForCausalLM::new(config, weights)?.forward(ids, 0)
    });
}

#[test]
fn gemma_2_has_the_logits_of_candle_transformers() {
    check("gemma2", true, |config, weights, ids| gemma2::Model::new(false, config, weights)?.forward(ids, 0));
}

#[test]
fn gemma_3_has_the_logits_of_candle_transformers() {
    check("gemma3_text", true, |config, weights, ids| {
        gemma3::Model::new(false, config, weights)?.forward(ids, 0)
    });
}

#[test]
fn phi_3_has_the_logits_of_candle_transformers() {
    check("phi3", false, |config, weights, ids| phi3::Model::new(config, weights)?.forward(ids, 0));
}
