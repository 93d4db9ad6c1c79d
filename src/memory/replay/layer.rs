//! One layer, forward and backward, as `model::layer` runs it.

use super::BatchShape;
use super::ops::Ops;
use super::projection::{Fan, Projection};
use super::sink::{Sink, Slot};
use crate::memory::Held;

/// Sizes of the heads, and how they look at what came before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) h: usize,
    pub(super) g: usize,
    pub(super) k: usize,
    pub(super) is_capped: bool,
    pub(super) window: Option<usize>,
}

impl Heads {
    pub(super) const fn members(self) -> usize {
        self.h / self.g
    }
}

/// A norm's weight.
#[derive(Clone, Copy)]
pub(super) struct Norm {
    pub(super) width: usize,
    pub(super) slot: Option<Slot>,
}

impl Norm {
    /// The gradient of what it took, `n` values, beside `residual`.
    pub(super) fn backward_onto(self, ops: &dyn Ops, residual: Held, n: usize, sink: &mut Sink) -> Held {
        if let Some(slot) = self.slot {
            sink.receive(slot);
        }
        let dx = ops.norm_backward(residual, n, self.width, self.slot.is_some());
        if let Some(slot) = self.slot {
            sink.complete(slot);
        }
        dx
    }

    /// The gradient alone.
    pub(super) fn backward(self, ops: &dyn Ops, n: usize, sink: &mut Sink) -> Held {
        let zeros = ops.tensor(n);
        self.backward_onto(ops, zeros, n, sink)
    }
}

/// A layer's weights.
pub(super) struct Layer {
    pub(super) d: usize,
    pub(super) f: usize,
    pub(super) attention_norm: Norm,
    pub(super) inputs: Fan,
    pub(super) head_norms: Option<[Norm; 2]>,
    pub(super) o: Projection,
    pub(super) after_attention: Option<Norm>,
    pub(super) mlp_norm: Norm,
    pub(super) gates: Fan,
    pub(super) down: Projection,
    pub(super) after_mlp: Option<Norm>,
    pub(super) heads: Heads,
    /// Whether the activation is GELU, by a cubic.
    pub(super) is_cubic: bool,
}

/// What a layer keeps for its backward pass.
pub(super) struct Saved {
    x: Held,
    attention: SavedAttention,
    middle: Held,
    mlp: SavedMlp,
}

struct SavedAttention {
    q: Held,
    k: Held,
    v: Held,
    output: Option<Held>,
}

struct SavedMlp {
    gate: Held,
    up: Held,
    output: Option<Held>,
}

/// What a pass runs on.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) ops: &'a dyn Ops,
    pub(super) batch: &'a BatchShape,
    /// Positions.
    pub(super) n: usize,
}

impl Layer {
    const fn query_width(&self) -> usize {
        self.heads.h * self.heads.k
    }

    const fn key_width(&self) -> usize {
        self.heads.g * self.heads.k
    }

    fn activation(&self, pass: Pass) -> Held {
        pass.ops.tensor(pass.n * self.d)
    }

    /// The output alone.
    pub(super) fn forward(&self, x: Held, pass: Pass) -> Held {
        let (output, attended) = {
            let (SavedAttention { output, .. }, attended) = self.attend(pass);
            (output, attended)
        };
        let middle = self.middle(x, output.is_some(), pass);
        drop((attended, output));
        let mlp = self.mlp(pass);
        self.output(middle, &mlp, pass)
    }

    /// The output and what the backward pass needs.
    pub(super) fn forward_saving(&self, x: Held, pass: Pass) -> (Held, Saved) {
        let saved = self.save(x, pass);
        let copy = self.activation(pass);
        (self.output(copy, &saved.mlp, pass), saved)
    }

    /// What the backward pass needs, made from the input.
    pub(super) fn save(&self, x: Held, pass: Pass) -> Saved {
        let (attention, attended) = self.attend(pass);
        let copy = self.activation(pass);
        let middle = self.middle(copy, attention.output.is_some(), pass);
        drop(attended);
        let mlp = self.mlp(pass);
        Saved { x, attention, middle, mlp }
    }

    fn attend(&self, pass: Pass) -> (SavedAttention, Held) {
        let Pass { ops, batch, n } = pass;
        let normed = ops.norm(n * self.d, self.d);
        let qkv: [Held; 3] = three(self.inputs.forward(ops, n), ops);
        drop(normed);
        let [q, k, v] = qkv;
        let (q, k, attended) = if self.head_norms.is_some() {
            let _turned = self.turned(pass);
            (q, k, ops.attention(batch, self.heads))
        } else {
            let (q, k) = self.turn(q, k, pass);
            (q, k, ops.attention(batch, self.heads))
        };
        let output = self.after_attention.map(|_| self.o.forward(ops, n));
        (SavedAttention { q, k, v, output }, attended)
    }

    fn turn(&self, q: Held, k: Held, Pass { ops, n, .. }: Pass) -> (Held, Held) {
        let head = self.heads.k;
        let q = ops.rope(q, n, self.query_width(), head);
        (q, ops.rope(k, n, self.key_width(), head))
    }

