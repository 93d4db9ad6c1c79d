//! A model's weights as they lie on the device before the first step.

use std::collections::VecDeque;
use std::rc::Rc;

use super::arrival::{elements, quantize};
use super::attention::{Kernel, Shape};
use super::dtype::Dtype;
use super::layer::{DecoderLayer, Gates, Norms, Projections};
use super::linear::{Base, Linear, Lora, Nf4};
use super::model::{Mask, Masks, Model, Sizes};
use super::norm::NormKind;
use super::setup::{Attention, Kernels, Method, TransformersSetup, Weights};
use super::tape::Tape;
use super::tensor::{Leaf, Source, Tensor};
use crate::arch::{LayerPart, ModelConfig, Role, layer_parts};

/// Makes weights, and remembers those that are trained.
struct Loader<'a> {
    tape: &'a Tape,
    config: &'a ModelConfig,
    setup: &'a TransformersSetup,
    trained: Vec<Tensor>,
    /// Matrices that were quantized, in the order of the model.
    quantized: VecDeque<Nf4>,
    /// 16-bit weights that are about to be widened, in the order of the model.
    halves: VecDeque<Tensor>,
}

/// Loads the model: what is quantized first, then all else, then adapters.
pub(super) fn load(tape: &Tape, config: &ModelConfig, setup: &TransformersSetup) -> Model {
    let parts = in_order_of_modules(config);
    let (quantized, halves) = quantize(tape, config, setup, &parts);
    let mut loader = Loader { tape, config, setup, trained: Vec::new(), quantized, halves };
    let (d, v) = (config.hidden_size as u64, config.vocab_size as u64);
    let embedding = loader.weight(v * d);
    let mut layers: Vec<_> = (0..config.num_hidden_layers).map(|_| loader.layer(&parts)).collect();
    let norm = loader.weight(d);
    let head = (!config.tie_word_embeddings).then(|| loader.weight(v * d));
    for layer in &mut layers {
        loader.adapt(layer);
    }
    let layers =
        layers.into_iter().enumerate().map(|(i, layer)| (Rc::new(layer), config.is_local(i))).collect();
    let (norm_kind, sizes) = (norm_kind(config), sizes(config, setup));
    Model { embedding, layers, norm, norm_kind, head, trained: loader.trained, sizes }
}

/// The parts of a layer as its modules hold them: norms of the layer come last.
fn in_order_of_modules(config: &ModelConfig) -> Vec<LayerPart> {
    let mut parts = layer_parts(config);
    let is_last = |role| {
        matches!(role, Role::AttentionNorm | Role::AfterAttentionNorm | Role::MlpNorm | Role::AfterMlpNorm)
    };
    parts.sort_by_key(|part| is_last(part.role));
    parts
}

fn norm_kind(config: &ModelConfig) -> NormKind {
    if config.traits.norm_offset == 0.0 { NormKind::Llama } else { NormKind::Gemma }
}

