//! A Llama-architecture decoder with an explicit backward pass.
//!
//! Shapes: n positions of a batch's sequences, one after another; d width, v vocabulary. Activations
//! are [n, ·] in the compute type; trained weights, their gradients, norms' statistics, softmax and
//! the loss are f32.

use candle_core::{DType, Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::GradientSink;
use super::layer::{Layer, Pass, Saved, norm_backward};
use super::lora::Lora;
use super::ops::{self, HeadGradient, Heads, Positions, RopeTable};
use super::projection::{Projection, SidePath, Weight};
use crate::arch::{self, ModelConfig, ParameterSpec};
use crate::data::Batch;
use crate::space::Precision;
use crate::trial::Phase;

/// Weights per layer, in the order of [`arch::parameters`].
const PER_LAYER: usize = 9;
/// Linear layers per layer, in the same order.
const LINEAR_PER_LAYER: usize = 7;
/// Standard deviation of fresh matrices (Radford et al. 2019).
const INITIAL_DEVIATION: f32 = 0.02;

/// A trainable decoder on one device.
pub struct Decoder {
    config: ModelConfig,
    /// Base weights in the order of [`arch::parameters`], then those of the adapters.
    specs: Vec<ParameterSpec>,
    weights: Vec<Tensor>,
    adapters: Option<Lora>,
    rope: RopeTable,
    dtype: DType,
    recompute: bool,
}

/// What is kept of a layer between the passes.
enum Kept {
    /// All that the backward pass needs.
    Activations(Saved),
    /// The layer's input, from which the rest is made again (Chen et al. 2016).
    Input(Tensor),
}

impl Decoder {
    /// From weights in the order of [`arch::parameters`], kept as f32; all of them are trainable.
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
            adapters: None,
            rope,
            dtype: compute_dtype(precision),
            recompute: false,
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

    /// Freezes the base weights and trains fresh adapters instead.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn with_adapters(mut self, adapters: Lora, seed: u64) -> Result<Self> {
        self.specs.extend(adapters.specs(&self.config));
        self.weights.extend(adapters.initial(&self.config, seed, self.weights[0].device())?);
        self.adapters = Some(adapters);
        Ok(self)
    }

    /// The optimizer step in which every trainable weight must receive a gradient that is not zero.
    ///
    /// Adapters begin with B at zero, so that A has no gradient before the first update.
    #[must_use]
    pub const fn all_reached_at_step(&self) -> usize {
        if self.adapters.is_some() { 2 } else { 1 }
    }

    /// Whether the backward pass makes a layer's activations again instead of keeping them.
    ///
    /// The gradients are the same to the last bit; memory is bought with the time of a forward pass.
    #[must_use]
    pub fn with_recomputation(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn base_count(&self) -> usize {
        self.final_norm() + 1 + usize::from(!self.config.tie_word_embeddings)
    }

    /// Index of the first trainable weight; all behind it are trainable too.
    fn first_trainable(&self) -> usize {
        if self.adapters.is_some() { self.base_count() } else { 0 }
    }

    /// The base weights, in the order of [`arch::parameters`].
    #[must_use]
    pub fn weights(&self) -> &[Tensor] {
        &self.weights[..self.base_count()]
    }

    /// The trainable weights, whose place in this order is their slot in a [`GradientSink`].
    pub fn trainable(&self) -> impl Iterator<Item = (&ParameterSpec, &Tensor)> {
        self.specs.iter().zip(&self.weights).skip(self.first_trainable())
    }

    fn epsilon(&self) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "an epsilon such as 1e-5")]
        let epsilon = self.config.rms_norm_eps as f32;
        epsilon
    }

    fn final_norm(&self) -> usize {
        1 + PER_LAYER * self.config.num_hidden_layers
    }

    fn head(&self) -> Weight<'_> {
        self.weight(if self.config.tie_word_embeddings { 0 } else { self.final_norm() + 1 })
    }

    fn heads(&self) -> Heads {
        let ModelConfig { num_attention_heads: h, num_key_value_heads: g, head_dim: k, .. } = self.config;
        Heads { h, g, k }
    }

    fn weight(&self, index: usize) -> Weight<'_> {
        Weight { value: &self.weights[index], slot: index.checked_sub(self.first_trainable()) }
    }

    /// The weights of layer number `layer`, whose linear layers are numbered as in the file.
    fn layer(&self, layer: usize) -> Layer<'_> {
        let weight = |part: usize| self.weight(1 + layer * PER_LAYER + part);
        let projection = |part: usize, linear: usize| {
            let side = self.adapters.map(|adapters| {
                let a = self.base_count() + 2 * (layer * LINEAR_PER_LAYER + linear);
                SidePath { a: self.weight(a), b: self.weight(a + 1), scale: adapters.scale() }
            });
            Projection { w: weight(part), side }
        };
        Layer {
            attention_norm: weight(0),
            q: projection(1, 0),
            k: projection(2, 1),
            v: projection(3, 2),
            o: projection(4, 3),
            mlp_norm: weight(5),
            gate: projection(6, 4),
            up: projection(7, 5),
            down: projection(8, 6),
        }
    }

    fn pass<'a>(&'a self, batch: &'a Batch, positions: &'a Positions) -> Pass<'a> {
        Pass {
            sequences: &batch.sequences,
            positions,
            rope: &self.rope,
            heads: self.heads(),
            epsilon: self.epsilon(),
        }
    }

    fn device(&self) -> &Device {
        self.weights[0].device()
    }

    fn ids(&self, batch: &Batch) -> Result<Tensor> {
        Tensor::from_slice(&batch.input_ids, batch.tokens(), self.device())
    }

    /// Gives the gradients of `scale · Σ loss` over the batch to `sink`; returns the sum of the losses.
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
        sink: &mut dyn GradientSink,
        enter: &mut dyn FnMut(Phase) -> Result<()>,
    ) -> Result<f64> {
        enter(Phase::Forward)?;
        let ids = self.ids(batch)?;
        let positions = Positions::new(&batch.sequences, self.device())?;
        let pass = self.pass(batch, &positions);
        let mut x = ops::embedding(&ids, &self.weights[0], self.dtype)?;
        let mut kept = Vec::with_capacity(self.config.num_hidden_layers);
        for layer in 0..self.config.num_hidden_layers {
            let (y, keep) = self.forward(layer, x, &pass)?;
            kept.push(keep);
            x = y;
        }
        enter(Phase::Loss)?;
        let (loss, mut dx) = self.loss(&x, batch, scale, sink)?;
        drop(x);
        enter(Phase::Backward)?;
        while let Some(keep) = kept.pop() {
            let layer = self.layer(kept.len());
            let saved = match keep {
                Kept::Activations(saved) => saved,
                Kept::Input(x) => layer.save(x, &pass)?,
            };
            dx = layer.backward(saved, dx, &pass, sink)?;
        }
        self.embedding_backward(&dx, &ids, sink)?;
        Ok(loss)
    }

    fn forward(&self, layer: usize, x: Tensor, pass: &Pass) -> Result<(Tensor, Kept)> {
        let layer = self.layer(layer);
        if self.recompute {
            let y = layer.forward(x.copy()?, pass)?;
            return Ok((y, Kept::Input(x)));
        }
        let (y, saved) = layer.forward_saving(x, pass)?;
        Ok((y, Kept::Activations(saved)))
    }

    /// Sum of the losses, and the gradient of the last layer's output.
    fn loss(
        &self,
        x: &Tensor,
        batch: &Batch,
        scale: f32,
        sink: &mut dyn GradientSink,
    ) -> Result<(f64, Tensor)> {
        let (norm, head) = (self.weight(self.final_norm()), self.head());
        let normed = ops::rms_norm(x, norm.value, self.epsilon())?;
        let (mut normed, mut scored) = (Some(normed), None);
        head.receive(sink, &mut |dw| {
            if let Some(normed) = normed.take() {
                let gradient = Some(HeadGradient { scale, dw });
                scored = Some(ops::head_cross_entropy(normed, head.value, &batch.targets, gradient)?);
            }
            Ok(())
        })?;
        if !self.config.tie_word_embeddings {
            head.complete(sink)?;
        }
        let Some((losses, Some(dnormed))) = scored.map(|scored| (scored.losses, scored.dx)) else {
            candle_core::bail!("the head returned no gradient")
        };
        let residual = x.zeros_like()?;
        let dx = norm_backward(norm, &dnormed, x, residual, self.epsilon(), sink)?;
        Ok((losses.iter().map(|loss| f64::from(*loss)).sum(), dx))
    }

    fn embedding_backward(&self, dx: &Tensor, ids: &Tensor, sink: &mut dyn GradientSink) -> Result<()> {
        let table = self.weight(0);
        table.add(sink, &mut |dw| dw.map_or(Ok(()), |dw| ops::embedding_backward(dx, ids, dw)))?;
        table.complete(sink)
    }

    /// Loss of every position in nats, 0 where it is not scored. Shape: n values.
    ///
    /// # Errors
    /// The device fails or refuses memory.
    pub fn losses(&self, batch: &Batch) -> Result<Vec<f32>> {
        let x = self.hidden(batch)?;
        Ok(ops::head_cross_entropy(x, self.head().value, &batch.targets, None)?.losses)
    }

    /// Logits of every position, [n, v] in f32.
    ///
    /// # Errors
    /// The device fails or refuses memory.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        ops::linear(&self.hidden(batch)?, self.head().value)?.to_dtype(DType::F32)
    }

    /// The normed output of the last layer, [n, d], keeping nothing on the way.
    fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let positions = Positions::new(&batch.sequences, self.device())?;
        let pass = self.pass(batch, &positions);
        let mut x = ops::embedding(&self.ids(batch)?, &self.weights[0], self.dtype)?;
        for layer in 0..self.config.num_hidden_layers {
            x = self.layer(layer).forward(x, &pass)?;
        }
        ops::rms_norm(&x, &self.weights[self.final_norm()], self.epsilon())
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
    use super::super::Gradients;
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
        let weights = fresh.trainable().map(|(spec, weight)| grown((weight, spec))).collect();
        Decoder::new(tiny(tied), weights, Precision::F32, &Device::Cpu).unwrap()
    }

    /// Each weight moved by ±ε along its own gradient: the loss must change by ε·|gradient|.
    #[test]
    fn the_gradient_of_every_weight_is_the_slope_of_the_loss() {
        for tied in [true, false] {
            let model = well_conditioned(tied);
            let mut gradients = Gradients::zeros(&model).unwrap();
            model.accumulate(&batch(), 1.0, &mut gradients, &mut silent()).unwrap();
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
                assert!(error < 1e-2, "{}: slope {slope}, gradient {norm}", model.specs[index].name);
            }
        }
    }

    #[test]
    fn neighbors_in_a_batch_change_no_loss() {
        let model = Decoder::random(tiny(true), 3, Precision::F32, &Device::Cpu).unwrap();
        let short = Example { input_ids: vec![4, 8, 6], prompt_tokens: 1 };
        let alone: f32 = model.losses(&collate(&[&short])).unwrap().iter().sum();
        let together: f32 = model.losses(&batch()).unwrap()[5..].iter().sum();
        assert!((alone - together).abs() < 1e-5);
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
