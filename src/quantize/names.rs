//! A model's tensors under both names: Hugging Face's and GGUF's.

use crate::arch::{ModelConfig, parameters};

/// What a tensor does in the Llama architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Embedding,
    InputNorm,
    Query,
    Key,
    Value,
    AttentionOutput,
    MlpNorm,
    Gate,
    Up,
    Down,
    FinalNorm,
    Head,
}

/// One tensor of a model.
#[derive(Clone, Debug)]
pub(super) struct NamedTensor {
    /// Name in `model.safetensors`.
    pub hugging_face: String,
    /// Name in a GGUF.
    pub gguf: String,
    /// What it does.
    pub part: Part,
    /// The layer it belongs to, for the nine that each layer has.
    pub layer: usize,
    /// `[out, in]` of a matrix, `[d]` of a norm.
    pub shape: Vec<usize>,
}

/// Names outside the layers.
const OUTER: [(Part, &str, &str); 3] = [
    (Part::Embedding, "model.embed_tokens.weight", "token_embd.weight"),
    (Part::FinalNorm, "model.norm.weight", "output_norm.weight"),
    (Part::Head, "lm_head.weight", "output.weight"),
];

/// Names inside `model.layers.N.` and `blk.N.`.
const INNER: [(Part, &str, &str); 9] = [
    (Part::InputNorm, "input_layernorm.weight", "attn_norm.weight"),
    (Part::Query, "self_attn.q_proj.weight", "attn_q.weight"),
    (Part::Key, "self_attn.k_proj.weight", "attn_k.weight"),
    (Part::Value, "self_attn.v_proj.weight", "attn_v.weight"),
    (Part::AttentionOutput, "self_attn.o_proj.weight", "attn_output.weight"),
    (Part::MlpNorm, "post_attention_layernorm.weight", "ffn_norm.weight"),
    (Part::Gate, "mlp.gate_proj.weight", "ffn_gate.weight"),
    (Part::Up, "mlp.up_proj.weight", "ffn_up.weight"),
    (Part::Down, "mlp.down_proj.weight", "ffn_down.weight"),
];

impl NamedTensor {
    /// Matrices are quantized, norms are not.
    pub(super) fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    /// Length of a row, which blocks must divide.
    pub(super) fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    /// Heads whose rows llama.cpp wants interleaved; none for most tensors.
    pub(super) fn rotary_heads(&self, config: &ModelConfig) -> Option<usize> {
        match self.part {
            Part::Query => Some(config.num_attention_heads),
            Part::Key => Some(config.num_key_value_heads),
            _ => None,
        }
    }
}

/// Every tensor of a model, in the order of [`parameters`].
pub(super) fn tensors(config: &ModelConfig) -> Vec<NamedTensor> {
    let named = |spec: crate::arch::ParameterSpec| {
        let (part, layer, gguf) = translate(&spec.name)?;
        Some(NamedTensor { hugging_face: spec.name, gguf, part, layer, shape: spec.shape })
    };
    parameters(config).into_iter().filter_map(named).collect()
}

fn translate(name: &str) -> Option<(Part, usize, String)> {
    if let Some((part, _, gguf)) = OUTER.iter().find(|(_, outer, _)| *outer == name) {
        return Some((*part, 0, (*gguf).to_owned()));
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, _, gguf) = INNER.iter().find(|(_, inner, _)| *inner == rest)?;
    Some((*part, layer.parse().ok()?, format!("blk.{layer}.{gguf}")))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::config;
    use super::*;

    #[test]
    fn every_parameter_of_the_architecture_has_a_gguf_name() {
        for tied in [false, true] {
            let config = ModelConfig { tie_word_embeddings: tied, ..config() };
            assert_eq!(tensors(&config).len(), parameters(&config).len());
        }
    }

    #[test]
    fn a_layer_tensor_keeps_its_layer_number() {
        let down = tensors(&config()).into_iter().rfind(|tensor| tensor.part == Part::Down).unwrap();
        assert_eq!((down.gguf.as_str(), down.layer), ("blk.1.ffn_down.weight", 1));
    }
}
