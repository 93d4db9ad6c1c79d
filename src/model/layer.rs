//! One transformer layer, forward and backward.
//!
//! Shapes: x, y [n, d]; q [n, h·k]; k, v [n, g·k]; gate, up [n, f].

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::GradientSink;
use super::norm::Norm;
use super::ops::{self, AttentionBackward, Heads, Positions, RopeTable};
use super::projection::{Fan, Projection};
use crate::arch::Activation;

/// What all layers share in one pass.
pub(super) struct Pass<'a> {
    pub(super) sequences: &'a [Range<usize>],
    pub(super) positions: Positions,
    pub(super) rope: RopeTable,
    /// That of local layers, where it is another.
    pub(super) local_rope: Option<RopeTable>,
}

/// A layer: its weights and what it does with them.
pub(super) struct Layer<'a> {
    pub(super) attention_norm: Norm<'a>,
    /// To queries, keys and values.
    pub(super) inputs: Fan<'a, 3>,
    /// Norms of each head of queries and of keys.
    pub(super) head_norms: Option<[Norm<'a>; 2]>,
    pub(super) o: Projection<'a>,
    pub(super) after_attention: Option<Norm<'a>>,
    pub(super) mlp_norm: Norm<'a>,
    /// To gate and up.
    pub(super) gates: Fan<'a, 2>,
    pub(super) down: Projection<'a>,
    pub(super) after_mlp: Option<Norm<'a>>,
    pub(super) heads: Heads,
    pub(super) is_local: bool,
    pub(super) activation: Activation,
}

/// What a layer keeps for its backward pass; norms, what was attended and the gated product are
/// computed again.
pub(super) struct Saved {
    x: Tensor,
    attention: SavedAttention,
    middle: Tensor,
    mlp: SavedMlp,
}

/// Queries and keys are turned, but where heads are normed, as they come from their projections.
struct SavedAttention {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /// What is normed after attention.
    output: Option<Tensor>,
}

struct SavedMlp {
    gate: Tensor,
    up: Tensor,
    /// What is normed after the MLP.
    output: Option<Tensor>,
}