    fn turned(&self, pass: Pass) -> (Held, Held) {
        let Pass { ops, n, .. } = pass;
        let head = self.heads.k;
        let q = ops.rope(ops.norm(n * self.query_width(), head), n, self.query_width(), head);
        let k = ops.rope(ops.norm(n * self.key_width(), head), n, self.key_width(), head);
        (q, k)
    }

    fn middle(&self, x: Held, has_output: bool, Pass { ops, n, .. }: Pass) -> Held {
        if has_output {
            let normed = ops.norm(n * self.d, self.d);
            ops.sum(x, normed)
        } else {
            self.o.forward_onto(ops, x, n)
        }
    }

    fn mlp(&self, Pass { ops, n, .. }: Pass) -> SavedMlp {
        let normed = ops.norm(n * self.d, self.d);
        let mut both = self.gates.forward(ops, n).into_iter();
        let mut next = || both.next().unwrap_or_else(|| ops.tensor(0));
        let (gate, up) = (next(), next());
        drop(normed);
        let output = self.after_mlp.map(|_| {
            let _product = ops.gated(n * self.f, self.is_cubic);
            self.down.forward(ops, n)
        });
        SavedMlp { gate, up, output }
    }

    fn output(&self, middle: Held, mlp: &SavedMlp, Pass { ops, n, .. }: Pass) -> Held {
        if mlp.output.is_some() {
            let normed = ops.norm(n * self.d, self.d);
            ops.sum(middle, normed)
        } else {
            let _product = ops.gated(n * self.f, self.is_cubic);
            self.down.forward_onto(ops, middle, n)
        }
    }

    /// The gradient of the input; what was saved is dropped on the way.
    pub(super) fn backward(&self, saved: Saved, dy: Held, pass: Pass, sink: &mut Sink) -> Held {
        let Saved { x, attention, middle, mlp } = saved;
        let dmiddle = self.mlp_backward(mlp, dy, pass, sink);
        drop(middle);
        let dx = self.attention_backward(attention, dmiddle, pass, sink);
        drop(x);
        dx
    }

    fn mlp_backward(&self, mlp: SavedMlp, dy: Held, pass: Pass, sink: &mut Sink) -> Held {
        let Pass { ops, n, .. } = pass;
        let SavedMlp { gate, up, output } = mlp;
        let ddown = self.before(self.after_mlp, output, pass, sink);
        let product = ops.gated(n * self.f, self.is_cubic);
        let dproduct = self.down.backward(ops, n, None, sink);
        drop((ddown, product));
        let (dgate, dup) = ops.gated_backward(gate, up, n * self.f, self.is_cubic);
        drop(dproduct);
        let normed = ops.norm(n * self.d, self.d);
        let dnormed = self.gates.backward(ops, n, vec![dgate, dup], sink);
        drop(normed);
        let dmiddle = self.mlp_norm.backward_onto(ops, dy, n * self.d, sink);
        drop(dnormed);
        dmiddle
    }

    fn attention_backward(&self, saved: SavedAttention, dmiddle: Held, pass: Pass, sink: &mut Sink) -> Held {
        let Pass { ops, batch, n } = pass;
        let SavedAttention { q, k, v, output } = saved;
        let dout = self.before(self.after_attention, output, pass, sink);
        let (dattended, low) = self.o.backward_input(ops, n, None);
        let (raw, q, k) = if self.head_norms.is_some() {
            let (turned_q, turned_k) = self.turned(pass);
            (Some((q, k)), turned_q, turned_k)
        } else {
            (None, q, k)
        };
        let ([dq, dk, dv], attended) = ops.attention_backward(dattended, [q, k, v], batch, self.heads);
        self.o.backward_weights(ops, n, low.as_ref(), sink);
        drop((dout, attended, low));
        let (mut dq, mut dk) = self.turn(dq, dk, pass);
        if let (Some([q_norm, k_norm]), Some((q, k))) = (self.head_norms, raw) {
            dq = replaced(dq, || q_norm.backward(ops, n * self.query_width(), sink));
            dk = replaced(dk, || k_norm.backward(ops, n * self.key_width(), sink));
            drop((q, k));
        }
        let normed = ops.norm(n * self.d, self.d);
        let dnormed = self.inputs.backward(ops, n, vec![dq, dk, dv], sink);
        drop(normed);
        let dx = self.attention_norm.backward_onto(ops, dmiddle, n * self.d, sink);
        drop(dnormed);
        dx
    }

    /// The gradient of what a norm after a block takes, where there is one.
    fn before(&self, norm: Option<Norm>, output: Option<Held>, pass: Pass, sink: &mut Sink) -> Option<Held> {
        let (norm, output) = norm.zip(output)?;
        let gradient = norm.backward(pass.ops, pass.n * self.d, sink);
        drop(output);
        Some(gradient)
    }
}

/// What `make` makes in place of `old`, which is alive meanwhile.
fn replaced(old: Held, make: impl FnOnce() -> Held) -> Held {
    let new = make();
    drop(old);
    new
}

fn three(outputs: Vec<Held>, ops: &dyn Ops) -> [Held; 3] {
    let mut outputs = outputs.into_iter();
    std::array::from_fn(|_| outputs.next().unwrap_or_else(|| ops.tensor(0)))
}
