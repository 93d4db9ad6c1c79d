//! The model with its optimizer, as `model::decoder` and `train` run it.

use super::layer::{Heads, Layer, Norm, Pass};
use super::ops::{HeadGradients, Ops, WIDE};
use super::projection::{Bias, Fan, Projection, SidePath};
use super::sink::{Sink, Slot};
use super::stored::Matrix;
use super::{BatchShape, Machine, TrainingSetup};
use crate::arch::{self, LayerPart, ModelConfig, Role};
use crate::memory::kernels::{MIN_QUANTIZED, MOMENT_BLOCK};
use crate::memory::{Held, Ledger};
use crate::space::Optimizer;
use crate::trial::Phase;

/// Bytes a tensor takes on the heap beside its values: its name, shape and strides, and what counts who holds
/// it. Measured: 300 to 500 bytes.
const HEADER: u64 = 512;
/// What a run holds on the heap besides: settings, events, the threads' queues. Measured.
const UNLISTED: u64 = 12 << 10;
/// What gathers the bytes of a checkpoint on their way to the file.
const WRITER: u64 = 1 << 20;

/// Bytes of one of the batch's numbers.
const INDEX: u64 = 4;

/// A model in training.
pub(super) struct Decoder<'a> {
    setup: &'a TrainingSetup<'a>,
    ledger: Ledger,
    ops: &'a dyn Ops,
    layers: Vec<Layer>,
    final_norm: Norm,
    head: Matrix,
    head_slot: Option<Slot>,
    table_slot: Option<Slot>,
    sink: Sink,
    /// Most bytes that a checkpoint takes.
    saving: u64,
    _state: Vec<Held>,
}

/// Numbers the trained weights as they are met.
struct Wiring<'a> {
    setup: &'a TrainingSetup<'a>,
    next: usize,
    trained: Vec<(usize, bool)>,
}

impl Wiring<'_> {
    fn slot(&mut self, elements: usize, is_matrix: bool) -> Slot {
        self.trained.push((elements, is_matrix));
        self.next += 1;
        Slot { number: self.next - 1, elements }
    }

    fn base_slot(&mut self, elements: usize, is_matrix: bool) -> Option<Slot> {
        self.setup.lora.is_none().then(|| self.slot(elements, is_matrix))
    }

    fn norm(&mut self, width: usize) -> Norm {
        Norm { width, slot: self.base_slot(width, false) }
    }

    fn projection(&mut self, part: &LayerPart, has_bias: bool) -> Projection {
        let (o, i) = (part.shape[0], part.shape[1]);
        let is_frozen = self.setup.lora.is_some();
        let w = if is_frozen { Matrix::frozen_linear(o, i, self.setup) } else { Matrix::wide(o, i) };
        let slot = self.base_slot(o * i, true);
        let bias = has_bias.then(|| Bias { slot: self.base_slot(o, false) });
        Projection { w, slot, bias, side: self.side_path(part, o, i) }
    }

    #[expect(clippy::float_cmp, reason = "a factor of exactly one costs nothing")]
    fn side_path(&mut self, part: &LayerPart, o: usize, i: usize) -> Option<SidePath> {
        let module = part.name.trim_end_matches(".weight").rsplit('.').next().unwrap_or_default();
        let lora = self.setup.lora.filter(|lora| lora.covers(module))?;
        let r = lora.rank;
        let slots = [self.slot(r * i, true), self.slot(o * r, true)];
        let (has_dropout, is_scaled) = (lora.dropout > 0.0, lora.scale() != 1.0);
        Some(SidePath { a: Matrix::wide(r, i), b: Matrix::wide(o, r), slots, has_dropout, is_scaled })
    }

    fn layer(&mut self, config: &ModelConfig, parts: &[LayerPart], layer: usize) -> Option<Layer> {
        let has = |role| parts.iter().any(|part| part.role == role && !part.is_bias);
        let part = |role| parts.iter().find(|part| part.role == role && !part.is_bias);
        let has_bias = |role| parts.iter().any(|part| part.role == role && part.is_bias);
        let (d, f, head) = (config.hidden_size, config.intermediate_size, config.head_dim);
        let (q, kv) = (config.query_width(), config.key_value_width());
        let linear = |this: &mut Self, role| Some(this.projection(part(role)?, has_bias(role)));
        let fused = has(Role::QueryKeyValue);
        let attention_norm = self.norm(d);
        let inputs = if fused {
            Fan::Fused(Box::new(linear(self, Role::QueryKeyValue)?), vec![q, kv, kv])
        } else {
            let roles = [Role::Query, Role::Key, Role::Value];
            Fan::Separate(roles.into_iter().map(|role| linear(self, role)).collect::<Option<_>>()?)
        };
        let head_norms = has(Role::QueryNorm).then(|| [self.norm(head), self.norm(head)]);
        let o = linear(self, Role::AttentionOutput)?;
        let after_attention = has(Role::AfterAttentionNorm).then(|| self.norm(d));
        let mlp_norm = self.norm(d);
        let gates = if fused {
            Fan::Fused(Box::new(linear(self, Role::GateUp)?), vec![f, f])
        } else {
            let roles = [Role::Gate, Role::Up];
            Fan::Separate(roles.into_iter().map(|role| linear(self, role)).collect::<Option<_>>()?)
        };
        let down = linear(self, Role::Down)?;
        let after_mlp = has(Role::AfterMlpNorm).then(|| self.norm(d));
        let heads = heads(config, layer);
        Some(Layer {
            d,
            f,
            attention_norm,
            inputs,
            head_norms,
            o,
            after_attention,
            mlp_norm,
            gates,
            down,
            after_mlp,
            heads,
        })
    }
}

