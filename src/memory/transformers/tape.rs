//! PyTorch's autograd by shapes: which tensors an operator keeps, and when each is released.
//!
//! Nodes are executed from the newest to the oldest, as the engine's queue does in one thread. A
//! node's incoming gradient and all it kept live until it has made its outgoing gradients
//! (`torch/csrc/autograd/engine.cpp`, `evaluate_function`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::checkpoint::{Frame, Kept};
use super::dtype::Dtype;
use super::tensor::{Leaf, Source, Tensor};
use super::trace::Recorder;

/// Gradients of a node's outputs in, gradients of its inputs out.
pub(super) type Rule = Box<dyn Fn(&Tape, Vec<Option<Tensor>>, &[Tensor]) -> Vec<Option<Tensor>>>;

/// An operator that was applied.
pub(super) struct Node {
    inputs: Vec<Option<Source>>,
    kept: Kept,
    rule: Rule,
}

/// What operators do beside computing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing: `torch.no_grad()`.
    NoGrad,
    /// They keep what their backward needs.
    Recording,
    /// They will keep it when the layer is computed again.
    Checkpointing(usize),
    /// They keep it for the nodes of the frame.
    Recomputing(usize),
}

/// The graph of one forward pass.
pub(super) struct Tape {
    pub(super) recorder: Recorder,
    pub(super) mode: Cell<Mode>,
    pub(super) frames: RefCell<Vec<Frame>>,
    /// 16-bit copies of trained weights that autocast has made, by the weight's leaf.
    pub(super) casts: RefCell<BTreeMap<usize, Tensor>>,
    /// Whether a card's kernels run.
    pub(super) on_card: bool,
    /// A recomputation that has all it wants allocates nothing more.
    pub(super) stopped: Cell<bool>,
    nodes: RefCell<Vec<Option<Node>>>,
}

impl Tape {
    pub(super) fn new(recorder: Recorder, on_card: bool) -> Self {
        Self {
            recorder,
            on_card,
            mode: Cell::new(Mode::NoGrad),
            frames: RefCell::default(),
            casts: RefCell::default(),
            stopped: Cell::new(false),
            nodes: RefCell::default(),
        }
    }

    /// A new tensor of `n` values.
    pub(super) fn make(&self, n: u64, dtype: Dtype) -> Tensor {
        let bytes = if self.stopped.get() { 0 } else { n * dtype.size() };
        let storage = Rc::new(self.recorder.allocate(bytes));
        Tensor { n, dtype, storage, source: None, is_view: false, by_token: false }
    }

    /// A new tensor of the same kind, lying in memory the same way.
    pub(super) fn make_like(&self, like: &Tensor) -> Tensor {
        Tensor { by_token: like.by_token, ..self.make(like.n, like.dtype) }
    }

    /// Applies an operator: keeps `kept` of its inputs, makes its output, keeps that too if asked.
    pub(super) fn apply(
        &self,
        inputs: &[&Tensor],
        kept: &[&Tensor],
        make: impl FnOnce() -> Tensor,
        keeps_output: bool,
        rule: Rule,
    ) -> Tensor {
        let is_recorded = self.mode.get() != Mode::NoGrad && inputs.iter().any(|input| input.needs_grad());
        if !is_recorded {
            return make().detached();
        }
        // Inputs are saved before the kernel runs: there a recomputation stops.
        self.count_kept(kept.len());
        let mut output = make();
        let mut kept: Vec<Tensor> = kept.iter().map(|tensor| tensor.detached()).collect();
        if keeps_output {
            self.count_kept(1);
            kept.push(output.detached());
        }
        output.source = Some(self.push(inputs, kept, rule));
        output
    }

    fn push(&self, inputs: &[&Tensor], kept: Vec<Tensor>, rule: Rule) -> Source {
        let Some(kept) = self.keep(kept) else { return Source::Recomputed };
        let inputs = inputs.iter().map(|input| input.source.clone()).collect();
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Some(Node { inputs, kept, rule }));
        Source::Node { index: nodes.len() - 1, slot: 0 }
    }

    /// Runs the graph backwards from `root`, which must be one value.
    pub(super) fn backward(&self, root: Tensor) {
        let Some(Source::Node { index: last, slot }) = root.source else { return };
        let mut waiting: BTreeMap<usize, Vec<Option<Tensor>>> = BTreeMap::new();
        self.deliver(&mut waiting, &Source::Node { index: last, slot }, self.make(1, Dtype::F32));
        drop(root);
        while let Some((index, gradients)) = waiting.pop_last() {
            let Some(node) = self.nodes.borrow_mut().get_mut(index).and_then(Option::take) else { continue };
            let kept = self.unpack(node.kept);
            let outgoing = (node.rule)(self, gradients, &kept);
            drop(kept);
            for (source, gradient) in node.inputs.iter().zip(outgoing) {
                if let (Some(source), Some(gradient)) = (source, gradient) {
                    self.deliver(&mut waiting, source, gradient);
                }
            }
        }
        self.nodes.borrow_mut().clear();
        self.frames.borrow_mut().clear();
    }

    fn deliver(&self, waiting: &mut BTreeMap<usize, Vec<Option<Tensor>>>, to: &Source, gradient: Tensor) {
        match to {
            Source::Recomputed => {}
            Source::Leaf(leaf) => {
                let old = leaf.grad.take();
                *leaf.grad.borrow_mut() = Some(self.sum(old, gradient));
            }
            Source::Node { index, slot } => {
                let slots = waiting.entry(*index).or_default();
                if slots.len() <= *slot {
                    slots.resize(slot + 1, None);
                }
                slots[*slot] = Some(self.sum(slots[*slot].take(), gradient));
            }
        }
    }

    /// `old + new`, in place if the old one is nobody else's (`input_buffer.cpp`, `accumulate`).
    fn sum(&self, old: Option<Tensor>, new: Tensor) -> Tensor {
        match old {
            None => new,
            Some(old) if !old.is_view && old.is_only_holder() => old,
            Some(old) => self.make_like(&old),
        }
    }

    /// A leaf's gradient is its own from the next micro-batch on.
    pub(super) fn settle(leaf: &Leaf) {
        if let Some(gradient) = leaf.grad.borrow_mut().as_mut() {
            gradient.is_view = false;
        }
    }
}
