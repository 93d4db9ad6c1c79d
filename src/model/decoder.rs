//! A Llama-architecture decoder with an explicit backward pass.
//!
//! Shapes: b sequences of t tokens, n = b·t; d width, h query heads and g key heads of width k,
//! f width of the MLP, v vocabulary. Activations are [n, ·] in the compute type; weights, their
//! gradients, norms' statistics, softmax and the loss are f32.

use candle_core::{DType, Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Gradients;
use super::ops::{self, Heads, RopeTable};
use crate::arch::{self, ModelConfig, ParameterSpec};
use crate::data::Batch;
use crate::space::Precision;
use crate::trial::Phase;

/// Weights per layer, in the order of [`arch::parameters`].
const PER_LAYER: usize = 9;
/// Standard deviation of fresh matrices (Radford et al. 2019).
const INITIAL_DEVIATION: f32 = 0.02;

/// A trainable decoder on one device.
pub struct Decoder {
    config: ModelConfig,
    specs: Vec<ParameterSpec>,
    weights: Vec<Tensor>,
    rope: RopeTable,
    dtype: DType,
}

/// Where a layer's weights stand among all.
#[derive(Clone, Copy)]
struct LayerIndex(usize);

impl LayerIndex {
    const INPUT_NORM: usize = 0;
    const Q: usize = 1;
    const K: usize = 2;
    const V: usize = 3;
    const O: usize = 4;
    const MLP_NORM: usize = 5;
    const GATE: usize = 6;
    const UP: usize = 7;
    const DOWN: usize = 8;

    const fn of(self, part: usize) -> usize {
        1 + self.0 * PER_LAYER + part
    }
}

/// What a layer keeps for its backward pass; norms and the gated product are computed again.
struct Saved {
    x: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attended: Tensor,
    middle: Tensor,
    gate: Tensor,
    up: Tensor,
}

impl Decoder {
    /// From weights in the order of [`arch::parameters`], kept as f32.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn new(
        config: ModelConfig,
        weights: Vec<Tensor>,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let place = |weight: Tensor| weight.to_dtype(DType::F32)?.to_device(device)?.contiguous();
        let rope =
            RopeTable::new(config.rope_theta, config.head_dim, config.max_position_embeddings, device)?;
        Ok(Self {
            specs: arch::parameters(&config),
            weights: weights.into_iter().map(place).collect::<Result<_>>()?,
            rope,
            dtype: compute_dtype(precision),
            config,
        })
    }

    /// Fresh random weights: normal matrices, norms of one.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn random(config: ModelConfig, seed: u64, precision: Precision, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let fresh = |spec: &ParameterSpec| {
            let values: Vec<f32> = (0..spec.elements())
                .map(|_| if spec.is_matrix() { INITIAL_DEVIATION * normal(&mut rng) } else { 1.0 })
                .collect();
            Tensor::from_vec(values, spec.shape.as_slice(), device)
        };
        let weights = arch::parameters(&config).iter().map(fresh).collect::<Result<_>>()?;
        Self::new(config, weights, precision, device)
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Names and shapes of the weights.
    #[must_use]
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// The f32 weights; all of them are trainable.
    #[must_use]
    pub fn weights(&self) -> &[Tensor] {
        &self.weights
    }

    fn epsilon(&self) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "an epsilon such as 1e-5")]
        let epsilon = self.config.rms_norm_eps as f32;
        epsilon
    }

    fn final_norm(&self) -> usize {
        1 + PER_LAYER * self.config.num_hidden_layers
    }

    fn head(&self) -> usize {
        if self.config.tie_word_embeddings { 0 } else { self.final_norm() + 1 }
    }

    fn heads(&self, t: usize) -> Heads {
        let ModelConfig { num_attention_heads: h, num_key_value_heads: g, head_dim: k, .. } = self.config;
        Heads { t, h, g, k }
    }

    fn ids(&self, batch: &Batch) -> Result<Tensor> {
        Tensor::from_slice(&batch.input_ids, batch.input_ids.len(), self.weights[0].device())
    }

    /// Adds the gradients of `scale · Σ loss` over the batch and returns the sum of the losses.
    ///
    /// Every phase is announced to `enter` before it begins.
    ///
    /// Units: nats, summed over scored tokens.
    ///
    /// # Errors
    /// The device fails or refuses memory.
    pub fn accumulate(
        &self,
        batch: &Batch,
        scale: f32,
        gradients: &mut Gradients,
        enter: &mut dyn FnMut(Phase) -> Result<()>,
    ) -> Result<f64> {
        let gradients = gradients.buffers();
        enter(Phase::Forward)?;
        let ids = self.ids(batch)?;
        let mut x = ops::embedding(&ids, &self.weights[0], self.dtype)?;
        let mut saved = Vec::with_capacity(self.config.num_hidden_layers);
        for layer in 0..self.config.num_hidden_layers {
            let (y, kept) = self.layer(LayerIndex(layer), x, batch.length)?;
            saved.push(kept);
            x = y;
        }
        enter(Phase::Loss)?;
        let (loss, mut dx) = self.loss(&x, batch, scale, gradients)?;
        drop(x);
        enter(Phase::Backward)?;
        while let Some(kept) = saved.pop() {
            dx = self.layer_backward(LayerIndex(saved.len()), kept, &dx, batch.length, gradients)?;
        }
        ops::embedding_backward(&dx, &ids, &gradients[0])?;
        Ok(loss)
    }

    /// Loss of every position in nats, 0 where it is not scored. Shape: b·t values.
    ///
    /// # Errors
    /// The device fails or refuses memory.
    pub fn losses(&self, batch: &Batch) -> Result<Vec<f32>> {
        let x = self.hidden(batch)?;
        let w = &self.weights[self.head()];
        Ok(ops::head_cross_entropy(&x, w, &batch.targets, None)?.losses)
    }

    /// Logits of every position, [b, t, v] in f32.
    ///
    /// # Errors
    /// The device fails or refuses memory.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        let x = self.hidden(batch)?;
        let logits = ops::linear(&x, &self.weights[self.head()])?.to_dtype(DType::F32)?;
        logits.reshape((batch.rows, batch.length, self.config.vocab_size))
    }

    /// The normed output of the last layer, [n, d], keeping nothing on the way.
    fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let mut x = ops::embedding(&self.ids(batch)?, &self.weights[0], self.dtype)?;
        for layer in 0..self.config.num_hidden_layers {
            x = self.layer(LayerIndex(layer), x, batch.length)?.0;
        }
        ops::rms_norm(&x, &self.weights[self.final_norm()], self.epsilon())
    }

    fn loss(&self, x: &Tensor, batch: &Batch, scale: f32, gradients: &[Tensor]) -> Result<(f64, Tensor)> {
        let (norm, head) = (self.final_norm(), self.head());
        let normed = ops::rms_norm(x, &self.weights[norm], self.epsilon())?;
        let gradient = Some((scale, &gradients[head]));
        let scored = ops::head_cross_entropy(&normed, &self.weights[head], &batch.targets, gradient)?;
        drop(normed);
        let Some(dnormed) = scored.dx else { candle_core::bail!("the head returned no gradient") };
        let dx = ops::rms_norm_backward(&dnormed, x, &self.weights[norm], self.epsilon(), &gradients[norm])?;
        Ok((scored.losses.iter().map(|loss| f64::from(*loss)).sum(), dx))
    }

    fn layer(&self, at: LayerIndex, x: Tensor, t: usize) -> Result<(Tensor, Saved)> {
        let weight = |part| &self.weights[at.of(part)];
        let normed = ops::rms_norm(&x, weight(LayerIndex::INPUT_NORM), self.epsilon())?;
        let q = ops::rope(&ops::linear(&normed, weight(LayerIndex::Q))?, &self.rope, t, 1.0)?;
        let k = ops::rope(&ops::linear(&normed, weight(LayerIndex::K))?, &self.rope, t, 1.0)?;
        let v = ops::linear(&normed, weight(LayerIndex::V))?;
        let attended = ops::attention(&q, &k, &v, self.heads(t))?;
        let middle = (&x + ops::linear(&attended, weight(LayerIndex::O))?)?;
        let normed = ops::rms_norm(&middle, weight(LayerIndex::MLP_NORM), self.epsilon())?;
        let gate = ops::linear(&normed, weight(LayerIndex::GATE))?;
        let up = ops::linear(&normed, weight(LayerIndex::UP))?;
        drop(normed);
        let y = (&middle + ops::linear(&ops::swiglu(&gate, &up)?, weight(LayerIndex::DOWN))?)?;
        Ok((y, Saved { x, q, k, v, attended, middle, gate, up }))
    }

    /// Gradient of the layer's input; consumes what the forward pass kept, freeing as it goes.
    fn layer_backward(
        &self,
        at: LayerIndex,
        saved: Saved,
        dy: &Tensor,
        t: usize,
        gradients: &[Tensor],
    ) -> Result<Tensor> {
        let Saved { x, q, k, v, attended, middle, gate, up } = saved;
        let dmiddle = self.mlp_backward(at, (middle, gate, up), dy, gradients)?;
        let linear = |part, dy: &Tensor, x: &Tensor| {
            ops::linear_backward(dy, x, &self.weights[at.of(part)], &gradients[at.of(part)])
        };
        let dattended = linear(LayerIndex::O, &dmiddle, &attended)?;
        drop(attended);
        let (dq, dk, dv) = ops::attention_backward(&dattended, &q, &k, &v, self.heads(t))?;
        drop((q, k, v, dattended));
        let norm = at.of(LayerIndex::INPUT_NORM);
        let normed = ops::rms_norm(&x, &self.weights[norm], self.epsilon())?;
        let mut dnormed = linear(LayerIndex::Q, &ops::rope(&dq, &self.rope, t, -1.0)?, &normed)?;
        dnormed = (dnormed + linear(LayerIndex::K, &ops::rope(&dk, &self.rope, t, -1.0)?, &normed)?)?;
        dnormed = (dnormed + linear(LayerIndex::V, &dv, &normed)?)?;
        drop((normed, dq, dk, dv));
        dmiddle + ops::rms_norm_backward(&dnormed, &x, &self.weights[norm], self.epsilon(), &gradients[norm])?
    }

    fn mlp_backward(
        &self,
        at: LayerIndex,
        (middle, gate, up): (Tensor, Tensor, Tensor),
        dy: &Tensor,
        gradients: &[Tensor],
    ) -> Result<Tensor> {
        let linear = |part, dy: &Tensor, x: &Tensor| {
            ops::linear_backward(dy, x, &self.weights[at.of(part)], &gradients[at.of(part)])
        };
        let dproduct = linear(LayerIndex::DOWN, dy, &ops::swiglu(&gate, &up)?)?;
        let (dgate, dup) = ops::swiglu_backward(&dproduct, &gate, &up)?;
        drop((gate, up, dproduct));
        let norm = at.of(LayerIndex::MLP_NORM);
        let normed = ops::rms_norm(&middle, &self.weights[norm], self.epsilon())?;
        let dnormed = (linear(LayerIndex::GATE, &dgate, &normed)? + linear(LayerIndex::UP, &dup, &normed)?)?;
        drop((normed, dgate, dup));
        dy + ops::rms_norm_backward(&dnormed, &middle, &self.weights[norm], self.epsilon(), &gradients[norm])?
    }
}

