//! Attention composed of tensor operations: neighbouring sequences of equal length, with all their scores.

use super::card::CardOps;
use super::ops::Ops;
use super::{BatchShape, Heads};
use crate::memory::Held;
use crate::memory::kernels::SCORES_ALIVE;

/// So many sequences of so many positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    sequences: usize,
    t: usize,
}

/// Neighbours of equal length, as many as may be alive at once.
pub(super) fn groups(batch: &BatchShape, heads: Heads) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for t in batch.lengths.iter().copied().filter(|t| *t > 0) {
        match groups.last_mut() {
            Some(Group { sequences, t: other })
                if *other == t && (*sequences + 1) * t * t * heads.h <= SCORES_ALIVE =>
            {
                *sequences += 1;
            }
            _ => groups.push(Group { sequences: 1, t }),
        }
    }
    groups
}

/// The attention of one group.
pub(super) struct Scores<'a> {
    ops: &'a CardOps,
    queries: usize,
    keys: usize,
    pairs: usize,
    mask: usize,
    is_capped: bool,
}

impl<'a> Scores<'a> {
    pub(super) fn new(ops: &'a CardOps, Group { sequences, t }: Group, heads: Heads) -> Self {
        let n = sequences * t;
        Self {
            ops,
            queries: n * heads.h * heads.k,
            keys: n * heads.g * heads.k,
            pairs: n * t * heads.h,
            mask: heads.members() * t * t,
            is_capped: heads.is_capped,
        }
    }

    /// Scaled scores in f32.
    fn made(&self) -> Held {
        let ops = self.ops;
        let _scaled = ops.tensor(self.queries);
        let _product = ops.tensor(self.pairs);
        let _wide = ops.widened(self.pairs);
        let scores = ops.wide(self.pairs);
        if self.is_capped {
            ops.touch_wide(2, self.pairs);
        }
        scores
    }

    /// Their softmax, beside them.
    fn probabilities(&self) -> Held {
        let ops = self.ops;
        let _mask = ops.wide(self.mask);
        let _masked = ops.wide(self.pairs);
        ops.touch_wide(1, self.pairs);
        let _weights = ops.wide(self.pairs);
        ops.wide(self.pairs)
    }

    pub(super) fn forward(&self) -> Held {
        let ops = self.ops;
        let _inputs = (ops.tensor(self.queries), ops.tensor(self.keys), ops.tensor(self.keys));
        let p = {
            let _scores = self.made();
            let p = self.probabilities();
            if ops.element() == 4 { p } else { ops.tensor(self.pairs) }
        };
        let _product = ops.tensor(self.queries);
        let out = ops.tensor(self.queries);
        drop(p);
        out
    }

    /// Those of queries, keys and values, and the output.
    pub(super) fn backward(&self) -> [Held; 4] {
        let ops = self.ops;
        let is_narrow = ops.element() < 4;
        let _inputs = (ops.tensor(self.queries), ops.tensor(self.queries));
        let _keys = (ops.tensor(self.keys), ops.tensor(self.keys));
        let scores = self.made();
        let _slopes = self.is_capped.then(|| ops.wide(self.pairs));
        let p = self.probabilities();
        drop(scores);
        let narrow = is_narrow.then(|| ops.tensor(self.pairs));
        let out = self.product(self.queries);
        let dvalues = self.transposed_product(self.keys);
        drop(narrow);
        let dp = {
            let product = ops.tensor(self.pairs);
            if is_narrow { ops.wide(self.pairs) } else { product }
        };
        // p∘dp; then dp less its mean, and its product with p.
        ops.touch_wide(2, self.pairs);
        drop(p);
        let ds = {
            let _product = ops.wide(self.pairs);
            ops.wide(self.pairs)
        };
        let _narrow = is_narrow.then(|| ops.tensor(self.pairs));
        let dq = self.product(self.queries);
        let dkeys = self.transposed_product(self.keys);
        drop((dp, ds));
        [dq, dkeys, dvalues, out]
    }

    /// A product and its copy in the order of activations.
    fn product(&self, elements: usize) -> Held {
        let _product = self.ops.tensor(elements);
        self.ops.tensor(elements)
    }

    fn transposed_product(&self, elements: usize) -> Held {
        let _transposed = self.ops.tensor(self.pairs);
        self.product(elements)
    }
}
