//! Names and shapes of a model's weights, in Hugging Face's naming.

use super::ModelConfig;

/// One weight tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Name in `model.safetensors`.
    pub name: String,
    /// `[out, in]` of a matrix, `[d]` of a norm, `[out]` of a bias.
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

    /// Whether it is a matrix: those are decayed and quantized, norms and biases are not.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    /// Whether it is the bias of a linear layer.
    #[must_use]
    pub fn is_bias(&self) -> bool {
        self.name.rsplit('.').next() == Some("bias")
    }
}

/// What a weight of a layer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Norm of attention's input.
    AttentionNorm,
    /// Projection to queries.
    Query,
    /// Projection to keys.
    Key,
    /// Projection to values.
    Value,
    /// Projection to queries, keys and values, one below the other.
    QueryKeyValue,
    /// Norm of each query head.
    QueryNorm,
    /// Norm of each key head.
    KeyNorm,
    /// Projection of what was attended.
    AttentionOutput,
    /// Norm of attention's output.
    AfterAttentionNorm,
    /// Norm of the MLP's input.
    MlpNorm,
    /// Projection to the gate.
    Gate,
    /// Projection to what is gated.
    Up,
    /// Projection to both, gate above.
    GateUp,
    /// Projection of the gated product.
    Down,
    /// Norm of the MLP's output.
    AfterMlpNorm,
}

/// A weight that every layer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPart {
    /// What it does.
    pub role: Role,
    /// Whether it is the bias beside the matrix of that role.
    pub is_bias: bool,
    /// Name behind `model.layers.N.`.
    pub name: String,
    /// `[out, in]`, `[d]` or `[out]`.
    pub shape: Vec<usize>,
}

/// The parts of a layer as they are listed.
#[derive(Default)]
struct Parts(Vec<LayerPart>);

impl Parts {
    fn norm(&mut self, role: Role, name: &str, width: usize) {
        self.0.push(LayerPart { role, is_bias: false, name: format!("{name}.weight"), shape: vec![width] });
    }

    fn linear(&mut self, role: Role, name: &str, (out, width): (usize, usize), has_bias: bool) {
        let matrix = (false, format!("{name}.weight"), vec![out, width]);
        let bias = has_bias.then(|| (true, format!("{name}.bias"), vec![out]));
        let part = |(is_bias, name, shape)| LayerPart { role, is_bias, name, shape };
        self.0.extend([matrix].into_iter().chain(bias).map(part));
    }
}

/// The weights of each layer, in the order of [`parameters`].
#[must_use]
pub fn layer_parts(config: &ModelConfig) -> Vec<LayerPart> {
    let (d, f, traits) = (config.hidden_size, config.intermediate_size, &config.traits);
    let (q, kv) = (config.query_width(), config.key_value_width());
    let mut parts = Parts::default();
    parts.norm(Role::AttentionNorm, "input_layernorm", d);
    let bias = traits.query_key_value_bias;
    if traits.fused {
        parts.linear(Role::QueryKeyValue, "self_attn.qkv_proj", (q + 2 * kv, d), bias);
    } else {
        parts.linear(Role::Query, "self_attn.q_proj", (q, d), bias);
        parts.linear(Role::Key, "self_attn.k_proj", (kv, d), bias);
        parts.linear(Role::Value, "self_attn.v_proj", (kv, d), bias);
    }
    if traits.head_norms {
        parts.norm(Role::QueryNorm, "self_attn.q_norm", config.head_dim);
        parts.norm(Role::KeyNorm, "self_attn.k_norm", config.head_dim);
    }
    parts.linear(Role::AttentionOutput, "self_attn.o_proj", (d, q), traits.attention_output_bias);
    // The same name for what is normed after attention and, where nothing is, before the MLP.
    if traits.norms_after {
        parts.norm(Role::AfterAttentionNorm, "post_attention_layernorm", d);
        parts.norm(Role::MlpNorm, "pre_feedforward_layernorm", d);
    } else {
        parts.norm(Role::MlpNorm, "post_attention_layernorm", d);
    }
    let bias = traits.mlp_bias;
    if traits.fused {
        parts.linear(Role::GateUp, "mlp.gate_up_proj", (2 * f, d), bias);
    } else {
        parts.linear(Role::Gate, "mlp.gate_proj", (f, d), bias);
        parts.linear(Role::Up, "mlp.up_proj", (f, d), bias);
    }
    parts.linear(Role::Down, "mlp.down_proj", (d, f), bias);
    if traits.norms_after {
        parts.norm(Role::AfterMlpNorm, "post_feedforward_layernorm", d);
    }
    parts.0
}

/// Every weight of a model: embedding, layers, final norm, and the head unless it is tied.
#[must_use]
pub fn parameters(config: &ModelConfig) -> Vec<ParameterSpec> {
    let d = config.hidden_size;
    let parts = layer_parts(config);
    let mut specs = vec![ParameterSpec::new("model.embed_tokens.weight", &[config.vocab_size, d])];
    for layer in 0..config.num_hidden_layers {
        let named =
            |part: &LayerPart| ParameterSpec::new(format!("model.layers.{layer}.{}", part.name), &part.shape);
        specs.extend(parts.iter().map(named));
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
