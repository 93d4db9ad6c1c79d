//! One small model of each family.

use candle_core::DType;
use diapason::arch::ModelConfig;
use diapason::space::{ALL_LINEAR, BlockFormat, LoraSettings, Optimizer, Precision};
use serde_json::{Value, json};

use crate::measured::{Setting, lora};

/// Name, configuration, number format of the file.
pub(crate) fn all() -> Vec<(&'static str, Value, DType)> {
    let sizes = |more: Value| {
        let mut config = json!({
            "vocab_size": 4096, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 5,
            "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32,
            "max_position_embeddings": 2048, "tie_word_embeddings": true,
        });
        let map = config.as_object_mut().unwrap();
        map.extend(more.as_object().unwrap().clone());
        config
    };
    vec![
        ("llama", sizes(json!({"model_type": "llama"})), DType::F32),
        (
            "mistral",
            sizes(json!({"model_type": "mistral", "tie_word_embeddings": false, "sliding_window": 48})),
            DType::BF16,
        ),
        ("qwen2", sizes(json!({"model_type": "qwen2", "vocab_size": 9000})), DType::F16),
        ("qwen3", sizes(json!({"model_type": "qwen3", "head_dim": 48})), DType::BF16),
        (
            "gemma2",
            sizes(
                json!({"model_type": "gemma2", "sliding_window": 64, "hidden_activation": "gelu_pytorch_tanh"}),
            ),
            DType::F32,
        ),
        (
            "phi3",
            sizes(
                json!({"model_type": "phi3", "tie_word_embeddings": false, "head_dim": null, "num_key_value_heads": 6}),
            ),
            DType::BF16,
        ),
    ]
}

/// The ways to train that are compared on each model.
pub(crate) fn settings(config: &ModelConfig) -> Vec<Setting> {
    let mut all = Vec::new();
    for (precision, micro_batch, length) in [
        (Precision::F32, 2, 96),
        (Precision::F32, 7, 160),
        (Precision::Bf16, 4, 128),
        (Precision::Bf16, 8, 200),
        (Precision::F16, 3, 256),
    ] {
        let full = Setting::full(precision, micro_batch, length);
        all.push(full.clone());
        all.push(Setting { recompute: true, max_grad_norm: Some(1.0), ..full.clone() });
        let adapters = lora(8, &[ALL_LINEAR], None);
        all.push(Setting { lora: Some(adapters), ..full.clone() });
        let mut few = lora(4, &["q_proj", "v_proj", "qkv_proj"], Some(BlockFormat::Q8_0));
        fit_targets(&mut few, config);
        all.push(Setting { lora: Some(few), recompute: true, ..full.clone() });
        all.push(Setting { optimizer: Optimizer::AdamW8Bit, accumulation: 2, ..full });
    }
    all
}

/// Leaves only targets that the model has.
fn fit_targets(lora: &mut LoraSettings, config: &ModelConfig) {
    let has = |target: &String| match target.as_str() {
        "qkv_proj" => config.traits.fused,
        "q_proj" | "v_proj" => !config.traits.fused,
        _ => true,
    };
    lora.targets.retain(has);
}
