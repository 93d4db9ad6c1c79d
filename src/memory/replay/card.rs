//! What operations composed of tensor operations allocate: the path of every device without kernels.
//!
//! Each follows its `composed` function in `model::ops`: tensor operations make new tensors, and what a statement
//! makes on its way is alive until it ends.

use super::attention::{Scores, groups};
use super::ops::{HeadGradients, Ops, WIDE};
use super::stored::{Format, Matrix};
use super::{BatchShape, Heads};
use crate::memory::kernels::{HEAD_ROWS, PIECE};
use crate::memory::{Held, Ledger};
use crate::space::Precision;

/// Tensors of a piece that are alive at the highest moment of an update. Measured.
const UPDATE_TENSORS: u64 = 7;

/// The allocations of composed operations.
pub(super) struct CardOps {
    ledger: Ledger,
    precision: Precision,
}

impl CardOps {
    pub(super) fn new(ledger: &Ledger, precision: Precision) -> Self {
        Self { ledger: ledger.clone(), precision }
    }

    const fn is_narrow(&self) -> bool {
        !matches!(self.precision, Precision::F32)
    }

    pub(super) const fn element(&self) -> u64 {
        if self.is_narrow() { 2 } else { WIDE }
    }

    pub(super) fn wide(&self, elements: usize) -> Held {
        self.ledger.hold(WIDE * elements as u64)
    }

    /// So many f32 tensors of a size at once, gone again.
    pub(super) fn touch_wide(&self, tensors: u64, elements: usize) {
        self.ledger.touch(tensors * WIDE * elements as u64);
    }

    /// The same values in f32: another tensor only where they are narrow.
    pub(super) fn widened(&self, elements: usize) -> Option<Held> {
        self.is_narrow().then(|| self.wide(elements))
    }

    /// What an f32 result becomes in this precision.
    fn narrowed(&self, wide: Held, elements: usize) -> Held {
        if self.is_narrow() { self.tensor(elements) } else { wide }
    }

    /// A matrix in the precision of the product, where it is kept in another.
    fn cast(&self, w: Matrix) -> Option<Held> {
        let same = w.format == Format::Plain(self.element());
        (!same).then(|| self.tensor(w.elements()))
    }

    /// The rows of a matrix in blocks that are made values together.
    fn rows_at_once(w: Matrix) -> usize {
        (PIECE / w.i.max(1)).max(1).min(w.o)
    }

    /// f32 values of some rows and their cast.
    fn unpacked(&self, values: usize) -> (Held, Option<Held>) {
        let wide = self.wide(values);
        (wide, self.is_narrow().then(|| self.tensor(values)))
    }

    fn scaled(&self, y: Held, is_scaled: bool) -> Held {
        if is_scaled { self.ledger.hold(y.bytes()) } else { y }
    }

    /// z/c, its tanh, the result: three at once beside what is capped.
    fn capped(&self, is_capped: bool, elements: usize) {
        if is_capped {
            self.touch_wide(2, elements);
        }
    }
}

impl Ops for CardOps {
    fn tensor(&self, elements: usize) -> Held {
        self.ledger.hold(self.element() * elements as u64)
    }

    fn embedding(&self, n: usize, d: usize) -> Held {
        let selected = self.wide(n * d);
        self.narrowed(selected, n * d)
    }

    fn embedding_backward(&self, n: usize, d: usize) {
        let _rows = self.wide(n * d);
        drop(self.widened(n * d));
    }

    fn sum(&self, x: Held, y: Held) -> Held {
        let sum = self.ledger.hold(x.bytes());
        drop((x, y));
        sum
    }

    fn norm(&self, n: usize, _: usize) -> Held {
        let _wide = self.widened(n);
        self.touch_wide(1, n);
        let _normal = self.wide(n);
        let product = self.wide(n);
        self.narrowed(product, n)
    }

    fn norm_backward(&self, residual: Held, n: usize, _: usize, is_trained: bool) -> Held {
        let _inputs = (self.widened(n), self.widened(n));
        if is_trained {
            self.touch_wide(2, n);
        }
        let scaled = self.wide(n);
        // The projection; both parts of dx and their difference.
        self.touch_wide(3, n);
        let dx = self.wide(n);
        let _widened = self.widened(n);
        let sum = self.wide(n);
        let out = self.narrowed(sum, n);
        drop((scaled, dx, residual));
        out
    }

    fn rope(&self, x: Held, n: usize, width: usize, head: usize) -> Held {
        let _wide = self.widened(n * width);
        // Rows of cosines and sines, and the sines with their sign.
        let _tables = self.wide(3 * n * head / 2);
        // Two halves with the two products of the second; or the halves and what they make together.
        let both = self.wide(n * width);
        let together = self.wide(n * width);
        let out = self.narrowed(together, n * width);
        drop((both, x));
        out
    }

    fn gated(&self, elements: usize, is_cubic: bool) -> Held {
        let _inputs = (self.widened(elements), self.widened(elements));
        // −x, its exponential, the sum; beside the cubic.
        self.touch_wide(3 + u64::from(is_cubic), elements);
        let _active = self.wide(elements);
        let product = self.wide(elements);
        self.narrowed(product, elements)
    }

    fn gated_backward(&self, gate: Held, up: Held, elements: usize, is_cubic: bool) -> (Held, Held) {
        let _inputs = (self.widened(elements), self.widened(elements), self.widened(elements));
        self.touch_wide(3 + u64::from(is_cubic), elements);
        let _sigmoid = self.wide(elements);
        let active = self.wide(elements);
        let dup = self.wide(elements);
        let dup = self.narrowed(dup, elements);
        self.touch_wide(2, elements);
        drop(active);
        if is_cubic {
            // What the sigmoid's slope is multiplied by, the square it comes from, and the product.
            self.touch_wide(4, elements);
        }
        let _slope = self.wide(elements);
        // dy·up, and its product with the slope.
        let partial = self.wide(elements);
        let product = self.wide(elements);
        drop(partial);
        let dgate = self.narrowed(product, elements);
        drop((gate, up));
        (dgate, dup)
    }

