//! What one model does beside its sizes: a family's row and its `config.json`, resolved.

use super::family::{Biases, Cap, Family, Local};
use super::keys::Keys;
use super::{ConfigError, RopeScaling};

/// The activation of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x)
    Silu,
    /// x·Φ(x) with the normal distribution's Φ by a tanh (Hendrycks and Gimpel 2016).
    GeluTanh,
}

/// What the decoder does, and what is in its layers. The default is a plain Llama.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each says of one thing whether it is there")]
pub struct Traits {
    /// Name of the architecture in `config.json`.
    pub architecture: &'static str,
    /// Added to the weights of norms.
    pub norm_offset: f64,
    /// Whether what attention and MLP give is normed before it is added.
    pub norms_after: bool,
    /// Whether each head of queries and keys is normed.
    pub head_norms: bool,
    /// Whether the projections of queries, keys and values have a bias.
    pub query_key_value_bias: bool,
    /// Whether attention's last projection has one.
    pub attention_output_bias: bool,
    /// Whether those of the MLP have.
    pub mlp_bias: bool,
    /// Whether q, k, v are one matrix, and gate and up another.
    pub fused: bool,
    /// The gate's activation.
    pub activation: Activation,
    /// Whether embeddings are multiplied by the root of the width.
    pub scaled_embedding: bool,
    /// Scores are divided by its root; none: by that of a head's width.
    pub query_scalar: Option<f64>,
    /// Soft cap of the scores.
    pub attention_cap: Option<f64>,
    /// Soft cap of the logits.
    pub logit_cap: Option<f64>,
    /// Positions that a local layer sees, its own among them.
    pub window: Option<usize>,
    /// Which layers are local; those not named here are not.
    pub local_layers: Vec<bool>,
    /// How rotary frequencies are scaled; those of local layers with a base of their own are not.
    pub rope_scaling: RopeScaling,
    /// Base of the rotary frequencies of local layers, where it is another.
    pub local_rope_theta: Option<f64>,
    /// Share of each head that is rotated.
    pub rotary_share: f64,
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            architecture: "LlamaForCausalLM",
            norm_offset: 0.0,
            norms_after: false,
            head_norms: false,
            query_key_value_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            fused: false,
            activation: Activation::Silu,
            scaled_embedding: false,
            query_scalar: None,
            attention_cap: None,
            logit_cap: None,
            window: None,
            local_layers: Vec::new(),
            rope_scaling: RopeScaling::None,
            local_rope_theta: None,
            rotary_share: 1.0,
        }
    }
}

impl Traits {
    /// Whether the model computes what a plain Llama does, whatever it is called.
    #[must_use]
    pub fn are_plain(&self) -> bool {
        let plain = Self::default();
        *self == Self { architecture: self.architecture, ..plain }
    }

    /// Everything but what belongs to the rotary embedding.
    pub(super) fn read(keys: Keys, family: &Family, layers: usize) -> Result<Self, ConfigError> {
        let has = |key| Ok(keys.flag(key)?.unwrap_or(false));
        let (attention_bias, mlp_bias) = match family.biases {
            Biases::AsConfigured => (has("attention_bias")?, has("mlp_bias")?),
            Biases::Never | Biases::QueryKeyValue => (false, false),
        };
        if has("use_bidirectional_attention")? {
            let (value, right) = ("true".to_owned(), "only causal attention is implemented");
            return Err(ConfigError::Feature { key: "use_bidirectional_attention", value, right });
        }
        let (window, local_layers) = local(keys, family, layers)?;
        let query_scalar = match family.query_scalar {
            Some(default) => Some(keys.number("query_pre_attn_scalar")?.unwrap_or(default)),
            None => None,
        };
        Ok(Self {
            architecture: family.architecture,
            norm_offset: family.norm_offset,
            norms_after: family.norms_after,
            head_norms: family.head_norms,
            query_key_value_bias: attention_bias || matches!(family.biases, Biases::QueryKeyValue),
            attention_output_bias: attention_bias,
            mlp_bias,
            fused: family.fused,
            activation: activation(keys, family)?,
            scaled_embedding: family.scaled_embedding,
            query_scalar,
            attention_cap: cap(keys, "attn_logit_softcapping", family.attention_cap)?,
            logit_cap: cap(keys, "final_logit_softcapping", family.logit_cap)?,
            window,
            local_layers,
            ..Self::default()
        })
    }
}

fn activation(keys: Keys, family: &Family) -> Result<Activation, ConfigError> {
    let key = family.activation_key;
    match keys.text(key)? {
        None => Ok(family.activation),
        Some("silu") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some(other) => {
            let (value, right) = (format!("`{other}`"), "`silu` and `gelu_pytorch_tanh` are implemented");
            Err(ConfigError::Feature { key, value, right })
        }
    }
}

/// A cap that is absent is the family's; one that is `null` is none.
fn cap(keys: Keys, key: &'static str, cap: Cap) -> Result<Option<f64>, ConfigError> {
    match cap {
        Cap::Never => Ok(None),
        Cap::Default(default) if !keys.has(key) => Ok(default),
        Cap::Default(_) => match keys.number(key)? {
            Some(cap) if cap <= 0.0 => {
                let right = "a cap is above 0, or `null` for none";
                Err(ConfigError::Feature { key, value: cap.to_string(), right })
            }
            cap => Ok(cap),
        },
    }
}

/// The window, and which layers have it.
fn local(keys: Keys, family: &Family, layers: usize) -> Result<(Option<usize>, Vec<bool>), ConfigError> {
    let enabled =
        !matches!(family.local, Local::WhereEnabled(_)) || keys.flag("use_sliding_window")?.unwrap_or(false);
    let window = keys.count_or("sliding_window", family.window)?.filter(|_| enabled);
    let is_local: Vec<bool> = match (family.local, keys.texts("layer_types")?) {
        (Local::Never, _) => Vec::new(),
        (Local::Always, _) => vec![true; layers],
        (_, Some(types)) => types.into_iter().map(|kind| kind == "sliding_attention").collect(),
        (Local::WhereEnabled(default), None) => {
            let first = keys.count("max_window_layers")?.unwrap_or(default);
            (0..layers).map(|layer| layer >= first).collect()
        }
        (Local::AllButEach(default), None) => {
            let each = keys.count("sliding_window_pattern")?.unwrap_or(default).max(1);
            (0..layers).map(|layer| !(layer + 1).is_multiple_of(each)).collect()
        }
    };
    // Local layers with a rotary base of their own stay local without a window.
    let none = !is_local.contains(&true) || (window.is_none() && family.local_rope_theta.is_none());
    if window == Some(0) {
        let right = "a window holds at least 1 position, or `null` for none";
        return Err(ConfigError::Feature { key: "sliding_window", value: "0".to_owned(), right });
    }
    Ok(if none { (None, Vec::new()) } else { (window, is_local) })
}
