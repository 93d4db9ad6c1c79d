//! A tensor without values: its size, its storage, and what made it.

use std::cell::RefCell;
use std::rc::Rc;

use super::dtype::Dtype;
use super::trace::Storage;

/// A tensor; a clone is another name for the same one.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    /// Number of values.
    pub(super) n: u64,
    pub(super) dtype: Dtype,
    pub(super) storage: Rc<Storage>,
    /// Where its gradient goes; none: it needs none.
    pub(super) source: Option<Source>,
    /// Whether it is a view: as a gradient it is not added to in place.
    pub(super) is_view: bool,
    /// Whether a `[b, h, s, k]` tensor lies in memory as `[b, s, h, k]`, as it was projected.
    pub(super) by_token: bool,
}

/// Where a gradient goes.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// To output `slot` of a node of the tape.
    Node { index: usize, slot: usize },
    /// Into `.grad`.
    Leaf(Rc<Leaf>),
    /// Nowhere: the graph of a recomputation is thrown away, only what it keeps matters.
    Recomputed,
}

/// The `.grad` of a tensor that is trained.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    pub(super) grad: RefCell<Option<Tensor>>,
}

impl Tensor {
    pub(super) const fn needs_grad(&self) -> bool {
        self.source.is_some()
    }

    /// The same values without their history.
    pub(super) fn detached(&self) -> Self {
        Self { source: None, ..self.clone() }
    }

    /// Another tensor on the same storage.
    pub(super) fn view(&self) -> Self {
        Self { is_view: true, ..self.clone() }
    }

    /// Whether nothing else holds its storage.
    pub(super) fn is_only_holder(&self) -> bool {
        Rc::strong_count(&self.storage) == 1
    }
}