    fn linear(&self, n: usize, w: Matrix) -> Held {
        if let Format::Plain(_) = w.format {
            let _cast = self.cast(w);
            return self.tensor(n * w.o);
        }
        let y = self.tensor(n * w.o);
        let rows = Self::rows_at_once(w);
        let _values = self.unpacked(rows * w.i);
        drop(self.tensor(n * rows));
        y
    }

    fn linear_onto(&self, onto: Held, n: usize, w: Matrix, is_scaled: bool) -> Held {
        let y = self.scaled(self.linear(n, w), is_scaled);
        self.sum(onto, y)
    }

    fn backward_input(&self, n: usize, w: Matrix) -> Held {
        if let Format::Plain(_) = w.format {
            let _cast = self.cast(w);
            return self.tensor(n * w.i);
        }
        let dx = self.wide(n * w.i);
        let rows = Self::rows_at_once(w);
        let _dy = self.tensor(n * rows);
        let _values = self.unpacked(rows * w.i);
        let _product = self.tensor(n * w.i);
        let _wide = self.widened(n * w.i);
        let sum = self.wide(n * w.i);
        drop(dx);
        self.narrowed(sum, n * w.i)
    }

    fn backward_input_onto(&self, onto: Held, n: usize, w: Matrix, is_scaled: bool) -> Held {
        let dx = self.scaled(self.backward_input(n, w), is_scaled);
        self.sum(onto, dx)
    }

    fn backward_weight(&self, n: usize, w: Matrix, is_scaled: bool, adds: bool) {
        let rows = Self::rows_at_once(w);
        let _part = (rows < w.o).then(|| self.tensor(n * rows));
        let product = self.tensor(rows * w.i);
        let product = self.scaled(product, is_scaled);
        let wide = self.narrowed_back(product, rows * w.i);
        let _sum = adds.then(|| self.wide(rows * w.i));
        drop(wide);
    }

    fn add_bias(&self, y: Held, n: usize, o: usize) -> Held {
        let _wide = self.widened(n * o);
        let sum = self.wide(n * o);
        let out = self.narrowed(sum, n * o);
        drop(y);
        out
    }

    fn bias_backward(&self, n: usize, o: usize) {
        drop((self.widened(n * o), self.wide(3 * o)));
    }

    fn dropout(&self, elements: usize) -> Held {
        let factors = self.wide(elements);
        let _factors = self.narrowed(factors, elements);
        self.tensor(elements)
    }

    fn update(&self, elements: usize) {
        // The gradient, both moments as they were and will be, and the terms of the change.
        self.touch_wide(UPDATE_TENSORS, elements.min(PIECE));
    }

    fn attention(&self, batch: &BatchShape, heads: Heads) -> Held {
        let mut parts = Vec::new();
        for group in groups(batch, heads) {
            parts.push(Scores::new(self, group, heads).forward());
        }
        self.joined(parts)
    }

    fn attention_backward(
        &self,
        dout: Held,
        inputs: [Held; 3],
        batch: &BatchShape,
        heads: Heads,
    ) -> ([Held; 3], Held) {
        let mut parts: [Vec<Held>; 4] = Default::default();
        for group in groups(batch, heads) {
            let made = Scores::new(self, group, heads).backward();
            parts.iter_mut().zip(made).for_each(|(parts, part)| parts.push(part));
        }
        let [dq, dkeys, dvalues, out] = parts.map(|parts| self.joined(parts));
        drop((dout, inputs));
        ([dq, dkeys, dvalues], out)
    }

    fn head(
        &self,
        x: Held,
        n: usize,
        head: Matrix,
        gradients: Option<HeadGradients>,
        is_capped: bool,
    ) -> Option<Held> {
        let (v, d) = (head.o, head.i);
        let _cast = self.cast(head);
        let dx = gradients.map(|_| self.tensor((n + 1) * d));
        let alive = HEAD_ROWS.min(n);
        let _rows = self.tensor(alive * d);
        {
            let _product = self.is_narrow().then(|| self.tensor(alive * v));
            let logits = self.wide(alive * v);
            self.capped(is_capped, alive * v);
            drop(logits);
        }
        let slopes = (is_capped && gradients.is_some()).then(|| self.wide(alive * v));
        // Logits and what they become, one after the other.
        self.touch_wide(2, alive * v);
        if let Some(HeadGradients { weight }) = gradients {
            let scaled = self.wide(alive * v);
            let dlogits = (self.is_narrow().then(|| self.tensor(alive * v)), scaled);
            if weight.is_some() {
                self.backward_weight(alive, head, false, true);
            }
            drop((self.tensor(alive * d), dlogits));
        }
        drop((slopes, x));
        let dx = dx?;
        let spread = self.tensor(n * d);
        drop(dx);
        Some(spread)
    }
}

impl CardOps {
    /// A product as f32, beside itself where it is narrow.
    fn narrowed_back(&self, product: Held, elements: usize) -> (Held, Option<Held>) {
        (product, self.widened(elements))
    }

    /// Parts put together: one alone stays as it is.
    fn joined(&self, mut parts: Vec<Held>) -> Held {
        match parts.len() {
            1 => parts.remove(0),
            _ => self.ledger.hold(parts.iter().map(Held::bytes).sum()),
        }
    }
}
