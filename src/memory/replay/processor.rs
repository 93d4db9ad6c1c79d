//! What the kernels for a processor allocate.

use super::machine::Processor;
use super::ops::{HeadGradients, Ops, WIDE};
use super::stored::{Format, Matrix};
use super::{BatchShape, Heads};
use crate::memory::kernels::{
    ATTENTION_ROWS, HEAD_PIECE, HEAD_ROWS, NORM_PARTS, ROWS_PER_PASS, SOFTMAX_BLOCK,
};
use crate::memory::{Blocking, Held, Ledger, ProductSize, Tile};
use crate::space::Precision;

/// The kernels' allocations.
pub(super) struct ProcessorOps {
    ledger: Ledger,
    processor: Processor,
    precision: Precision,
}

/// One input of a product.
#[derive(Clone, Copy, PartialEq)]
enum Lies {
    /// f32, one value after another along the depth.
    AsNeeded,
    /// In another order, or narrow.
    Otherwise,
}

/// How many threads a product may use.
#[derive(Clone, Copy)]
enum Threads {
    All,
    One,
}

impl ProcessorOps {
    pub(super) fn new(ledger: &Ledger, processor: Processor, precision: Precision) -> Self {
        Self { ledger: ledger.clone(), processor, precision }
    }

    const fn element(&self) -> u64 {
        match self.precision {
            Precision::F32 => 4,
            Precision::Bf16 | Precision::F16 => 2,
        }
    }

    fn is_narrow(&self) -> bool {
        self.precision != Precision::F32
    }

    /// Whether products of this precision may be taken in bfloat16 pairs.
    fn rounds(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// The tile of a product whose inputs may be rounded or not.
    fn tile(&self, may_round: bool) -> Tile {
        self.processor.narrow.filter(|_| may_round).unwrap_or(self.processor.wide)
    }

    fn scratch(&self, size: ProductSize, may_round: bool, a: Lies, threads: Threads) -> u64 {
        let ProductSize { m, k, n } = size;
        if m == 0 || k == 0 || n == 0 {
            return 0;
        }
        let tile = self.tile(may_round);
        let threads = match threads {
            Threads::All => self.processor.threads,
            Threads::One => 1,
        };
        let packs_a = a == Lies::Otherwise || tile.depth > 1;
        Blocking::new(size, tile, threads).scratch_bytes(packs_a)
    }

    /// Rows of activations in this precision against a matrix: `(rows, k)·(k, n)`.
    fn product_scratch(&self, m: usize, k: usize, n: usize) -> u64 {
        let a = if self.is_narrow() { Lies::Otherwise } else { Lies::AsNeeded };
        self.scratch(ProductSize { m, k, n }, self.rounds(), a, Threads::All)
    }

    /// A product into a tensor that is there: f32 directly, narrow by f32 sums of some rows.
    fn product_onto(&self, rows: usize, k: usize, n: usize) {
        if !self.is_narrow() {
            return self.ledger.touch(self.product_scratch(rows, k, n));
        }
        let rows = rows.clamp(1, ROWS_PER_PASS);
        let _sums = self.ledger.hold(WIDE * (rows * n) as u64);
        self.ledger.touch(self.product_scratch(rows, k, n));
    }

    fn product(&self, rows: usize, k: usize, n: usize) -> Held {
        let out = self.tensor(rows * n);
        self.product_onto(rows, k, n);
        out
    }

    /// Bytes of f32 values.
    const fn f32(values: usize) -> u64 {
        WIDE * values as u64
    }

    /// The most a thread holds in one piece of attention: m rows of queries against `seen` keys.
    fn attention_piece(&self, t: usize, heads: Heads) -> u64 {
        let rows = ATTENTION_ROWS.min(t);
        let (m, seen, k) = (rows * heads.members(), seen(t, heads), heads.k);
        let one = |size, may_round| self.scratch(size, may_round, Lies::AsNeeded, Threads::One);
        let rounds = self.rounds();
        let scores = one(ProductSize { m, k, n: seen }, rounds);
        let output = one(ProductSize { m, k: seen, n: k }, rounds);
        Self::f32(m * k) + Self::f32(m * seen) + scores.max(Self::f32(m * k) + output)
    }

    /// The most a thread holds in one sequence and key head of the backward pass.
    fn attention_unit(&self, t: usize, heads: Heads) -> u64 {
        let rows = ATTENTION_ROWS.min(t);
        let (m, seen, k) = (rows * heads.members(), seen(t, heads), heads.k);
        let one = |size, lies| self.scratch(size, false, lies, Threads::One);
        let scores = one(ProductSize { m, k, n: seen }, Lies::AsNeeded);
        let dv = one(ProductSize { m: seen, k: m, n: k }, Lies::Otherwise);
        let later = [
            scores,
            one(ProductSize { m, k: seen, n: k }, Lies::AsNeeded),
            one(ProductSize { m: seen, k: m, n: k }, Lies::Otherwise),
        ];
        let whole = Self::f32(4 * t * k) + Self::f32(2 * m * k) + Self::f32(m * seen);
        let slopes = if heads.is_capped { Self::f32(m * seen) } else { 0 };
        let ds = Self::f32(m * seen) + later.into_iter().max().unwrap_or(0);
        whole + slopes + ds.max(dv)
    }

    /// All threads at once hold the most that any of so many units needs.
    fn on_threads(&self, units: usize, most: u64) -> u64 {
        units.min(self.processor.threads) as u64 * most
    }
}

/// Keys that the last rows of a sequence see.
fn seen(t: usize, heads: Heads) -> usize {
    heads.window.map_or(t, |window| t.min(window + ATTENTION_ROWS - 1))
}

impl Ops for ProcessorOps {
    fn tensor(&self, elements: usize) -> Held {
        self.ledger.hold(self.element() * elements as u64)
    }

