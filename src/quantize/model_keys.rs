//! A model's configuration as GGUF keys, both ways.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;

use super::{GgufType, QuantizeError};
use crate::arch::{ModelConfig, Origin, Traits};

/// Keys and values in the order they are written.
pub(super) type Entries = Vec<(String, Value)>;

/// Version of the block formats; 2 since llama.cpp of May 2023.
const QUANTIZATION_VERSION: u32 = 2;

/// A count as GGUF writes it: 32 bits, as llama.cpp insists on.
pub(super) fn count(number: usize) -> Value {
    u32::try_from(number).map_or(Value::U64(number as u64), Value::U32)
}

/// `general.*` and `llama.*` keys of a model.
pub(super) fn model_entries(config: &ModelConfig, gguf_type: GgufType, name: &str) -> Entries {
    let text = |text: &str| Value::String(text.to_owned());
    let mut entries = vec![
        ("general.architecture", text("llama")),
        ("general.name", text(name)),
        ("general.file_type", Value::U32(gguf_type.file_type())),
        ("general.quantization_version", Value::U32(QUANTIZATION_VERSION)),
        ("general.alignment", count(super::writer::ALIGNMENT)),
        ("llama.vocab_size", count(config.vocab_size)),
        ("llama.block_count", count(config.num_hidden_layers)),
        ("llama.context_length", count(config.max_position_embeddings)),
        ("llama.embedding_length", count(config.hidden_size)),
        ("llama.feed_forward_length", count(config.intermediate_size)),
        ("llama.attention.head_count", count(config.num_attention_heads)),
        ("llama.attention.head_count_kv", count(config.num_key_value_heads)),
        ("llama.attention.layer_norm_rms_epsilon", float(config.rms_norm_eps)),
        ("llama.rope.freq_base", float(config.rope_theta)),
        ("llama.rope.dimension_count", count(config.head_dim)),
    ];
    if config.query_width() != config.hidden_size {
        entries.push(("llama.attention.key_length", count(config.head_dim)));
        entries.push(("llama.attention.value_length", count(config.head_dim)));
    }
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "GGUF's keys for these hold 32 bits")]
fn float(number: f64) -> Value {
    Value::F32(number as f32)
}

/// The keys of one GGUF, with messages that name file and key.
pub(super) struct Keys<'a> {
    pub path: &'a Path,
    pub values: &'a HashMap<String, Value>,
}

impl Keys<'_> {
    pub(super) fn wrong(&self, key: &str, found: String, hint: &'static str) -> QuantizeError {
        QuantizeError::Key { path: self.path.to_owned(), key: key.to_owned(), found, hint }
    }

    fn optional_count(&self, key: &str) -> Result<Option<usize>, QuantizeError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let number = match value {
            Value::I32(number) => u64::try_from(*number).ok(),
            other => other.to_u64().ok(),
        };
        let number = number.and_then(|number| usize::try_from(number).ok());
        let wrong = || self.wrong(key, format!("{value:?}"), "one whole number is supported");
        number.ok_or_else(wrong).map(Some)
    }

    fn count(&self, key: &str) -> Result<usize, QuantizeError> {
        let missing = || self.wrong(key, "missing".to_owned(), "the llama architecture needs it");
        self.optional_count(key)?.ok_or_else(missing)
    }

    /// The decimal that was meant: 1e-5, not the 32-bit number nearest to it.
    fn float(&self, key: &str, default: f64) -> Result<f64, QuantizeError> {
        let Some(value) = self.values.get(key) else { return Ok(default) };
        let number = value.to_f32().ok().and_then(|number| number.to_string().parse().ok());
        number.ok_or_else(|| self.wrong(key, format!("{value:?}"), "a 32-bit float is expected"))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(|value| value.to_string().ok()).map(String::as_str)
    }

    pub(super) fn token(&self, which: &str) -> Result<Option<u32>, QuantizeError> {
        let id = self.optional_count(&format!("tokenizer.ggml.{which}_token_id"))?;
        Ok(id.and_then(|id| u32::try_from(id).ok()))
    }

    fn check_family(&self) -> Result<(), QuantizeError> {
        let found = self.text("general.architecture").unwrap_or("(none named)");
        if found != "llama" {
            let (path, found) = (self.path.to_owned(), found.to_owned());
            return Err(QuantizeError::Architecture { path, found });
        }
        let key = "llama.rope.scaling.type";
        match self.text(key).filter(|kind| *kind != "none") {
            Some(kind) => {
                Err(self.wrong(key, format!("`{kind}`"), "only unscaled rotary embeddings are implemented"))
            }
            None => Ok(()),
        }
    }

    /// The configuration of the model in a GGUF whose head is tied or not.
    pub(super) fn config(&self, tie_word_embeddings: bool) -> Result<ModelConfig, QuantizeError> {
        self.check_family()?;
        let hidden_size = self.count("llama.embedding_length")?;
        let heads = self.count("llama.attention.head_count")?;
        let head_dim = match self.optional_count("llama.attention.key_length")? {
            Some(width) => width,
            None => self.optional_count("llama.rope.dimension_count")?.unwrap_or(hidden_size / heads.max(1)),
        };
        let config = ModelConfig {
            vocab_size: self.vocab_size()?,
            hidden_size,
            intermediate_size: self.count("llama.feed_forward_length")?,
            num_hidden_layers: self.count("llama.block_count")?,
            num_attention_heads: heads,
            num_key_value_heads: self.optional_count("llama.attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            rms_norm_eps: self.float("llama.attention.layer_norm_rms_epsilon", 1e-5)?,
            rope_theta: self.float("llama.rope.freq_base", 10_000.0)?,
            max_position_embeddings: self.count("llama.context_length")?,
            tie_word_embeddings,
            bos_token_id: self.token("bos")?,
            eos_token_id: self.token("eos")?,
            traits: Traits::default(),
            origin: Origin::default(),
        };
        // Reading it back is what checks that the sizes divide as the architecture needs.
        ModelConfig::from_json(&config.to_json())
            .map_err(|source| QuantizeError::Config { path: self.path.to_owned(), source })?;
        Ok(config)
    }

    fn vocab_size(&self) -> Result<usize, QuantizeError> {
        match self.values.get("tokenizer.ggml.tokens") {
            Some(Value::Array(tokens)) => Ok(tokens.len()),
            _ => self.count("llama.vocab_size"),
        }
    }
}
