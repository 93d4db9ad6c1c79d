//! The families of models: what each does otherwise than a plain Llama, a row an architecture.
//!
//! A row says what Hugging Face's Transformers does for the architecture, in its code and in the
//! defaults of its configuration class. Nothing outside [`crate::arch`] knows a family's name: a
//! row and a `config.json` become [`super::Traits`], and the decoder reads those. A new family is a
//! new row if all it does can be said in these columns.

use super::Activation;

/// What one architecture does.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the table")]
pub(super) struct Family {
    /// Its name under `architectures` in `config.json`.
    pub architecture: &'static str,
    /// Its name under `model_type`.
    pub model_type: &'static str,
    /// Models of it, for people.
    pub models: &'static str,
    /// What is added to the weight of a norm: the normed value is multiplied by the sum.
    pub norm_offset: f64,
    /// Whether what attention and MLP give is normed too, before it is added: four norms a layer.
    pub norms_after: bool,
    /// Whether each head of queries and keys is normed before it is rotated.
    pub head_norms: bool,
    /// Which linear layers add a bias.
    pub biases: Biases,
    /// Whether q, k and v are one matrix, and gate and up another.
    pub fused: bool,
    /// The key of the MLP's activation.
    pub activation_key: &'static str,
    /// The activation where the key is absent.
    pub activation: Activation,
    /// Whether embeddings are multiplied by √d.
    pub scaled_embedding: bool,
    /// Default of `query_pre_attn_scalar`, whose inverse root scales the scores instead of a head's
    /// width.
    pub query_scalar: Option<f64>,
    /// `attn_logit_softcapping`: scores s become c·tanh(s/c).
    pub attention_cap: Cap,
    /// `final_logit_softcapping`, the same for the logits.
    pub logit_cap: Cap,
    /// Which layers see only the last `sliding_window` positions.
    pub local: Local,
    /// Default of `sliding_window`.
    pub window: Option<usize>,
    /// Default of `rope_theta`.
    pub rope_theta: f64,
    /// Whether `partial_rotary_factor` says which share of a head is rotated.
    pub partial_rotary: bool,
    /// Default of `rope_local_base_freq`, where local layers have a base of their own.
    pub local_rope_theta: Option<f64>,
    /// Default of `num_key_value_heads`; none: as many as query heads.
    pub key_value_heads: Option<usize>,
    /// Default of `head_dim`; none: the width divided by the heads.
    pub head_dim: Option<usize>,
    /// Default of `rms_norm_eps`.
    pub rms_norm_eps: f64,
    /// Default of `max_position_embeddings`.
    pub max_positions: usize,
    /// Default of `tie_word_embeddings`.
    pub tied: bool,
}

/// Which linear layers have a bias.
#[derive(Clone, Copy, Debug)]
pub(super) enum Biases {
    /// None.
    Never,
    /// Those of queries, keys and values.
    QueryKeyValue,
    /// All of attention's where `attention_bias` says so, all of the MLP's where `mlp_bias` does.
    AsConfigured,
}

/// A soft cap.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cap {
    /// The family has none, whatever the file says.
    Never,
    /// The file says, or else this.
    Default(Option<f64>),
}

/// Which layers are local.
#[derive(Clone, Copy, Debug)]
pub(super) enum Local {
    /// None.
    Never,
    /// All, where the file names a window.
    Always,
    /// Where `use_sliding_window` is set: those from `max_window_layers` on, by default this one, or
    /// those `layer_types` names.
    WhereEnabled(usize),
    /// Those `layer_types` names, by default all but each n-th (`sliding_window_pattern`).
    AllButEach(usize),
}

/// What the others are told apart from.
const LLAMA: Family = Family {
    architecture: "LlamaForCausalLM",
    model_type: "llama",
    models: "Llama 2 and 3, SmolLM2, TinyLlama",
    norm_offset: 0.0,
    norms_after: false,
    head_norms: false,
    biases: Biases::AsConfigured,
    fused: false,
    activation_key: "hidden_act",
    activation: Activation::Silu,
    scaled_embedding: false,
    query_scalar: None,
    attention_cap: Cap::Never,
    logit_cap: Cap::Never,
    local: Local::Never,
    window: None,
    rope_theta: 10_000.0,
    partial_rotary: false,
    local_rope_theta: None,
    key_value_heads: None,
    head_dim: None,
    rms_norm_eps: 1e-6,
    max_positions: 2048,
    tied: false,
};

/// Every family that can be trained.
pub(super) const FAMILIES: [Family; 7] = [
    LLAMA,
    Family {
        architecture: "MistralForCausalLM",
        model_type: "mistral",
        models: "Mistral",
        biases: Biases::Never,
        local: Local::Always,
        window: Some(4096),
        key_value_heads: Some(8),
        max_positions: 131_072,
        ..LLAMA
    },
    Family {
        architecture: "Qwen2ForCausalLM",
        model_type: "qwen2",
        models: "Qwen2 and 2.5",
        biases: Biases::QueryKeyValue,
        local: Local::WhereEnabled(28),
        window: Some(4096),
        key_value_heads: Some(32),
        max_positions: 32_768,
        ..LLAMA
    },
    Family {
        architecture: "Qwen3ForCausalLM",
        model_type: "qwen3",
        models: "Qwen3",
        head_norms: true,
        local: Local::WhereEnabled(28),
        window: Some(4096),
        key_value_heads: Some(32),
        head_dim: Some(128),
        max_positions: 32_768,
        ..LLAMA
    },
    Family {
        architecture: "Gemma2ForCausalLM",
        model_type: "gemma2",
        models: "Gemma 2",
        attention_cap: Cap::Default(Some(50.0)),
        logit_cap: Cap::Default(Some(30.0)),
        local: Local::AllButEach(2),
        max_positions: 8192,
        ..GEMMA
    },
    Family {
        architecture: "Gemma3ForCausalLM",
        model_type: "gemma3_text",
        models: "Gemma 3, text",
        head_norms: true,
        logit_cap: Cap::Default(None),
        local: Local::AllButEach(6),
        rope_theta: 1_000_000.0,
        local_rope_theta: Some(10_000.0),
        max_positions: 131_072,
        ..GEMMA
    },
    Family {
        architecture: "Phi3ForCausalLM",
        model_type: "phi3",
        models: "Phi-3, Phi-3.5 and Phi-4-mini",
        biases: Biases::Never,
        fused: true,
        partial_rotary: true,
        local: Local::Always,
        rms_norm_eps: 1e-5,
        max_positions: 4096,
        ..LLAMA
    },
];

/// What Gemma 2 and 3 share.
const GEMMA: Family = Family {
    norm_offset: 1.0,
    norms_after: true,
    activation_key: "hidden_activation",
    activation: Activation::GeluTanh,
    scaled_embedding: true,
    query_scalar: Some(256.0),
    window: Some(4096),
    key_value_heads: Some(4),
    head_dim: Some(256),
    tied: true,
    ..LLAMA
};

/// The family of an architecture or, where none is named, of a `model_type`.
pub(super) fn find(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.architecture == name || family.model_type == name)
}

/// Every architecture with models of it, for a message.
pub(super) fn supported() -> String {
    let row = |family: &Family| format!("{} ({})", family.architecture, family.models);
    FAMILIES.iter().map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_both_of_its_names_and_no_two_share_one() {
        for family in &FAMILIES {
            for name in [family.architecture, family.model_type] {
                assert_eq!(find(name).unwrap().architecture, family.architecture);
            }
            assert!(supported().contains(family.architecture));
        }
        assert!(find("MixtralForCausalLM").is_none() && find("bert").is_none());
    }
}
