//! A decoder with an explicit backward pass; what it does is read from its configuration.
//!
//! Shapes: n positions of a batch's sequences, one after another; d width, v vocabulary. Activations
//! are [n, ·] in the compute type; trained weights, their gradients, norms' statistics, softmax and
//! the loss are f32.

use candle_core::{DType, Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::GradientSink;
use super::layer::{Pass, Saved};
use super::lora::{Adapters, adapter_specs, initial};
use super::ops::{self, HeadGradient, Positions, RopeTable};
use super::projection::Weight;
use super::stored::Stored;
use crate::arch::{self, LayerPart, ModelConfig, ParameterSpec};
use crate::data::Batch;
use crate::space::{LoraSettings, Precision};
use crate::trial::Phase;

/// Standard deviation of fresh matrices (Radford et al. 2019).
const INITIAL_DEVIATION: f32 = 0.02;

/// A trainable decoder on one device.
pub struct Decoder {
    pub(super) config: ModelConfig,
    /// Base weights in the order of [`arch::parameters`], then those of the adapters.
    specs: Vec<ParameterSpec>,
    pub(super) weights: Vec<Stored>,
    /// What each layer has, in the same order.
    pub(super) parts: Vec<LayerPart>,
    /// Whether the base weights are.
    is_frozen: bool,
    pub(super) adapters: Option<Adapters>,
    /// What dropout draws from.
    noise: u64,
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
        let f32 = |weight: Tensor| weight.to_dtype(DType::F32);
        let weights = weights.into_iter().map(f32).collect::<Result<Vec<Tensor>>>()?;
        Ok(Self { is_frozen: false, ..Self::frozen(config, weights, precision, device)? })
    }

    /// The same with weights that are not trained, only used or adapted: a matrix in bf16, f16 or in blocks
    /// stays as it is.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn frozen(
        config: ModelConfig,
        weights: impl IntoIterator<Item = impl Into<Stored>>,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let place = |weight: Stored| {
            let Stored::Plain(weight) = weight else { return Ok(weight) };
            let stays = matches!(weight.dtype(), DType::BF16 | DType::F16) && weight.rank() == 2;
            let weight = if stays { weight } else { weight.to_dtype(DType::F32)? };
            Ok(weight.to_device(device)?.contiguous()?.into())
        };
        Ok(Self {
            specs: arch::parameters(&config),
            weights: weights.into_iter().map(|weight| place(weight.into())).collect::<Result<_>>()?,
            parts: arch::layer_parts(&config),
            is_frozen: true,
            adapters: None,
            noise: 0,
            dtype: compute_dtype(precision),
            recompute: false,
            config,
        })
    }

    /// Fresh random weights: normal matrices, norms that multiply by one, biases of zero.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn random(config: ModelConfig, seed: u64, precision: Precision, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        #[expect(clippy::cast_possible_truncation, reason = "0 or 1")]
        let one = 1.0 - config.traits.norm_offset as f32;
        let fresh = |spec: &ParameterSpec| {
            let values: Vec<f32> = match (spec.is_matrix(), spec.is_bias()) {
                (true, _) => (0..spec.elements()).map(|_| INITIAL_DEVIATION * normal(&mut rng)).collect(),
                (_, is_bias) => vec![if is_bias { 0.0 } else { one }; spec.elements()],
            };
            Tensor::from_vec(values, spec.shape.as_slice(), device)
        };
        let weights = arch::parameters(&config).iter().map(fresh).collect::<Result<_>>()?;
        Self::new(config, weights, precision, device)
    }

    /// Freezes the base weights and trains fresh adapters instead.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn with_adapters(self, lora: &LoraSettings, seed: u64) -> Result<Self> {
        let fresh = initial(&adapter_specs(lora, &self.config), seed, self.device()?)?;
        self.with_adapter_weights(lora, fresh)
    }

    /// The same with adapters that exist, in the order of [`super::trainable_specs`].
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn with_adapter_weights(mut self, lora: &LoraSettings, weights: Vec<Tensor>) -> Result<Self> {
        let device = self.device()?.clone();
        let place =
            |weight: Tensor| Ok(weight.to_dtype(DType::F32)?.to_device(&device)?.contiguous()?.into());
        let weights = weights.into_iter().map(place).collect::<Result<Vec<Stored>>>()?;
        self.adapters = Some(Adapters::behind(&self.specs, lora.clone()));
        self.specs.extend(adapter_specs(lora, &self.config));
        self.weights.extend(weights);
        self.is_frozen = true;
        Ok(self)
    }

    /// Sets what dropout draws from: the same number drops the same values.
    pub const fn set_noise(&mut self, noise: u64) {
        self.noise = noise;
    }

    /// The settings of the adapters, if there are any.
    #[must_use]
    pub fn adapters(&self) -> Option<&LoraSettings> {
        self.adapters.as_ref().map(|adapters| &adapters.settings)
    }

    /// Base weight number `index` in the order of [`arch::parameters`], with what its adapter adds to
    /// it: W + scale · B·A.
    ///
    /// # Errors
    /// The device refuses the memory of a merged weight.
    pub fn merged(&self, index: usize) -> Result<Tensor> {
        let weight = self.weights[index].values()?;
        let place = |adapters: &Adapters| Some((adapters.place(index)?, adapters.settings.scale()));
        let Some((a, scale)) = self.adapters.as_ref().and_then(place) else { return Ok(weight) };
        let (a, b) = (self.weights[a].plain()?, self.weights[a + 1].plain()?);
        (b.matmul(a)? * scale)? + weight.to_dtype(DType::F32)?
    }

    /// The optimizer step in which every trainable weight must receive a gradient that is not zero.
    ///
    /// Adapters begin with B at zero, so that A has no gradient before the first update.
    #[must_use]
    pub const fn all_reached_at_step(&self) -> usize {
        if self.adapters.is_some() { 2 } else { 1 }
    }

    /// Whether its gradients are so small in its precision that the loss must be scaled.
    #[must_use]
    pub fn scales_loss(&self) -> bool {
        self.dtype == DType::F16
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

    pub(super) fn base_count(&self) -> usize {
        self.final_norm() + 1 + usize::from(!self.config.tie_word_embeddings)
    }

    /// Index of the first trainable weight; all behind it are trainable too.
    pub(super) fn first_trainable(&self) -> usize {
        if self.is_frozen { self.base_count() } else { 0 }
    }

    /// The base weights, in the order of [`arch::parameters`].
    #[cfg(test)]
    pub(crate) fn weights(&self) -> Vec<Tensor> {
        self.weights[..self.base_count()].iter().map(|weight| weight.values().unwrap()).collect()
    }

    /// The trainable weights, whose place in this order is their slot in a [`GradientSink`].
    pub fn trainable(&self) -> impl Iterator<Item = (&ParameterSpec, &Tensor)> {
        let all = self.specs.iter().zip(&self.weights).skip(self.first_trainable());
        // None of them is in blocks.
        all.filter_map(|(spec, weight)| Some((spec, weight.plain().ok()?)))
    }

    fn final_norm(&self) -> usize {
        1 + self.parts.len() * self.config.num_hidden_layers
    }

    fn head(&self) -> Weight<'_> {
        self.weight(if self.config.tie_word_embeddings { 0 } else { self.final_norm() + 1 })
    }

    fn pass<'a>(&self, batch: &'a Batch) -> Result<Pass<'a>> {
        let (rope, k, device) = (self.config.rope(), self.config.head_dim, self.device()?);
        let long_from = rope.long.as_ref().map(|(from, _)| *from);
        let positions = Positions::new(&batch.sequences, long_from, device)?;
        let local = self.config.local_rope();
        Ok(Pass {
            sequences: &batch.sequences,
            rope: RopeTable::new(&rope, k, &positions, device)?,
            local_rope: local.map(|local| RopeTable::new(&local, k, &positions, device)).transpose()?,
            positions,
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a cap is kept in f32")]
    fn logit_cap(&self) -> Option<f32> {
        self.config.traits.logit_cap.map(|cap| cap as f32)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a factor is kept in f32")]
    fn embedding_scale(&self) -> f32 {
        self.config.embedding_scale() as f32
    }

    fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        ops::embedding(ids, self.weights[0].plain()?, self.dtype, self.embedding_scale())
    }

    fn device(&self) -> Result<&Device> {
        Ok(self.weights[0].plain()?.device())
    }

    fn ids(&self, batch: &Batch) -> Result<Tensor> {
        Tensor::from_slice(&batch.input_ids, batch.tokens(), self.device()?)
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
        let pass = self.pass(batch)?;
        let mut x = self.embed(&ids)?;
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
            let layer = self.layer(kept.len(), Some(self.noise))?;
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
        let layer = self.layer(layer, Some(self.noise))?;
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
        let (norm, head, cap) = (self.norm(self.final_norm()), self.head(), self.logit_cap());
        let (matrix, normed) = (head.value.plain()?, norm.forward(x)?);
        let (mut normed, mut scored) = (Some(normed), None);
        head.receive(sink, &mut |dw| {
            if let Some(normed) = normed.take() {
                let gradient = Some(HeadGradient { scale, dw });
                scored = Some(ops::head_cross_entropy(normed, matrix, &batch.targets, cap, gradient)?);
            }
            Ok(())
        })?;
        if !self.config.tie_word_embeddings {
            head.complete(sink)?;
        }
        let Some((losses, Some(dnormed))) = scored.map(|scored| (scored.losses, scored.dx)) else {
            candle_core::bail!("the head returned no gradient")
        };
        let dx = norm.backward(&dnormed, x, sink)?;
        Ok((losses.iter().map(|loss| f64::from(*loss)).sum(), dx))
    }

    fn embedding_backward(&self, dx: &Tensor, ids: &Tensor, sink: &mut dyn GradientSink) -> Result<()> {
        let (table, scale) = (self.weight(0), self.embedding_scale());
        table.add(sink, &mut |dw| dw.map_or(Ok(()), |dw| ops::embedding_backward(dx, ids, dw, scale)))?;
        table.complete(sink)
    }

    /// Loss of every position in nats, 0 where it is not scored. Shape: n values.
    ///
    /// # Errors
    /// The device fails or refuses memory.
    pub fn losses(&self, batch: &Batch) -> Result<Vec<f32>> {
        let x = self.hidden(batch)?;
        let head = self.head().value.plain()?;
        Ok(ops::head_cross_entropy(x, head, &batch.targets, self.logit_cap(), None)?.losses)
    }

    /// Logits of every position, [n, v] in f32.
    ///
    /// # Errors
    /// The device fails or refuses memory.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        ops::logits(&self.hidden(batch)?, self.head().value.plain()?, self.logit_cap())
    }

    /// The normed output of the last layer, [n, d], keeping nothing on the way.
    fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let pass = self.pass(batch)?;
        let mut x = self.embed(&self.ids(batch)?)?;
        for layer in 0..self.config.num_hidden_layers {
            x = self.layer(layer, None)?.forward(x, &pass)?;
        }
        self.norm(self.final_norm()).forward(&x)
    }
}

const fn compute_dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
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
                let mut weights = model.weights();
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
    fn gradients_in_narrow_formats_point_where_f32_gradients_do() {
        let gradients = |precision| {
            let model = Decoder::random(tiny(true), 3, precision, &Device::Cpu).unwrap();
            let mut gradients = Gradients::zeros(&model).unwrap();
            model.accumulate(&batch(), 1.0, &mut gradients, &mut silent()).unwrap();
            gradients
        };
        let dot =
            |x: &Tensor, y: &Tensor| -> f32 { (x * y).unwrap().sum_all().unwrap().to_scalar().unwrap() };
        let wide = gradients(Precision::F32);
        for (precision, least) in [(Precision::Bf16, 0.995), (Precision::F16, 0.9999)] {
            for (a, b) in wide.buffers().iter().zip(gradients(precision).buffers()) {
                let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
                assert!(cosine > least, "{precision}: {cosine}");
            }
        }
    }
}
