//! A Hugging Face `config.json` of the Llama architecture.

use serde::{Deserialize, Serialize};

use crate::space::NewModel;

/// Sizes and constants of a Llama-architecture decoder.
///
/// Field names are those of Hugging Face's `LlamaConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Entries of the vocabulary (`v`).
    pub vocab_size: usize,
    /// Width of the residual stream (`d`).
    pub hidden_size: usize,
    /// Width of the gated MLP (`f`).
    pub intermediate_size: usize,
    /// Decoder layers (`l`).
    pub num_hidden_layers: usize,
    /// Query heads (`h`).
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of one head (`k`).
    pub head_dim: usize,
    /// Added to the mean square in norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Longest context the model was made for.
    pub max_position_embeddings: usize,
    /// Whether the head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Token put before a text, if the tokenizer's settings ask for it.
    pub bos_token_id: Option<u32>,
    /// Token that ends a text.
    pub eos_token_id: Option<u32>,
}

/// Why a `config.json` describes no model we can train.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the JSON of a model's configuration.
    #[error("not a model configuration: {0}\n  hint: Transformers' `save_pretrained` writes the right one")]
    Syntax(String),
    /// Another architecture.
    #[error(
        "architecture `{found}` is not supported\n  hint: supported are: LlamaForCausalLM (Llama 2, SmolLM2, TinyLlama and others of its layout)"
    )]
    Architecture {
        /// What the file names.
        found: String,
    },
    /// A feature of the family we do not implement.
    #[error("`{key}` is {value}, which is not supported\n  hint: {right}")]
    Feature {
        /// Key of the configuration.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is supported.
        right: &'static str,
    },
}

/// The file as it is found, before it is checked.
#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct RawLlama {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    // Transformers 5 writes the rotary settings here.
    rope_parameters: Option<RawRope>,
    max_position_embeddings: Option<usize>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawRope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

/// Defaults of Hugging Face's `LlamaConfig`.
const DEFAULT_RMS_NORM_EPS: f64 = 1e-6;
const DEFAULT_ROPE_THETA: f64 = 10_000.0;
const DEFAULT_MAX_POSITIONS: usize = 2048;

impl ModelConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Bad JSON, another architecture, or a feature that is not implemented.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let syntax = |error: serde_json::Error| ConfigError::Syntax(error.to_string());
        let raw: RawConfig = serde_json::from_str(text).map_err(syntax)?;
        check_architecture(&raw)?;
        let llama: RawLlama = serde_json::from_value(raw.rest.into()).map_err(syntax)?;
        check_features(&llama)?;
        let config = Self::from_raw(llama);
        config.check_shapes()?;
        Ok(config)
    }

    fn from_raw(raw: RawLlama) -> Self {
        let rope_theta = raw.rope_parameters.and_then(|rope| rope.rope_theta).or(raw.rope_theta);
        Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_hidden_layers: raw.num_hidden_layers,
            num_attention_heads: raw.num_attention_heads,
            num_key_value_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
            head_dim: raw.head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1)),
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(DEFAULT_RMS_NORM_EPS),
            rope_theta: rope_theta.unwrap_or(DEFAULT_ROPE_THETA),
            max_position_embeddings: raw.max_position_embeddings.unwrap_or(DEFAULT_MAX_POSITIONS),
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            bos_token_id: raw.bos_token_id,
            eos_token_id: raw.eos_token_id.as_ref().and_then(first_id),
        }
    }

    /// The configuration of a model that is trained from nothing.
    ///
    /// # Errors
    /// Sizes that do not divide as the architecture needs.
    pub fn new(new: &NewModel, max_positions: usize, end_token: u32) -> Result<Self, ConfigError> {
        let config = Self {
            vocab_size: new.vocab_size,
            hidden_size: new.hidden_size,
            intermediate_size: new.intermediate_size,
            num_hidden_layers: new.num_hidden_layers,
            num_attention_heads: new.num_attention_heads,
            num_key_value_heads: new.num_key_value_heads,
            head_dim: new.hidden_size / new.num_attention_heads.max(1),
            rms_norm_eps: 1e-5,
            rope_theta: DEFAULT_ROPE_THETA,
            max_position_embeddings: max_positions,
            tie_word_embeddings: true,
            bos_token_id: Some(end_token),
            eos_token_id: Some(end_token),
        };
        config.check_shapes()?;
        Ok(config)
    }

    fn check_shapes(&self) -> Result<(), ConfigError> {
        let wrong =
            |key, value: usize, right| Err(ConfigError::Feature { key, value: value.to_string(), right });
        if self.num_attention_heads == 0 || self.num_key_value_heads == 0 || self.num_hidden_layers == 0 {
            return wrong("num_attention_heads", 0, "layers and heads must be at least 1");
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return wrong(
                "num_key_value_heads",
                self.num_key_value_heads,
                "it must divide `num_attention_heads`",
            );
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            return wrong("head_dim", self.head_dim, "rotary embedding needs an even head width");
        }
        Ok(())
    }

    /// Width of all query heads together.
    #[must_use]
    pub const fn query_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    #[must_use]
    pub const fn key_value_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// The text of a `config.json` that Transformers reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut map = serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "torch_dtype": "bfloat16",
        });
        if let (Some(map), Ok(serde_json::Value::Object(own))) =
            (map.as_object_mut(), serde_json::to_value(self))
        {
            map.extend(own);
        }
        format!("{map:#}\n")
    }
}