fn heads(config: &ModelConfig, layer: usize) -> Heads {
    Heads {
        h: config.num_attention_heads,
        g: config.num_key_value_heads,
        k: config.head_dim,
        is_capped: config.traits.attention_cap.is_some(),
        window: config.window(layer),
    }
}

/// Bytes of the moments of one weight.
fn moment_bytes(optimizer: Optimizer, (elements, is_matrix): (usize, bool)) -> u64 {
    let elements = elements as u64;
    if optimizer == Optimizer::AdamW8Bit && is_matrix && elements >= MIN_QUANTIZED as u64 {
        let blocks = elements.div_ceil(MOMENT_BLOCK as u64);
        return 2 * blocks * (MOMENT_BLOCK as u64 + WIDE);
    }
    2 * WIDE * elements
}

impl<'a> Decoder<'a> {
    /// Reads the weights and makes the optimizer's state.
    pub(super) fn load(
        setup: &'a TrainingSetup<'a>,
        machine: Machine,
        ledger: &Ledger,
        ops: &'a dyn Ops,
    ) -> Self {
        let config = setup.config;
        let mut wiring = Wiring { setup, next: 0, trained: vec![] };
        let table = (config.vocab_size, config.hidden_size);
        let table_slot = wiring.base_slot(table.0 * table.1, true);
        let parts = arch::layer_parts(config);
        let layers = (0..config.num_hidden_layers).filter_map(|layer| wiring.layer(config, &parts, layer));
        let layers: Vec<Layer> = layers.collect();
        let final_norm = wiring.norm(config.hidden_size);
        let head_slot =
            if config.tie_word_embeddings { table_slot } else { wiring.base_slot(table.0 * table.1, true) };
        let plain = if setup.lora.is_some() { setup.file_bytes } else { WIDE };
        let head = Matrix { format: super::stored::Format::Plain(plain), ..Matrix::wide(table.0, table.1) };
        let mut state = load_weights(setup, machine, ledger);
        let adapters = if setup.lora.is_some() { &wiring.trained[..] } else { &[] };
        state.extend(adapters.iter().map(|(elements, _)| ledger.hold(WIDE * *elements as u64)));
        let moments = wiring.trained.iter().map(|weight| ledger.hold(moment_bytes(setup.optimizer, *weight)));
        state.extend(moments);
        if setup.keeps_gradients {
            state.extend(wiring.trained.iter().map(|(elements, _)| ledger.hold(WIDE * *elements as u64)));
        }
        let tensors = state.len() as u64;
        if machine != Machine::Card {
            state.push(ledger.hold(HEADER * tensors + UNLISTED));
        }
        let largest = wiring.trained.iter().map(|(elements, _)| WIDE * *elements as u64).max();
        Self {
            setup,
            ledger: ledger.clone(),
            ops,
            layers,
            final_norm,
            head,
            head_slot,
            table_slot,
            sink: Sink::new(ledger, setup.keeps_gradients),
            saving: if machine == Machine::Card { 0 } else { WRITER + largest.unwrap_or(0) },
            _state: state,
        }
    }

