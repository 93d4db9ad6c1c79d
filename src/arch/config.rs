//! A Hugging Face `config.json`: sizes, and what the decoder does with them.

use serde_json::{Map, Value};

use super::family::{self, Family};
use super::keys::Keys;
use super::{ConfigError, Rope, RopeScaling, Traits, rope};
use crate::space::NewModel;

/// Sizes and traits of a decoder.
///
/// Field names are those of Hugging Face's `LlamaConfig`.
#[derive(Clone, Debug, PartialEq)]
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
    /// What the decoder does with all that.
    pub traits: Traits,
    /// The file it was read from.
    pub origin: Origin,
}

/// The `config.json` a configuration was read from, written again with it; nothing if it is new.
///
/// It is no part of what a model is: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Origin(Map<String, Value>);

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

const MAX_POSITIONS: &str = "max_position_embeddings";

impl ModelConfig {
    /// Reads the text of a `config.json`, as Transformers 4 or 5 writes it.
    ///
    /// # Errors
    /// Bad JSON, another architecture, or a feature that is not implemented.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let map: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let family = family_of(&map)?;
        let config = Self::read(Keys(&map), family)?;
        config.check_shapes()?;
        Ok(Self { origin: Origin(map), ..config })
    }

    fn read(keys: Keys, family: &Family) -> Result<Self, ConfigError> {
        let layers = keys.size("num_hidden_layers")?;
        let (hidden_size, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        let key_value_heads = keys.count_or("num_key_value_heads", family.key_value_heads)?;
        let head_dim = keys.count("head_dim")?.or(family.head_dim);
        let mut traits = Traits::read(keys, family, layers)?;
        Ok(Self {
            vocab_size: keys.size("vocab_size")?,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: key_value_heads.unwrap_or(heads),
            head_dim: head_dim.unwrap_or(hidden_size / heads.max(1)),
            rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(family.rms_norm_eps),
            rope_theta: rope::read(keys, family, &mut traits)?,
            max_position_embeddings: keys.count(MAX_POSITIONS)?.unwrap_or(family.max_positions),
            tie_word_embeddings: keys.flag("tie_word_embeddings")?.unwrap_or(family.tied),
            bos_token_id: keys.token("bos_token_id"),
            eos_token_id: keys.token("eos_token_id"),
            traits,
            origin: Origin::default(),
        })
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
            rope_theta: 10_000.0,
            max_position_embeddings: max_positions,
            tie_word_embeddings: true,
            bos_token_id: Some(end_token),
            eos_token_id: Some(end_token),
            traits: Traits::default(),
            origin: Origin::default(),
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
        let rotated = self.rotary_width();
        if rotated == 0 || !rotated.is_multiple_of(2) || rotated > self.head_dim {
            return wrong("head_dim", self.head_dim, "rotary embedding needs an even head width");
        }
        if let RopeScaling::Long { short, long, .. } = &self.traits.rope_scaling
            && (short.len() != rotated / 2 || long.len() != rotated / 2)
        {
            let right = "each list holds half as many factors as values of a head are rotated";
            return wrong("short_factor, long_factor", short.len(), right);
        }
        Ok(())
    }

    /// Bytes of a value in the model's file, as far as the configuration says; 2, as most have, where it does not.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let dtype = ["dtype", "torch_dtype"].into_iter().find_map(|key| self.origin.0.get(key)?.as_str());
        if dtype == Some("float32") { 4 } else { 2 }
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

    /// Values of each head that are rotated, the first ones.
    fn rotary_width(&self) -> usize {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a head's width is far below 2^52, and a negative share becomes 0"
        )]
        let width = (self.head_dim as f64 * self.traits.rotary_share) as usize;
        width
    }

    /// Whether a layer is local.
    #[must_use]
    pub fn is_local(&self, layer: usize) -> bool {
        self.traits.local_layers.get(layer).copied().unwrap_or(false)
    }

    /// Positions that a layer sees, its own among them; none: all before it.
    #[must_use]
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.traits.window.filter(|_| self.is_local(layer))
    }

    /// What attention's scores are multiplied by.
    #[must_use]
    pub fn attention_scale(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a head's width is far below 2^52")]
        let width = self.head_dim as f64;
        self.traits.query_scalar.unwrap_or(width).sqrt().recip()
    }

    /// What embeddings are multiplied by.
    #[must_use]
    pub fn embedding_scale(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^52")]
        let width = self.hidden_size as f64;
        if self.traits.scaled_embedding { width.sqrt() } else { 1.0 }
    }

    /// What turns the heads of most layers.
    #[must_use]
    pub fn rope(&self) -> Rope {
        Rope::new(self.rope_theta, self.rotary_width(), &self.traits.rope_scaling)
    }

    /// What turns those of local layers, where it is something else.
    #[must_use]
    pub fn local_rope(&self) -> Option<Rope> {
        let theta = self.traits.local_rope_theta?;
        Some(Rope::new(theta, self.rotary_width(), &RopeScaling::None))
    }

    /// The text of a `config.json` that Transformers reads; weights in `bfloat16`.
    ///
    /// What the file it was read from says beside our own fields stays.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.to_json_of("bfloat16")
    }

    /// The same for weights of another type, such as `float32`.
    #[must_use]
    pub fn to_json_of(&self, dtype: &str) -> String {
        let mut map = self.origin.0.clone();
        let mut set = |key: &str, value: Value| map.insert(key.to_owned(), value);
        set("vocab_size", self.vocab_size.into());
        set("hidden_size", self.hidden_size.into());
        set("intermediate_size", self.intermediate_size.into());
        set("num_hidden_layers", self.num_hidden_layers.into());
        set("num_attention_heads", self.num_attention_heads.into());
        set("num_key_value_heads", self.num_key_value_heads.into());
        set("head_dim", self.head_dim.into());
        set("rms_norm_eps", self.rms_norm_eps.into());
        set(MAX_POSITIONS, self.max_position_embeddings.into());
        set("tie_word_embeddings", self.tie_word_embeddings.into());
        // One name for the type, the one that all versions read.
        set("torch_dtype", dtype.into());
        map.remove("dtype");
        for (key, token) in [("bos_token_id", self.bos_token_id), ("eos_token_id", self.eos_token_id)] {
            // A list of tokens that ends with other ones stays whole.
            if Keys(&map).token(key) != token {
                map.insert(key.to_owned(), token.into());
            }
        }
        let mut default = |key: &str, value: Value| map.entry(key.to_owned()).or_insert(value).is_null();
        default("architectures", Value::from(vec![self.traits.architecture]));
        if let Some(family) = family::find(self.traits.architecture) {
            default("model_type", family.model_type.into());
        }
        if self.origin.0.is_empty() {
            default("hidden_act", "silu".into());
            default("attention_bias", false.into());
            default("mlp_bias", false.into());
        }
        if !map.contains_key("rope_parameters") {
            map.insert("rope_theta".to_owned(), self.rope_theta.into());
        }
        format!("{:#}\n", Value::Object(map))
    }
}

fn family_of(map: &Map<String, Value>) -> Result<&'static Family, ConfigError> {
    let keys = Keys(map);
    let first = keys.texts("architectures")?.and_then(|names| names.first().copied());
    let named = match first {
        Some(name) => Some(name),
        None => keys.text("model_type")?,
    };
    let found = named.unwrap_or("(none named)");
    family::find(found).ok_or_else(|| ConfigError::Architecture { found: found.to_owned() })
}