impl Layer<'_> {
    /// The output alone.
    pub(super) fn forward(&self, x: Tensor, pass: &Pass) -> Result<Tensor> {
        let (SavedAttention { output, .. }, attended) = self.attend(&x, pass)?;
        let middle = self.middle(x, &attended, output.as_ref())?;
        drop((attended, output));
        let mlp = self.mlp(&middle)?;
        self.output(middle, &mlp)
    }

    /// The output and what the backward pass needs.
    pub(super) fn forward_saving(&self, x: Tensor, pass: &Pass) -> Result<(Tensor, Saved)> {
        let saved = self.save(x, pass)?;
        let y = self.output(saved.middle.copy()?, &saved.mlp)?;
        Ok((y, saved))
    }

    /// What the backward pass needs, made from the layer's input.
    pub(super) fn save(&self, x: Tensor, pass: &Pass) -> Result<Saved> {
        let (attention, attended) = self.attend(&x, pass)?;
        let middle = self.middle(x.copy()?, &attended, attention.output.as_ref())?;
        drop(attended);
        let mlp = self.mlp(&middle)?;
        Ok(Saved { x, attention, middle, mlp })
    }

    /// What the attention keeps, and what was attended.
    fn attend(&self, x: &Tensor, pass: &Pass) -> Result<(SavedAttention, Tensor)> {
        let normed = self.attention_norm.forward(x)?;
        let [q, k, v] = self.inputs.forward(&normed)?;
        drop(normed);
        let (q, k, attended) = if self.head_norms.is_some() {
            let (turned_q, turned_k) = self.turned(&q, &k, pass)?;
            let attended = ops::attention(&turned_q, &turned_k, &v, pass.sequences, self.heads)?;
            (q, k, attended)
        } else {
            let (q, k) = (self.turn(q, pass, 1.0)?, self.turn(k, pass, 1.0)?);
            let attended = ops::attention(&q, &k, &v, pass.sequences, self.heads)?;
            (q, k, attended)
        };
        let output = self.after_attention.map(|_| self.o.forward(&attended)).transpose()?;
        Ok((SavedAttention { q, k, v, output }, attended))
    }

    /// Rotated by position; back where `sign` is −1.
    fn turn(&self, x: Tensor, pass: &Pass, sign: f32) -> Result<Tensor> {
        let local = pass.local_rope.as_ref().filter(|_| self.is_local);
        ops::rope(x, local.unwrap_or(&pass.rope), &pass.positions, sign)
    }

    /// Queries and keys normed by head and turned.
    fn turned(&self, q: &Tensor, k: &Tensor, pass: &Pass) -> Result<(Tensor, Tensor)> {
        let Some([q_norm, k_norm]) = self.head_norms else { return Ok((q.copy()?, k.copy()?)) };
        Ok((self.turn(q_norm.forward(q)?, pass, 1.0)?, self.turn(k_norm.forward(k)?, pass, 1.0)?))
    }

    /// `x`, which nobody else may hold, and what attention adds to it.
    fn middle(&self, x: Tensor, attended: &Tensor, output: Option<&Tensor>) -> Result<Tensor> {
        match (self.after_attention, output) {
            (Some(norm), Some(output)) => x + norm.forward(output)?,
            _ => self.o.forward_onto(x, attended),
        }
    }

    fn mlp(&self, middle: &Tensor) -> Result<SavedMlp> {
        let normed = self.mlp_norm.forward(middle)?;
        let [gate, up] = self.gates.forward(&normed)?;
        drop(normed);
        let down = |_| self.down.forward(&ops::gated(&gate, &up, self.activation)?);
        let output = self.after_mlp.map(down).transpose()?;
        Ok(SavedMlp { gate, up, output })
    }

    /// `middle`, which nobody else may hold, and what the MLP adds to it.
    fn output(&self, middle: Tensor, mlp: &SavedMlp) -> Result<Tensor> {
        match (self.after_mlp, &mlp.output) {
            (Some(norm), Some(output)) => middle + norm.forward(output)?,
            _ => self.down.forward_onto(middle, &ops::gated(&mlp.gate, &mlp.up, self.activation)?),
        }
    }

    /// Gradient of the layer's input; consumes what the forward pass kept, freeing as it goes.
    pub(super) fn backward(
        &self,
        saved: Saved,
        dy: Tensor,
        pass: &Pass,
        sink: &mut dyn GradientSink,
    ) -> Result<Tensor> {
        let Saved { x, attention, middle, mlp } = saved;
        let dmiddle = self.mlp_backward(mlp, &middle, dy, sink)?;
        drop(middle);
        self.attention_backward(attention, &x, dmiddle, pass, sink)
    }

    /// Gradient of the middle, added to that of the output.
    fn mlp_backward(
        &self,
        SavedMlp { gate, up, output }: SavedMlp,
        middle: &Tensor,
        dy: Tensor,
        sink: &mut dyn GradientSink,
    ) -> Result<Tensor> {
        let ddown = before(self.after_mlp, output, &dy, sink)?;
        let product = ops::gated(&gate, &up, self.activation)?;
        let dproduct = self.down.backward(ddown.as_ref().unwrap_or(&dy), &product, None, sink)?;
        drop((ddown, product));
        let (dgate, dup) = ops::gated_backward(&dproduct, gate, up, self.activation)?;
        drop(dproduct);
        let normed = self.mlp_norm.forward(middle)?;
        let dnormed = self.gates.backward([dgate, dup], &normed, sink)?;
        drop(normed);
        self.mlp_norm.backward_onto(dy, &dnormed, middle, sink)
    }

    /// Gradient of the input, added to that of the middle.
    fn attention_backward(
        &self,
        SavedAttention { q, k, v, output }: SavedAttention,
        x: &Tensor,
        dmiddle: Tensor,
        pass: &Pass,
        sink: &mut dyn GradientSink,
    ) -> Result<Tensor> {
        let dout = before(self.after_attention, output, &dmiddle, sink)?;
        let (dattended, low) = self.o.backward_input(dout.as_ref().unwrap_or(&dmiddle), None)?;
        let (raw, q, k) = if self.head_norms.is_some() {
            let (turned_q, turned_k) = self.turned(&q, &k, pass)?;
            (Some([q, k]), turned_q, turned_k)
        } else {
            (None, q, k)
        };
        let AttentionBackward { dq, dkeys: dk, dvalues: dv, out: attended } =
            ops::attention_backward(dattended, q, k, v, pass.sequences, self.heads)?;
        self.o.backward_weights(dout.as_ref().unwrap_or(&dmiddle), &attended, low.as_ref(), sink)?;
        drop((dout, attended, low));
        let (mut dq, mut dk) = (self.turn(dq, pass, -1.0)?, self.turn(dk, pass, -1.0)?);
        if let (Some([q_norm, k_norm]), Some([q, k])) = (self.head_norms, raw) {
            dq = q_norm.backward(&dq, &q, sink)?;
            dk = k_norm.backward(&dk, &k, sink)?;
        }
        let normed = self.attention_norm.forward(x)?;
        let dnormed = self.inputs.backward([dq, dk, dv], &normed, sink)?;
        drop(normed);
        self.attention_norm.backward_onto(dmiddle, &dnormed, x, sink)
    }
}

/// Gradient of what a norm after a block takes, where there is one.
fn before(
    norm: Option<Norm>,
    output: Option<Tensor>,
    dy: &Tensor,
    sink: &mut dyn GradientSink,
) -> Result<Option<Tensor>> {
    norm.zip(output).map(|(norm, output)| norm.backward(dy, &output, sink)).transpose()
}