    /// The batch's numbers, and the table of turns.
    fn inputs(&self, batch: &BatchShape) -> Vec<Held> {
        let n = batch.positions() as u64;
        let half = self.setup.config.rope().frequencies.len() as u64;
        let tables = 1 + u64::from(self.setup.config.local_rope().is_some());
        let turns = 2 * WIDE * half * batch.longest() as u64 * tables;
        [INDEX * n, INDEX * n, INDEX * n, INDEX * n, turns].map(|bytes| self.ledger.hold(bytes)).into()
    }

    /// One optimizer step over a micro-batch.
    pub(super) fn step(&mut self, batch: &BatchShape) {
        self.ledger.enter(Phase::Forward);
        let inputs = self.inputs(batch);
        let n = batch.positions();
        let pass = Pass { ops: self.ops, batch, n };
        let mut x = self.ops.embedding(n, self.setup.config.hidden_size);
        let mut kept = Vec::new();
        for layer in &self.layers {
            x = if self.setup.gradient_checkpointing {
                let copy = self.ops.tensor(n * self.setup.config.hidden_size);
                let y = layer.forward(copy, pass);
                kept.push(Kept::Input(x));
                y
            } else {
                let (y, saved) = layer.forward_saving(x, pass);
                kept.push(Kept::Activations(saved));
                y
            };
        }
        self.ledger.enter(Phase::Loss);
        let mut dx = self.loss(x, n);
        self.ledger.enter(Phase::Backward);
        while let Some(keep) = kept.pop() {
            let layer = &self.layers[kept.len()];
            let saved = match keep {
                Kept::Activations(saved) => saved,
                Kept::Input(x) => layer.save(x, pass),
            };
            dx = layer.backward(saved, dx, pass, &mut self.sink);
        }
        if let Some(slot) = self.table_slot {
            self.sink.receive(slot);
            self.ops.embedding_backward(n, self.setup.config.hidden_size);
            self.sink.complete(slot);
        }
        drop((dx, inputs));
        if self.setup.keeps_gradients {
            self.ledger.enter(Phase::Optimizer);
        }
    }

    fn loss(&mut self, x: Held, n: usize) -> Held {
        let d = self.setup.config.hidden_size;
        let normed = self.ops.norm(n * d, d);
        let weight = self.head_slot.map(|slot| self.sink.receive(slot));
        let is_capped = self.setup.config.traits.logit_cap.is_some();
        let dnormed = self.ops.head(normed, n, self.head, Some(HeadGradients { weight }), is_capped);
        if let (false, Some(slot)) = (self.setup.config.tie_word_embeddings, self.head_slot) {
            self.sink.complete(slot);
        }
        let dx = self.final_norm.backward(self.ops, n * d, &mut self.sink);
        drop((dnormed, x));
        dx
    }

    /// The losses of a micro-batch, keeping nothing on the way.
    pub(super) fn evaluate(&self, batch: &BatchShape) {
        let _inputs = self.inputs(batch);
        let (n, d) = (batch.positions(), self.setup.config.hidden_size);
        let pass = Pass { ops: self.ops, batch, n };
        let mut x = self.ops.embedding(n, d);
        for layer in &self.layers {
            x = layer.forward(x, pass);
        }
        let normed = self.ops.norm(n * d, d);
        drop(x);
        let is_capped = self.setup.config.traits.logit_cap.is_some();
        self.ops.head(normed, n, self.head, None, is_capped);
    }

    /// Tensors are written one at a time, each from a copy of its bytes.
    pub(super) fn checkpoint(&self) {
        self.ledger.touch(self.saving);
    }
}

enum Kept {
    Activations(super::layer::Saved),
    Input(Held),
}

/// The base weights, one after the other as they are read.
fn load_weights(setup: &TrainingSetup, machine: Machine, ledger: &Ledger) -> Vec<Held> {
    let hold = |spec: &arch::ParameterSpec| {
        let values = spec.elements() as u64;
        let stored = values * setup.file_bytes;
        let linear = spec.is_matrix() && spec.name.contains(".layers.");
        let bytes = match (setup.lora, linear) {
            (Some(_), true) => Matrix::frozen_linear(spec.shape[0], spec.shape[1], setup).bytes(),
            (Some(_), false) if spec.is_matrix() => stored,
            _ => WIDE * values,
        };
        let is_read_here = machine != Machine::Card;
        if is_read_here {
            // The file's bytes, and their tensor.
            ledger.touch(2 * stored);
        }
        let _tensor = (is_read_here && bytes != stored).then(|| ledger.hold(stored));
        ledger.hold(bytes)
    };
    arch::parameters(setup.config).iter().map(hold).collect()
}
