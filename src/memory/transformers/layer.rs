//! One decoder layer, statement by statement as Transformers writes it: what a Python variable
//! holds, a binding here holds.

use super::attention::{Heads, Shape};
use super::linear::{Linear, Run};
use super::norm::NormKind;
use super::rotary::Angles;
use super::tape::Tape;
use super::tensor::Tensor;

/// Norms that only some families have.
#[derive(Debug, Default)]
pub(super) struct Norms {
    /// Of attention's input.
    pub(super) attention: Option<Tensor>,
    /// Of attention's output, before it is added.
    pub(super) after_attention: Option<Tensor>,
    /// Of the MLP's input.
    pub(super) mlp: Option<Tensor>,
    /// Of the MLP's output, before it is added.
    pub(super) after_mlp: Option<Tensor>,
    /// Of each query head and each key head.
    pub(super) heads: Option<(Tensor, Tensor)>,
}

/// Projections to queries, keys and values.
#[derive(Debug)]
pub(super) enum Projections {
    Apart(Box<[Linear; 3]>),
    /// One matrix, with the widths of queries and of keys.
    Together(Box<Linear>, u64, u64),
}

/// The gated MLP's first matrices.
#[derive(Debug)]
pub(super) enum Gates {
    Apart(Box<[Linear; 2]>),
    Together(Box<Linear>),
}

/// The weights of a layer, and its shapes.
#[derive(Debug)]
pub(super) struct DecoderLayer {
    pub(super) norms: Norms,
    pub(super) projections: Projections,
    pub(super) output: Linear,
    pub(super) gates: Gates,
    pub(super) down: Linear,
    pub(super) hidden_size: u64,
    /// Values of a head that are turned.
    pub(super) turned: u64,
    pub(super) norm_kind: NormKind,
    pub(super) shape: Shape,
}

/// What all layers share.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) angles: Angles,
    pub(super) mask: Option<Tensor>,
    pub(super) run: Run,
}

impl DecoderLayer {
    /// Its linear layers, in the order of its modules.
    pub(super) fn linears(&mut self) -> Vec<&mut Linear> {
        let mut all: Vec<&mut Linear> = match &mut self.projections {
            Projections::Apart(apart) => apart.iter_mut().collect(),
            Projections::Together(all, ..) => vec![all],
        };
        all.push(&mut self.output);
        match &mut self.gates {
            Gates::Apart(apart) => all.extend(apart.iter_mut()),
            Gates::Together(both) => all.push(both),
        }
        all.push(&mut self.down);
        all
    }

    /// `hidden_states` in, `hidden_states` out.
    pub(super) fn forward(&self, tape: &Tape, around: &Surroundings, input: &Tensor) -> Tensor {
        let mut hidden = self.normed(tape, self.norms.attention.as_ref(), input);
        let (attended, _weights) = self.attention(tape, around, &hidden);
        hidden = attended;
        hidden = self.normed(tape, self.norms.after_attention.as_ref(), &hidden);
        hidden = tape.add(input, &hidden);
        let residual = hidden.clone();
        hidden = self.normed(tape, self.norms.mlp.as_ref(), &hidden);
        hidden = self.mlp(tape, around.run, &hidden);
        hidden = self.normed(tape, self.norms.after_mlp.as_ref(), &hidden);
        tape.add(&residual, &hidden)
    }

    fn normed(&self, tape: &Tape, weight: Option<&Tensor>, x: &Tensor) -> Tensor {
        weight.map_or_else(|| x.clone(), |weight| tape.norm(x, weight, self.hidden_size, self.norm_kind))
    }

    fn attention(&self, tape: &Tape, around: &Surroundings, x: &Tensor) -> (Tensor, Option<Tensor>) {
        let [mut query, mut key, value] = self.project(tape, around.run, x);
        (query, key) = {
            let turned = self.turn(tape, around, &query);
            let turned_key = self.turn(tape, around, &key);
            (turned, turned_key)
        };
        let heads = Heads { query: &query, key: &key, value: &value };
        let (mut attended, weights) = tape.attended(around.run, self.shape, &heads, around.mask.as_ref());
        attended = self.output.forward(tape, around.run, &attended);
        (attended, weights)
    }

    fn turn(&self, tape: &Tape, around: &Surroundings, x: &Tensor) -> Tensor {
        let width = self.shape.width;
        match self.projections {
            Projections::Apart(_) => tape.rotated(x, &around.angles),
            Projections::Together(..) => tape.partly_rotated(x, &around.angles, x.n / width * self.turned),
        }
    }

    fn project(&self, tape: &Tape, run: Run, x: &Tensor) -> [Tensor; 3] {
        match &self.projections {
            Projections::Apart(apart) => {
                let [query, key, value] = apart.as_ref();
                let query = self.heads(tape, query.forward(tape, run, x), 0);
                let key = self.heads(tape, key.forward(tape, run, x), 1);
                [query, key, tape.split_heads(&value.forward(tape, run, x))]
            }
            Projections::Together(all, query, key) => {
                let all = all.forward(tape, run, x);
                let rows = x.n / self.hidden_size;
                let part = |width| tape.split_heads(&tape.part(&all, rows * width));
                [part(*query), part(*key), part(*key)]
            }
        }
    }

    /// Rows as heads, normed where the family norms them: Gemma after they are turned to heads,
    /// Qwen before.
    fn heads(&self, tape: &Tape, rows: Tensor, which: usize) -> Tensor {
        let Some((query, key)) = &self.norms.heads else { return tape.split_heads(&rows) };
        let weight = if which == 0 { query } else { key };
        match self.norm_kind {
            NormKind::Llama => {
                let normed = tape.norm(&rows, weight, self.shape.width, self.norm_kind);
                drop(rows);
                tape.split_heads(&normed)
            }
            NormKind::Gemma => {
                let heads = tape.split_heads(&rows);
                drop(rows);
                tape.norm(&heads, weight, self.shape.width, self.norm_kind)
            }
        }
    }

    fn mlp(&self, tape: &Tape, run: Run, x: &Tensor) -> Tensor {
        let product = match &self.gates {
            Gates::Apart(apart) => {
                let [gate, up] = apart.as_ref();
                let activated = {
                    let gate = gate.forward(tape, run, x);
                    tape.activated(&gate)
                };
                let up = up.forward(tape, run, x);
                tape.mul(&activated, &up)
            }
            Gates::Together(both) => {
                let (gate, up) = tape.halves(&both.forward(tape, run, x));
                let activated = tape.activated(&gate);
                tape.mul(&up, &activated)
            }
        };
        self.down.forward(tape, run, &product)
    }
}
