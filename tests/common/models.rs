//! One small model of each family.

use candle_core::DType;
use diapason::arch::ModelConfig;
use diapason::space::LoraSettings;
use serde_json::{Value, json};

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

/// Leaves only targets that the model has.
pub(crate) fn fit_targets(lora: &mut LoraSettings, config: &ModelConfig) {
    let has = |target: &String| match target.as_str() {
        "qkv_proj" => config.traits.fused,
        "q_proj" | "v_proj" => !config.traits.fused,
        _ => true,
    };
    lora.targets.retain(has);
}