    fn embedding(&self, n: usize, d: usize) -> Held {
        self.tensor(n * d)
    }

    fn embedding_backward(&self, _: usize, _: usize) {}

    fn sum(&self, x: Held, y: Held) -> Held {
        let sum = self.ledger.hold(x.bytes());
        drop((x, y));
        sum
    }

    fn norm(&self, n: usize, _: usize) -> Held {
        self.tensor(n)
    }

    fn norm_backward(&self, residual: Held, _: usize, d: usize, is_trained: bool) -> Held {
        if is_trained {
            self.ledger.touch(Self::f32(NORM_PARTS * d));
        }
        residual
    }

    fn rope(&self, x: Held, _: usize, _: usize, _: usize) -> Held {
        x
    }

    fn gated(&self, elements: usize, _: bool) -> Held {
        self.tensor(elements)
    }

    fn gated_backward(&self, gate: Held, up: Held, _: usize, _: bool) -> (Held, Held) {
        (gate, up)
    }

    fn linear(&self, n: usize, w: Matrix) -> Held {
        self.product(n, w.i, w.o)
    }

    fn linear_onto(&self, onto: Held, n: usize, w: Matrix, _: bool) -> Held {
        self.product_onto(n, w.i, w.o);
        onto
    }

    fn backward_input(&self, n: usize, w: Matrix) -> Held {
        self.product(n, w.o, w.i)
    }

    fn backward_input_onto(&self, onto: Held, n: usize, w: Matrix, _: bool) -> Held {
        self.product_onto(n, w.o, w.i);
        onto
    }

    fn backward_weight(&self, n: usize, w: Matrix, _: bool, _: bool) {
        let size = ProductSize { m: w.o, k: n, n: w.i };
        self.ledger.touch(self.scratch(size, self.rounds(), Lies::Otherwise, Threads::All));
    }

    fn add_bias(&self, y: Held, _: usize, _: usize) -> Held {
        y
    }

    fn bias_backward(&self, _: usize, o: usize) {
        self.ledger.touch(Self::f32(NORM_PARTS * o));
    }

    fn dropout(&self, elements: usize) -> Held {
        self.tensor(elements)
    }

    fn update(&self, _: usize) {}

    fn attention(&self, batch: &BatchShape, heads: Heads) -> Held {
        let out = self.tensor(batch.positions() * heads.h * heads.k);
        let pieces = batch.lengths.iter().map(|length| length.div_ceil(ATTENTION_ROWS)).sum();
        self.ledger.touch(self.on_threads(pieces, self.attention_piece(batch.longest(), heads)));
        out
    }

    fn attention_backward(
        &self,
        dout: Held,
        inputs: [Held; 3],
        batch: &BatchShape,
        heads: Heads,
    ) -> ([Held; 3], Held) {
        let units = batch.lengths.len() * heads.g;
        self.ledger.touch(self.on_threads(units, self.attention_unit(batch.longest(), heads)));
        (inputs, dout)
    }

    fn head(
        &self,
        x: Held,
        n: usize,
        Matrix { o: v, i: d, format }: Matrix,
        gradients: Option<HeadGradients>,
        _: bool,
    ) -> Option<Held> {
        let alive = HEAD_ROWS.min(n);
        let piece = v.min(HEAD_PIECE);
        let logits = if gradients.is_some() { v } else { piece };
        let blocks = v.div_ceil(SOFTMAX_BLOCK);
        let rows = alive * (d * if gradients.is_some() { 2 } else { 1 } + logits + 3 + 2 * blocks);
        let _held = self.ledger.hold(Self::f32(rows + n) + 8 * n as u64);
        let head = if format == Format::Plain(WIDE) { Lies::AsNeeded } else { Lies::Otherwise };
        let all = |m, k, n, may_round, a| self.scratch(ProductSize { m, k, n }, may_round, a, Threads::All);
        let mut scratch = all(piece, d, alive, false, head);
        if let Some(HeadGradients { weight }) = gradients {
            let rounds = self.rounds();
            if weight.is_some() {
                scratch = scratch.max(all(piece, alive, d, rounds, Lies::AsNeeded));
            }
            scratch = scratch.max(all(alive, piece, d, rounds, Lies::Otherwise));
        }
        self.ledger.touch(scratch);
        gradients.is_some().then_some(x)
    }
}
