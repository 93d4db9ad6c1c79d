//! Which weight of a [`Decoder`] goes where in a layer, and what the layer does with it.

use candle_core::{Error, Result};

use super::Decoder;
use super::layer::Layer;
use super::norm::Norm;
use super::ops::{Dropout, Heads, mixed};
use super::projection::{Fan, Projection, SidePath, Weight};
use crate::arch::{ModelConfig, Role};

impl Decoder {
    /// Layer number `layer`; where `noise` is given, its adapters drop some of their inputs.
    pub(super) fn layer(&self, layer: usize, noise: Option<u64>) -> Result<Layer<'_>> {
        let projection = |role| self.projection(layer, role, noise);
        let traits = &self.config.traits;
        let (q, kv) = (self.config.query_width(), self.config.key_value_width());
        let f = self.config.intermediate_size;
        let (inputs, gates) = if traits.fused {
            let inputs = Fan::Fused(projection(Role::QueryKeyValue)?, [q, kv, kv]);
            (inputs, Fan::Fused(projection(Role::GateUp)?, [f, f]))
        } else {
            let [q, k, v] = [Role::Query, Role::Key, Role::Value].map(projection);
            let [gate, up] = [Role::Gate, Role::Up].map(projection);
            (Fan::Separate([q?, k?, v?]), Fan::Separate([gate?, up?]))
        };
        let norm = |role| self.index(layer, role, false).map(|index| self.norm(index));
        let needed = |role| norm(role).ok_or_else(|| missing(role));
        Ok(Layer {
            attention_norm: needed(Role::AttentionNorm)?,
            inputs,
            head_norms: norm(Role::QueryNorm).zip(norm(Role::KeyNorm)).map(<[Norm; 2]>::from),
            o: projection(Role::AttentionOutput)?,
            after_attention: norm(Role::AfterAttentionNorm),
            mlp_norm: needed(Role::MlpNorm)?,
            gates,
            down: projection(Role::Down)?,
            after_mlp: norm(Role::AfterMlpNorm),
            heads: heads(&self.config, layer),
            is_local: self.config.is_local(layer),
            activation: traits.activation,
        })
    }

    /// The norm whose weight has this index.
    pub(super) fn norm(&self, index: usize) -> Norm<'_> {
        #[expect(clippy::cast_possible_truncation, reason = "an epsilon such as 1e-5")]
        let epsilon = self.config.rms_norm_eps as f32;
        Norm { weight: self.weight(index), offset: self.config.traits.norm_offset, epsilon }
    }

    /// A weight and its slot.
    pub(super) fn weight(&self, index: usize) -> Weight<'_> {
        Weight { value: &self.weights[index], slot: index.checked_sub(self.first_trainable()) }
    }

    /// Index of a layer's weight, if it has it.
    fn index(&self, layer: usize, role: Role, is_bias: bool) -> Option<usize> {
        let part = self.parts.iter().position(|part| part.role == role && part.is_bias == is_bias)?;
        Some(1 + layer * self.parts.len() + part)
    }

    fn projection(&self, layer: usize, role: Role, noise: Option<u64>) -> Result<Projection<'_>> {
        let w = self.index(layer, role, false).ok_or_else(|| missing(role))?;
        Ok(Projection {
            w: self.weight(w),
            bias: self.index(layer, role, true).map(|bias| self.weight(bias)),
            side: self.side_path(w, noise),
        })
    }

    /// The adapter of the linear layer whose matrix has this index.
    fn side_path(&self, matrix: usize, noise: Option<u64>) -> Option<SidePath<'_>> {
        let adapters = self.adapters.as_ref()?;
        let (lora, a) = (&adapters.settings, adapters.place(matrix)?);
        let dropout = noise
            .filter(|_| lora.dropout > 0.0)
            .map(|noise| Dropout { share: lora.dropout, key: mixed(noise ^ mixed(a as u64)) });
        #[expect(clippy::cast_possible_truncation, reason = "a factor is kept in f32")]
        let scale = lora.scale() as f32;
        Some(SidePath { a: self.weight(a), b: self.weight(a + 1), scale, dropout })
    }
}

fn missing(role: Role) -> Error {
    Error::msg(format!("a layer has no weight for {role:?}"))
}

#[expect(clippy::cast_possible_truncation, reason = "factors are kept in f32")]
fn heads(config: &ModelConfig, layer: usize) -> Heads {
    let ModelConfig { num_attention_heads: h, num_key_value_heads: g, head_dim: k, .. } = *config;
    let cap = config.traits.attention_cap.map(|cap| cap as f32);
    Heads { h, g, k, scale: config.attention_scale() as f32, cap, window: config.window(layer) }
}
