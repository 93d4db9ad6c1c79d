//! Names and shapes of a model's weights, in Hugging Face's naming.

use super::ModelConfig;

/// One weight tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Name in `model.safetensors`.
    pub name: String,
    /// `[out, in]` of a matrix, `[d]` of a norm.
    pub shape: Vec<usize>,
}

impl ParameterSpec {
    fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec() }
    }

    /// Number of values.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it is a matrix: those are decayed and quantized, norms are not.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }
}

/// Every weight of a model: embedding, nine per layer, final norm, and the head unless it is tied.
#[must_use]
pub fn parameters(config: &ModelConfig) -> Vec<ParameterSpec> {
    let (d, f) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (config.query_width(), config.key_value_width());
    let mut specs = vec![ParameterSpec::new("model.embed_tokens.weight", &[config.vocab_size, d])];
    for layer in 0..config.num_hidden_layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        specs.extend([
            ParameterSpec::new(name("input_layernorm"), &[d]),
            ParameterSpec::new(name("self_attn.q_proj"), &[q, d]),
            ParameterSpec::new(name("self_attn.k_proj"), &[kv, d]),
            ParameterSpec::new(name("self_attn.v_proj"), &[kv, d]),
            ParameterSpec::new(name("self_attn.o_proj"), &[d, q]),
            ParameterSpec::new(name("post_attention_layernorm"), &[d]),
            ParameterSpec::new(name("mlp.gate_proj"), &[f, d]),
            ParameterSpec::new(name("mlp.up_proj"), &[f, d]),
            ParameterSpec::new(name("mlp.down_proj"), &[d, f]),
        ]);
    }
    specs.push(ParameterSpec::new("model.norm.weight", &[d]));
    if !config.tie_word_embeddings {
        specs.push(ParameterSpec::new("lm_head.weight", &[config.vocab_size, d]));
    }
    specs
}

/// Number of trainable values.
#[must_use]
pub fn parameter_count(config: &ModelConfig) -> u64 {
    parameters(config).iter().map(|spec| spec.elements() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SmolLM2-135M has 134,515,008 parameters by its model card's safetensors index.
    #[test]
    fn the_count_of_a_published_model_is_right() {
        let json = r#"{"model_type":"llama","vocab_size":49152,"hidden_size":576,"intermediate_size":1536,
            "num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"tie_word_embeddings":true}"#;
        assert_eq!(parameter_count(&ModelConfig::from_json(json).unwrap()), 134_515_008);
    }
}
