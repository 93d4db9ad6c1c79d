//! A causal language model's forward pass, as Transformers runs it.

use std::rc::Rc;

use super::checkpoint::Layer;
use super::dtype::Dtype;
use super::layer::{DecoderLayer, Surroundings};
use super::linear::{Run, dense};
use super::norm::NormKind;
use super::rotary::Angles;
use super::tape::Tape;
use super::tensor::{Leaf, Source, Tensor};

/// A model with its weights.
pub(super) struct Model {
    pub(super) embedding: Tensor,
    pub(super) layers: Vec<(Rc<DecoderLayer>, bool)>,
    pub(super) norm: Tensor,
    pub(super) norm_kind: NormKind,
    /// None: the embedding.
    pub(super) head: Option<Tensor>,
    /// All that is trained.
    pub(super) trained: Vec<Tensor>,
    pub(super) sizes: Sizes,
}

/// What the forward pass must know beside its weights.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a branch of Transformers' code")]
pub(super) struct Sizes {
    pub(super) hidden: u64,
    pub(super) vocabulary: u64,
    pub(super) sequences: u64,
    pub(super) length: u64,
    /// Values of a head that are turned.
    pub(super) turned: u64,
    pub(super) scales_embedding: bool,
    pub(super) caps_logits: bool,
    /// Whether local layers have angles of their own.
    pub(super) has_local_angles: bool,
    pub(super) masks: Masks,
    pub(super) is_checkpointed: bool,
    /// `enable_input_require_grads()`: the embedding's output asks for a gradient.
    pub(super) input_needs_grad: bool,
}

/// The masks that are made before the layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masks {
    pub(super) of_all: Option<Mask>,
    pub(super) of_local: Option<Mask>,
}

/// One mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    /// `[b, 1, s, s]` in the model's type, to be added.
    Numbers,
    /// `[1, 1, s, s]` truth values.
    Flags,
}

/// What a model returns.
pub(super) struct Output {
    pub(super) loss: Tensor,
    pub(super) logits: Tensor,
    /// The embedded tokens, if they ask for a gradient: they live as long as the graph.
    pub(super) input: Option<Tensor>,
}

impl Model {
    /// Embedding, layers and last norm. `enter_loss` is called before the head.
    pub(super) fn forward(&self, tape: &Tape, run: Run, tokens: &Tensor, enter_loss: &dyn Fn()) -> Output {
        let (hidden, input) = self.decoder(tape, run, tokens);
        enter_loss();
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        let mut logits = dense(tape, run, &hidden, head, self.sizes.vocabulary, None);
        if self.sizes.caps_logits {
            logits = tape.scaled(&logits);
            logits = tape.squashed(&logits);
            logits = tape.scaled(&logits);
        }
        let loss = tape.causal_loss(&logits, tokens.n, self.sizes.sequences);
        Output { loss, logits, input }
    }

    fn decoder(&self, tape: &Tape, run: Run, tokens: &Tensor) -> (Tensor, Option<Tensor>) {
        let sizes = self.sizes;
        let input = self.embedded(tape, run, tokens);
        let _positions = tape.make(sizes.length, Dtype::Long);
        let [all, local] =
            [sizes.masks.of_all, sizes.masks.of_local].map(|mask| self.mask(tape, mask, input.dtype));
        let angles = self.angles(tape, input.dtype);
        let local_angles =
            if sizes.has_local_angles { self.angles(tape, input.dtype) } else { angles.clone() };
        let mut hidden = input.clone();
        for (layer, is_local) in &self.layers {
            let (mask, angles) = if *is_local { (&local, &local_angles) } else { (&all, &angles) };
            let around = Surroundings { angles: angles.clone(), mask: mask.clone(), run };
            if sizes.is_checkpointed && run.training {
                let layer = Rc::clone(layer);
                let layer: Layer = Rc::new(move |tape, x| layer.forward(tape, &around, x));
                hidden = tape.checkpoint(&hidden, &layer);
            } else {
                hidden = layer.forward(tape, &around, &hidden);
            }
        }
        hidden = tape.norm(&hidden, &self.norm, sizes.hidden, self.norm_kind);
        let is_leaf = matches!(input.source, Some(Source::Leaf(_)));
        (hidden, is_leaf.then_some(input))
    }

    fn embedded(&self, tape: &Tape, run: Run, tokens: &Tensor) -> Tensor {
        let mut input = tape.embedding(&self.embedding, tokens, self.sizes.hidden);
        if self.sizes.scales_embedding {
            input = tape.scaled(&input);
        }
        if self.sizes.input_needs_grad && run.training && !input.needs_grad() {
            input.source = Some(Source::Leaf(Rc::new(Leaf::default())));
        }
        input
    }

    fn mask(&self, tape: &Tape, mask: Option<Mask>, dtype: Dtype) -> Option<Tensor> {
        let positions = self.sizes.length * self.sizes.length;
        Some(match mask? {
            Mask::Flags => tape.make(positions, Dtype::Byte),
            Mask::Numbers => {
                let _flags = tape.make(positions, Dtype::Byte);
                tape.make(positions * self.sizes.sequences, dtype)
            }
        })
    }

    /// `[1, s, k]`, computed in 32 bits.
    fn angles(&self, tape: &Tape, dtype: Dtype) -> Angles {
        let n = self.sizes.length * self.sizes.turned;
        let _angles = tape.make(n + n / 2, Dtype::F32);
        let [cos, sin] = [0; 2].map(|_| tape.make(n, Dtype::F32));
        Angles { cos: tape.converted(&cos, dtype), sin: tape.converted(&sin, dtype) }
    }
}