const fn compute_dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

/// A standard normal value (Box and Muller 1958).
fn normal(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Example, collate};

    fn tiny(tied: bool) -> ModelConfig {
        let json = format!(
            r#"{{"model_type":"llama","vocab_size":19,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,
            "num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":32,"tie_word_embeddings":{tied}}}"#
        );
        ModelConfig::from_json(&json).unwrap()
    }

    fn batch() -> Batch {
        let example = |ids: &[u32], prompt_tokens| Example { input_ids: ids.to_vec(), prompt_tokens };
        let (long, short) = (example(&[1, 5, 9, 3, 7, 2], 2), example(&[4, 8, 6], 1));
        collate(&[&long, &short])
    }

    fn silent() -> impl FnMut(Phase) -> Result<()> {
        |_| Ok(())
    }

    /// Fresh weights are so small that some slopes drown in the rounding of f32; these are larger.
    fn well_conditioned(tied: bool) -> Decoder {
        let fresh = Decoder::random(tiny(tied), 3, Precision::F32, &Device::Cpu).unwrap();
        let grown = |(weight, spec): (&Tensor, &ParameterSpec)| {
            if spec.is_matrix() { (weight * 12.0).unwrap() } else { weight.clone() }
        };
        let weights = fresh.weights().iter().zip(fresh.specs()).map(grown).collect();
        Decoder::new(tiny(tied), weights, Precision::F32, &Device::Cpu).unwrap()
    }

    /// Each weight moved by ±ε along its own gradient: the loss must change by ε·|gradient|.
    #[test]
    fn the_gradient_of_every_weight_is_the_slope_of_the_loss() {
        for tied in [true, false] {
            let model = well_conditioned(tied);
            let mut gradients = Gradients::zeros(&model).unwrap();
            model.accumulate(&batch(), 1.0, &mut gradients, &mut silent()).unwrap();
            gradients.check_all_reached(&model).unwrap();
            let loss = |index: usize, direction: &Tensor, step: f64| -> f64 {
                let mut weights = model.weights().to_vec();
                weights[index] = (&weights[index] + (direction * step).unwrap()).unwrap();
                let moved = Decoder::new(tiny(tied), weights, Precision::F32, &Device::Cpu).unwrap();
                moved.losses(&batch()).unwrap().iter().map(|loss| f64::from(*loss)).sum()
            };
            for (index, gradient) in gradients.buffers().iter().enumerate() {
                let norm: f32 =
                    gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar().unwrap();
                let direction = (gradient / f64::from(norm)).unwrap();
                let step = 3e-3;
                let slope = (loss(index, &direction, step) - loss(index, &direction, -step)) / (2.0 * step);
                let error = (slope / f64::from(norm) - 1.0).abs();
                assert!(error < 1e-2, "{}: slope {slope}, gradient {norm}", model.specs()[index].name);
            }
        }
    }

    #[test]
    fn padding_changes_no_loss() {
        let model = Decoder::random(tiny(true), 3, Precision::F32, &Device::Cpu).unwrap();
        let short = Example { input_ids: vec![4, 8, 6], prompt_tokens: 1 };
        let alone: f32 = model.losses(&collate(&[&short])).unwrap().iter().sum();
        let padded: f32 = model.losses(&batch()).unwrap()[5..].iter().sum();
        assert!((alone - padded).abs() < 1e-5);
    }

    #[test]
    fn bf16_gradients_point_where_f32_gradients_do() {
        let gradients = |precision| {
            let model = Decoder::random(tiny(true), 3, precision, &Device::Cpu).unwrap();
            let mut gradients = Gradients::zeros(&model).unwrap();
            model.accumulate(&batch(), 1.0, &mut gradients, &mut silent()).unwrap();
            gradients
        };
        let (wide, narrow) = (gradients(Precision::F32), gradients(Precision::Bf16));
        for (a, b) in wide.buffers().iter().zip(narrow.buffers()) {
            let dot =
                |x: &Tensor, y: &Tensor| -> f32 { (x * y).unwrap().sum_all().unwrap().to_scalar().unwrap() };
            assert!(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt() > 0.995);
        }
    }
}