fn first_id(value: &serde_json::Value) -> Option<u32> {
    let value = value.as_array().map_or(Some(value), |ids| ids.first())?;
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn check_architecture(raw: &RawConfig) -> Result<(), ConfigError> {
    let named = raw.architectures.first().cloned().or_else(|| raw.model_type.clone());
    match named.as_deref() {
        Some("LlamaForCausalLM" | "llama") => Ok(()),
        found => Err(ConfigError::Architecture { found: found.unwrap_or("(none named)").to_owned() }),
    }
}

fn check_features(raw: &RawLlama) -> Result<(), ConfigError> {
    let wrong = |key, value: String, right| Err(ConfigError::Feature { key, value, right });
    let rope_type = raw.rope_parameters.as_ref().and_then(|rope| rope.rope_type.as_deref());
    if let Some(kind) = rope_type.filter(|kind| *kind != "default") {
        return wrong(
            "rope_parameters.rope_type",
            format!("`{kind}`"),
            "only unscaled rotary embeddings are implemented",
        );
    }
    if let Some(scaling) = raw.rope_scaling.as_ref().filter(|scaling| !scaling.is_null()) {
        return wrong("rope_scaling", scaling.to_string(), "only unscaled rotary embeddings are implemented");
    }
    for (key, bias) in [("attention_bias", raw.attention_bias), ("mlp_bias", raw.mlp_bias)] {
        if bias == Some(true) {
            return wrong(key, "true".to_owned(), "only layers without bias are implemented");
        }
    }
    match raw.hidden_act.as_deref() {
        None | Some("silu") => Ok(()),
        Some(other) => wrong("hidden_act", format!("`{other}`"), "only `silu` is implemented"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOL: &str = r#"{"architectures":["LlamaForCausalLM"],"vocab_size":49152,"hidden_size":576,"intermediate_size":1536,
        "num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"tie_word_embeddings":true,
        "rope_theta":100000,"rope_scaling":null,"eos_token_id":2,"rms_norm_eps":1e-5}"#;

    #[test]
    fn a_llama_configuration_is_read_with_the_defaults_of_hugging_face() {
        let config = ModelConfig::from_json(SMOL).unwrap();
        assert_eq!((config.head_dim, config.key_value_width()), (64, 192));
        assert_eq!(config.max_position_embeddings, 2048);
        assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn another_architecture_is_named_with_what_is_supported() {
        let error = ModelConfig::from_json(&SMOL.replace("LlamaForCausalLM", "BertForMaskedLM")).unwrap_err();
        assert!(
            error.to_string().contains("BertForMaskedLM") && error.to_string().contains("LlamaForCausalLM")
        );
    }

    #[test]
    fn a_feature_that_is_not_implemented_is_refused() {
        for (from, to) in [
            (r#""rope_scaling":null"#, r#""rope_scaling":{"factor":8}"#),
            (r#""rope_scaling":null"#, r#""attention_bias":true"#),
            (r#""rope_scaling":null"#, r#""hidden_act":"gelu""#),
            (r#""num_key_value_heads":3"#, r#""num_key_value_heads":4"#),
        ] {
            let error = ModelConfig::from_json(&SMOL.replace(from, to)).unwrap_err();
            assert!(matches!(error, ConfigError::Feature { .. }), "{error}");
        }
    }
}
