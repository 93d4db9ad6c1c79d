//! A linear layer with its bias and its side path, as `model::projection` runs it.

use super::ops::Ops;
use super::sink::{Sink, Slot};
use super::stored::Matrix;
use crate::memory::Held;

/// The low-rank side path of a linear layer.
#[derive(Clone, Copy)]
pub(super) struct SidePath {
    pub(super) a: Matrix,
    pub(super) b: Matrix,
    pub(super) slots: [Slot; 2],
    pub(super) has_dropout: bool,
    pub(super) is_scaled: bool,
}

/// A bias, and its slot where it is trained.
#[derive(Clone, Copy)]
pub(super) struct Bias {
    pub(super) slot: Option<Slot>,
}

/// y = x·Wᵀ + b, and the side path.
#[derive(Clone, Copy)]
pub(super) struct Projection {
    pub(super) w: Matrix,
    pub(super) slot: Option<Slot>,
    pub(super) bias: Option<Bias>,
    pub(super) side: Option<SidePath>,
}

impl SidePath {
    /// What it sees of x: a copy only where some is dropped.
    fn seen(&self, ops: &dyn Ops, n: usize) -> Option<Held> {
        self.has_dropout.then(|| ops.dropout(n * self.a.i))
    }

    fn low(&self, ops: &dyn Ops, n: usize) -> Held {
        let _seen = self.seen(ops, n);
        ops.linear(n, self.a)
    }

    fn add_input_gradient(&self, ops: &dyn Ops, dx: Held, n: usize) -> Held {
        if !self.has_dropout {
            return ops.backward_input_onto(dx, n, self.a, self.is_scaled);
        }
        let dseen = {
            let _product = ops.backward_input(n, self.a);
            ops.tensor(n * self.a.i)
        };
        let dropped = ops.dropout(n * self.a.i);
        let sum = ops.sum(dx, dropped);
        drop(dseen);
        sum
    }
}

impl Projection {
    pub(super) fn forward(&self, ops: &dyn Ops, n: usize) -> Held {
        let y = ops.linear(n, self.w);
        let low = self.low(ops, n);
        self.add_rest(ops, y, low.as_ref(), n, self.w.o)
    }

    pub(super) fn forward_onto(&self, ops: &dyn Ops, onto: Held, n: usize) -> Held {
        let y = ops.linear_onto(onto, n, self.w, false);
        let low = self.low(ops, n);
        self.add_rest(ops, y, low.as_ref(), n, self.w.o)
    }

    fn low(&self, ops: &dyn Ops, n: usize) -> Option<Held> {
        self.side.map(|side| side.low(ops, n))
    }

    fn add_rest(&self, ops: &dyn Ops, y: Held, low: Option<&Held>, n: usize, rows: usize) -> Held {
        let y = if self.bias.is_some() { ops.add_bias(y, n, rows) } else { y };
        match (self.side, low) {
            (Some(side), Some(_)) => ops.linear_onto(y, n, side.b.rows(rows), side.is_scaled),
            _ => y,
        }
    }

    pub(super) fn backward(&self, ops: &dyn Ops, n: usize, onto: Option<Held>, sink: &mut Sink) -> Held {
        let (dx, low) = self.backward_input(ops, n, onto);
        self.backward_weights(ops, n, low.as_ref(), sink);
        dx
    }

    pub(super) fn backward_input(&self, ops: &dyn Ops, n: usize, onto: Option<Held>) -> (Held, Option<Held>) {
        self.parts_input(ops, n, onto, &[self.w.o])
    }

    pub(super) fn backward_weights(&self, ops: &dyn Ops, n: usize, low: Option<&Held>, sink: &mut Sink) {
        self.parts_weights(ops, n, low, sink, &[self.w.o]);
    }

    /// The outputs one below the other, so many rows each.
    fn parts_input(
        &self,
        ops: &dyn Ops,
        n: usize,
        onto: Option<Held>,
        parts: &[usize],
    ) -> (Held, Option<Held>) {
        let dx = products_onto(ops, n, onto, parts, self.w);
        let Some(side) = self.side else { return (dx, None) };
        let dlow = products_onto(ops, n, None, parts, side.b);
        (side.add_input_gradient(ops, dx, n), Some(dlow))
    }

    fn parts_weights(&self, ops: &dyn Ops, n: usize, low: Option<&Held>, sink: &mut Sink, parts: &[usize]) {
        take_products(ops, n, self.slot, self.w, parts, false, sink);
        if let Some(slot) = self.bias.and_then(|bias| bias.slot) {
            sink.receive(slot);
            for rows in parts {
                ops.bias_backward(n, *rows);
            }
            sink.complete(slot);
        }
        let (Some(side), Some(_)) = (self.side, low) else { return };
        let _seen = side.seen(ops, n);
        let again = ops.linear(n, side.a);
        take_products(ops, n, Some(side.slots[1]), side.b, parts, side.is_scaled, sink);
        drop(again);
        take_products(ops, n, Some(side.slots[0]), side.a, &[side.a.o], side.is_scaled, sink);
    }
}

fn products_onto(ops: &dyn Ops, n: usize, onto: Option<Held>, parts: &[usize], w: Matrix) -> Held {
    let mut sum = onto;
    for rows in parts {
        let w = w.rows(*rows);
        sum = Some(match sum {
            Some(sum) => ops.backward_input_onto(sum, n, w, false),
            None => ops.backward_input(n, w),
        });
    }
    sum.unwrap_or_else(|| ops.tensor(0))
}

fn take_products(
    ops: &dyn Ops,
    n: usize,
    slot: Option<Slot>,
    w: Matrix,
    parts: &[usize],
    is_scaled: bool,
    sink: &mut Sink,
) {
    let Some(slot) = slot else { return };
    let adds = sink.receive(slot);
    for rows in parts {
        ops.backward_weight(n, w.rows(*rows), is_scaled, adds);
    }
    sink.complete(slot);
}

/// Several projections of one input: a matrix each, or one with the rows of all.
pub(super) enum Fan {
    Separate(Vec<Projection>),
    Fused(Box<Projection>, Vec<usize>),
}

impl Fan {
    pub(super) fn forward(&self, ops: &dyn Ops, n: usize) -> Vec<Held> {
        match self {
            Self::Separate(projections) => projections.iter().map(|one| one.forward(ops, n)).collect(),
            Self::Fused(all, counts) => {
                let low = all.low(ops, n);
                let output = |rows: &usize| {
                    let y = ops.linear(n, all.w.rows(*rows));
                    all.add_rest(ops, y, low.as_ref(), n, *rows)
                };
                counts.iter().map(output).collect()
            }
        }
    }

    /// The gradient of the input; those of the outputs are dropped as they are used up.
    pub(super) fn backward(&self, ops: &dyn Ops, n: usize, dys: Vec<Held>, sink: &mut Sink) -> Held {
        match self {
            Self::Separate(projections) => {
                let mut dx = None;
                for (projection, dy) in projections.iter().zip(dys) {
                    dx = Some(projection.backward(ops, n, dx, sink));
                    drop(dy);
                }
                dx.unwrap_or_else(|| ops.tensor(0))
            }
            Self::Fused(projection, counts) => {
                let (dx, low) = projection.parts_input(ops, n, None, counts);
                projection.parts_weights(ops, n, low.as_ref(), sink, counts);
                drop(dys);
                dx
            }
        }
    }
}