impl Loader<'_> {
    /// The type of weights that are not quantized.
    fn dtype(&self) -> Dtype {
        match self.setup.weights {
            Weights::Half(precision) => Dtype::half(precision),
            // `prepare_model_for_kbit_training` widens all that is not quantized.
            Weights::F32 | Weights::Nf4 { .. } => Dtype::F32,
        }
    }

    /// A weight that is trained in full fine-tuning, and frozen otherwise.
    fn weight(&mut self, n: u64) -> Tensor {
        let weight = self.tape.make(n, self.dtype());
        drop(self.halves.pop_front());
        if self.setup.method == Method::Full { self.trained(weight) } else { weight }
    }

    fn trained(&mut self, mut weight: Tensor) -> Tensor {
        weight.source = Some(Source::Leaf(Rc::new(Leaf::default())));
        self.trained.push(weight.clone());
        weight
    }

    fn layer(&mut self, parts: &[LayerPart]) -> DecoderLayer {
        let config = self.config;
        let (query, key) = (config.query_width() as u64, config.key_value_width() as u64);
        let projections = if let Some(all) = self.linear(parts, Role::QueryKeyValue) {
            Projections::Together(Box::new(all), query, key)
        } else {
            let apart = [Role::Query, Role::Key, Role::Value].map(|role| self.must(parts, role));
            Projections::Apart(Box::new(apart))
        };
        let output = self.must(parts, Role::AttentionOutput);
        let heads = self.norm(parts, Role::QueryNorm).zip(self.norm(parts, Role::KeyNorm));
        let gates = if let Some(both) = self.linear(parts, Role::GateUp) {
            Gates::Together(Box::new(both))
        } else {
            Gates::Apart(Box::new([Role::Gate, Role::Up].map(|role| self.must(parts, role))))
        };
        let down = self.must(parts, Role::Down);
        let norms = Norms {
            attention: self.norm(parts, Role::AttentionNorm),
            after_attention: self.norm(parts, Role::AfterAttentionNorm),
            mlp: self.norm(parts, Role::MlpNorm),
            after_mlp: self.norm(parts, Role::AfterMlpNorm),
            heads,
        };
        let (hidden_size, turned) = (config.hidden_size as u64, turned(config));
        let (norm_kind, shape) = (norm_kind(config), shape(config, self.setup));
        DecoderLayer { norms, projections, output, gates, down, hidden_size, turned, norm_kind, shape }
    }

    fn norm(&mut self, parts: &[LayerPart], role: Role) -> Option<Tensor> {
        let part = parts.iter().find(|part| part.role == role)?;
        Some(self.weight(elements(part)))
    }

    /// A linear layer that every family has.
    fn must(&mut self, parts: &[LayerPart], role: Role) -> Linear {
        let base = Base::Dense(self.tape.make(0, Dtype::F32));
        let none = Linear { base, bias: None, lora: None, out: 1, name: String::new() };
        self.linear(parts, role).unwrap_or(none)
    }

    fn linear(&mut self, parts: &[LayerPart], role: Role) -> Option<Linear> {
        let part = parts.iter().find(|part| part.role == role && !part.is_bias)?;
        let bias = parts.iter().find(|part| part.role == role && part.is_bias);
        let (n, out) = (elements(part), *part.shape.first()? as u64);
        let base = match self.quantized.pop_front() {
            Some(codes) => Base::Nf4(codes),
            None => Base::Dense(self.weight(n)),
        };
        let bias = bias.map(|bias| self.weight(elements(bias)));
        // `self_attn.q_proj.weight` is the layer `q_proj`.
        let name = part.name.rsplit('.').nth(1)?.to_owned();
        Some(Linear { base, bias, lora: None, out, name })
    }

    /// Puts LoRA's matrices beside the layers that are named.
    fn adapt(&mut self, layer: &mut DecoderLayer) {
        let Method::Lora { rank, targets, dropout } = &self.setup.method else { return };
        let (rank, dropout) = (*rank as u64, *dropout);
        for linear in layer.linears() {
            if targets.iter().any(|target| *target == linear.name || target == "all-linear") {
                let a = self.tape.make(linear.width() * rank, Dtype::F32);
                let b = self.tape.make(rank * linear.out, Dtype::F32);
                linear.lora = Some(Lora { a: self.trained(a), b: self.trained(b), rank, dropout });
            }
        }
    }
}

/// Values of a head that are turned.
fn turned(config: &ModelConfig) -> u64 {
    config.rope().frequencies.len() as u64 * 2
}

fn shape(config: &ModelConfig, setup: &TransformersSetup) -> Shape {
    Shape {
        micro_batch_size: setup.micro_batch_size,
        sequence_length: setup.sequence_length,
        heads: config.num_attention_heads as u64,
        groups: (config.num_attention_heads / config.num_key_value_heads.max(1)) as u64,
        width: config.head_dim as u64,
        is_capped: config.traits.attention_cap.is_some(),
        kernel: kernel(config, setup),
    }
}

fn kernel(config: &ModelConfig, setup: &TransformersSetup) -> Kernel {
    match (setup.attention, setup.kernels) {
        (Attention::Eager, _) => Kernel::Eager,
        (Attention::SdpaMath, _) => Kernel::Math,
        (Attention::Sdpa, Kernels::Cpu) => Kernel::CpuFlash,
        // FlashAttention takes 16 bits, heads up to 256 wide, and no mask.
        (Attention::Sdpa, kernels) if kernels.have_flash() && setup.is_half() && config.head_dim <= 256 => {
            Kernel::Flash
        }
        (Attention::Sdpa, Kernels::Cuda(..)) => Kernel::Efficient,
    }
}

fn sizes(config: &ModelConfig, setup: &TransformersSetup) -> Sizes {
    let (length, traits) = (setup.sequence_length, &config.traits);
    let is_eager = setup.attention == Attention::Eager;
    // A window that the sequence does not fill is no reason for a mask.
    let is_cut = traits.window.is_some_and(|window| length >= window);
    let all = is_eager.then_some(Mask::Numbers);
    let local = if is_eager { all } else { is_cut.then_some(Mask::Flags) };
    let has_local = traits.local_layers.contains(&true);
    Sizes {
        hidden: config.hidden_size as u64,
        vocabulary: config.vocab_size as u64,
        sequences: setup.micro_batch_size as u64,
        length: length as u64,
        turned: turned(config),
        scales_embedding: traits.scaled_embedding,
        caps_logits: traits.logit_cap.is_some(),
        has_local_angles: traits.local_rope_theta.is_some(),
        masks: Masks {
            of_all: all.filter(|_| !has_local || traits.local_layers.contains(&false)),
            of_local: local.filter(|_| has_local),
        },
        is_checkpointed: setup.gradient_checkpointing,
        input_needs_grad: setup.gradient_checkpointing && setup.method != Method::Full,
    }
}
