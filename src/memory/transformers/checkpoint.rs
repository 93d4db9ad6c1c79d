//! Gradient checkpointing: a layer that is computed again when its backward pass begins.
//!
//! As `torch.utils.checkpoint` with `use_reentrant=False` does it: of a layer only its input is
//! kept; the first of its nodes that wants something runs the layer again, up to the last tensor
//! that any of them kept, and each node then takes its own.

use std::rc::Rc;

use super::tape::{Mode, Tape};
use super::tensor::Tensor;

/// A layer, as it can be run again.
pub(super) type Layer = Rc<dyn Fn(&Tape, &Tensor) -> Tensor>;

/// What a node kept.
pub(super) enum Kept {
    /// These.
    Tensors(Vec<Tensor>),
    /// What the node of that number keeps when the frame is computed again.
    Of { frame: usize, node: usize },
}

/// One layer's checkpoint.
pub(super) struct Frame {
    rerun: Option<(Layer, Tensor)>,
    nodes: usize,
    wanted: usize,
    found: usize,
    again: Option<Vec<Vec<Tensor>>>,
}

impl Tape {
    /// Runs a layer and keeps its input only.
    pub(super) fn checkpoint(&self, input: &Tensor, layer: &Layer) -> Tensor {
        if self.mode.get() != Mode::Recording {
            return layer(self, input);
        }
        let rerun = Some((Rc::clone(layer), input.clone()));
        let index = self.frames.borrow().len();
        self.frames.borrow_mut().push(Frame { rerun, nodes: 0, wanted: 0, found: 0, again: None });
        self.mode.set(Mode::Checkpointing(index));
        let output = layer(self, input);
        self.mode.set(Mode::Recording);
        output
    }

    /// Notes that so many more tensors are kept.
    pub(super) fn count_kept(&self, tensors: usize) {
        match self.mode.get() {
            Mode::Checkpointing(frame) => self.frames.borrow_mut()[frame].wanted += tensors,
            Mode::Recomputing(frame) => {
                let frame = &mut self.frames.borrow_mut()[frame];
                frame.found += tensors;
                if tensors > 0 && frame.found >= frame.wanted {
                    self.stopped.set(true);
                }
            }
            Mode::NoGrad | Mode::Recording => {}
        }
    }

    /// Keeps tensors for a new node; none: the node is one of a recomputation, and thrown away.
    pub(super) fn keep(&self, tensors: Vec<Tensor>) -> Option<Kept> {
        match self.mode.get() {
            Mode::NoGrad | Mode::Recording => Some(Kept::Tensors(tensors)),
            // A node that keeps nothing does not ask for the layer to be computed again.
            Mode::Checkpointing(_) if tensors.is_empty() => Some(Kept::Tensors(tensors)),
            Mode::Recomputing(_) if tensors.is_empty() => None,
            Mode::Checkpointing(frame) => {
                let nodes = &mut self.frames.borrow_mut()[frame].nodes;
                *nodes += 1;
                Some(Kept::Of { frame, node: *nodes - 1 })
            }
            Mode::Recomputing(frame) => {
                if let Some(again) = self.frames.borrow_mut()[frame].again.as_mut() {
                    again.push(tensors);
                }
                None
            }
        }
    }

    /// What a node kept, for its backward.
    pub(super) fn unpack(&self, kept: Kept) -> Vec<Tensor> {
        match kept {
            Kept::Tensors(tensors) => tensors,
            Kept::Of { frame, node } => {
                if self.frames.borrow()[frame].again.is_none() {
                    self.recompute(frame);
                }
                let frame = &mut self.frames.borrow_mut()[frame];
                if node == 0 {
                    frame.rerun = None;
                }
                let again = frame.again.as_mut().and_then(|again| again.get_mut(node));
                again.map(std::mem::take).unwrap_or_default()
            }
        }
    }

    fn recompute(&self, index: usize) {
        let Some((layer, input)) = ({
            let frame = &mut self.frames.borrow_mut()[index];
            frame.again = Some(Vec::with_capacity(frame.nodes));
            frame.rerun.clone()
        }) else {
            return;
        };
        let before = self.mode.replace(Mode::Recomputing(index));
        drop(layer(self, &input));
        self.mode.set(before);
        self.stopped.set(false);
        // Leaving autocast, which a recomputation enters anew, forgets its copies of weights.
        self.casts.borrow_mut().clear();
    }
}
