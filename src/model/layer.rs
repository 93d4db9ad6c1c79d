//! One transformer layer, forward and backward.
//!
//! Shapes: x, y [n, d]; q [n, h·k]; k, v [n, g·k]; gate, up [n, f].

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::GradientSink;
use super::ops::{self, AttentionBackward, Heads, Positions, RopeTable};
use super::projection::{Projection, Weight};

/// What all layers share in one pass.
pub(super) struct Pass<'a> {
    pub(super) sequences: &'a [Range<usize>],
    pub(super) positions: &'a Positions,
    pub(super) rope: &'a RopeTable,
    pub(super) heads: Heads,
    pub(super) epsilon: f32,
}

/// The weights of a layer.
pub(super) struct Layer<'a> {
    pub(super) attention_norm: Weight<'a>,
    pub(super) q: Projection<'a>,
    pub(super) k: Projection<'a>,
    pub(super) v: Projection<'a>,
    pub(super) o: Projection<'a>,
    pub(super) mlp_norm: Weight<'a>,
    pub(super) gate: Projection<'a>,
    pub(super) up: Projection<'a>,
    pub(super) down: Projection<'a>,
}

/// What a layer keeps for its backward pass; norms, the attention's output and the gated product are
/// computed again.
pub(super) struct Saved {
    x: Tensor,
    attention: SavedAttention,
    middle: Tensor,
    mlp: SavedMlp,
}

struct SavedAttention {
    q: Tensor,
    k: Tensor,
    v: Tensor,
}

struct SavedMlp {
    gate: Tensor,
    up: Tensor,
}

impl Layer<'_> {
    /// The output alone.
    pub(super) fn forward(&self, x: Tensor, pass: &Pass) -> Result<Tensor> {
        let (_, attended) = self.attend(&x, pass)?;
        let middle = self.o.forward_onto(x, &attended)?;
        drop(attended);
        let mlp = self.gates(&middle, pass)?;
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
        let middle = self.o.forward_onto(x.copy()?, &attended)?;
        drop(attended);
        let mlp = self.gates(&middle, pass)?;
        Ok(Saved { x, attention, middle, mlp })
    }

    /// What the attention keeps, and its output.
    fn attend(&self, x: &Tensor, pass: &Pass) -> Result<(SavedAttention, Tensor)> {
        let normed = ops::rms_norm(x, self.attention_norm.value, pass.epsilon)?;
        let q = ops::rope(self.q.forward(&normed)?, pass.rope, pass.positions, 1.0)?;
        let k = ops::rope(self.k.forward(&normed)?, pass.rope, pass.positions, 1.0)?;
        let v = self.v.forward(&normed)?;
        drop(normed);
        let attended = ops::attention(&q, &k, &v, pass.sequences, pass.heads)?;
        Ok((SavedAttention { q, k, v }, attended))
    }

    fn gates(&self, middle: &Tensor, pass: &Pass) -> Result<SavedMlp> {
        let normed = ops::rms_norm(middle, self.mlp_norm.value, pass.epsilon)?;
        Ok(SavedMlp { gate: self.gate.forward(&normed)?, up: self.up.forward(&normed)? })
    }

    fn output(&self, middle: Tensor, SavedMlp { gate, up }: &SavedMlp) -> Result<Tensor> {
        self.down.forward_onto(middle, &ops::swiglu(gate, up)?)
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
        let dmiddle = self.mlp_backward(mlp, &middle, dy, pass, sink)?;
        drop(middle);
        self.attention_backward(attention, &x, dmiddle, pass, sink)
    }

    /// Gradient of the middle, added to that of the output.
    fn mlp_backward(
        &self,
        SavedMlp { gate, up }: SavedMlp,
        middle: &Tensor,
        dy: Tensor,
        pass: &Pass,
        sink: &mut dyn GradientSink,
    ) -> Result<Tensor> {
        let product = ops::swiglu(&gate, &up)?;
        let dproduct = self.down.backward(&dy, &product, None, sink)?;
        drop(product);
        let (dgate, dup) = ops::swiglu_backward(&dproduct, gate, up)?;
        drop(dproduct);
        let normed = ops::rms_norm(middle, self.mlp_norm.value, pass.epsilon)?;
        let dnormed = self.gate.backward(&dgate, &normed, None, sink)?;
        drop(dgate);
        let dnormed = self.up.backward(&dup, &normed, Some(dnormed), sink)?;
        drop((dup, normed));
        norm_backward(self.mlp_norm, &dnormed, middle, dy, pass.epsilon, sink)
    }

    /// Gradient of the input, added to that of the middle.
    fn attention_backward(
        &self,
        SavedAttention { q, k, v }: SavedAttention,
        x: &Tensor,
        dmiddle: Tensor,
        pass: &Pass,
        sink: &mut dyn GradientSink,
    ) -> Result<Tensor> {
        let (dattended, low) = self.o.backward_input(&dmiddle, None)?;
        let AttentionBackward { dq, dkeys: dk, dvalues: dv, out: attended } =
            ops::attention_backward(dattended, q, k, v, pass.sequences, pass.heads)?;
        self.o.backward_weights(&dmiddle, &attended, low.as_ref(), sink)?;
        drop((attended, low));
        let normed = ops::rms_norm(x, self.attention_norm.value, pass.epsilon)?;
        let dq = ops::rope(dq, pass.rope, pass.positions, -1.0)?;
        let dnormed = self.q.backward(&dq, &normed, None, sink)?;
        drop(dq);
        let dk = ops::rope(dk, pass.rope, pass.positions, -1.0)?;
        let dnormed = self.k.backward(&dk, &normed, Some(dnormed), sink)?;
        drop(dk);
        let dnormed = self.v.backward(&dv, &normed, Some(dnormed), sink)?;
        drop((dv, normed));
        norm_backward(self.attention_norm, &dnormed, x, dmiddle, pass.epsilon, sink)
    }
}

/// `residual` + the gradient of the norm's input.
pub(super) fn norm_backward(
    norm: Weight,
    dy: &Tensor,
    x: &Tensor,
    residual: Tensor,
    epsilon: f32,
    sink: &mut dyn GradientSink,
) -> Result<Tensor> {
    let mut dx = Some(residual);
    norm.add(sink, &mut |dw| {
        if let Some(residual) = dx.take() {
            dx = Some(ops::rms_norm_backward(dy, x, norm.value, epsilon, dw, residual)?);
        }
        Ok(())
    })?;
    norm.complete(sink)?;
    dx.ok_or_else(|| candle_core::Error::msg("the sink did not take the gradient of a norm"))
}
