//! A linear layer as the decoder uses it: its matrix trainable or frozen, with or without a
//! low-rank side path.
//!
//! Shapes: x [n, i], y [n, o], W [o, i], A [r, i], B [o, r].

use candle_core::{Result, Tensor};

use super::GradientSink;
use super::ops::{self, Output};

/// What puts a gradient into its buffer; into none where the weight is frozen.
type Put<'a> = dyn FnMut(Option<(&Tensor, Output)>) -> Result<()> + 'a;

/// A weight and where its gradient goes; a frozen one has none.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a> {
    pub(super) value: &'a Tensor,
    pub(super) slot: Option<usize>,
}

impl Weight<'_> {
    /// Puts what `put` has into the weight's gradient, if it is trainable.
    pub(super) fn receive(self, sink: &mut dyn GradientSink, put: &mut Put<'_>) -> Result<()> {
        let Some(slot) = self.slot else { return put(None) };
        sink.receive(slot, &mut |buffer, output| put(Some((buffer, output))))
    }

    /// The same for a `put` that can only add.
    pub(super) fn add(
        self,
        sink: &mut dyn GradientSink,
        put: &mut dyn FnMut(Option<&Tensor>) -> Result<()>,
    ) -> Result<()> {
        self.receive(sink, &mut |gradient| {
            if let Some((buffer, Output::Overwrite)) = gradient {
                buffer.zero_set()?;
            }
            put(gradient.map(|(buffer, _)| buffer))
        })
    }

    /// Says that the pass is done with the weight.
    pub(super) fn complete(self, sink: &mut dyn GradientSink) -> Result<()> {
        self.slot.map_or(Ok(()), |slot| sink.complete(slot, self.value))
    }

    /// Adds scale · dyᵀ·x to the gradient of a matrix, and says that it is complete.
    fn take_product(self, dy: &Tensor, x: &Tensor, scale: f32, sink: &mut dyn GradientSink) -> Result<()> {
        let Some(slot) = self.slot else { return Ok(()) };
        sink.receive(slot, &mut |dw, output| ops::linear_backward_weight(dw, dy, x, scale, output))?;
        self.complete(sink)
    }
}

/// The low-rank side path of a linear layer: scale · B·A (Hu et al. 2021).
#[derive(Clone, Copy)]
pub(super) struct SidePath<'a> {
    pub(super) a: Weight<'a>,
    pub(super) b: Weight<'a>,
    pub(super) scale: f32,
}

/// y = x·Wᵀ, plus scale · (x·Aᵀ)·Bᵀ where there is a side path.
#[derive(Clone, Copy)]
pub(super) struct Projection<'a> {
    pub(super) w: Weight<'a>,
    pub(super) side: Option<SidePath<'a>>,
}

impl Projection<'_> {
    /// The output.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.add_side(ops::linear(x, self.w.value)?, x)
    }

    /// The output added to `onto`, which nobody else may hold.
    pub(super) fn forward_onto(&self, onto: Tensor, x: &Tensor) -> Result<Tensor> {
        self.add_side(ops::linear_onto(onto, x, self.w.value, 1.0)?, x)
    }

    fn add_side(&self, y: Tensor, x: &Tensor) -> Result<Tensor> {
        let Some(SidePath { a, b, scale }) = self.side else { return Ok(y) };
        ops::linear_onto(y, &ops::linear(x, a.value)?, b.value, scale)
    }

    /// The gradient of the input, added to `onto` if given; those of the weights go to `sink`.
    pub(super) fn backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        onto: Option<Tensor>,
        sink: &mut dyn GradientSink,
    ) -> Result<Tensor> {
        let (dx, dlow) = self.backward_input(dy, onto)?;
        self.backward_weights(dy, x, dlow.as_ref(), sink)?;
        Ok(dx)
    }

    /// dx = dy·W + scale · (dy·B)·A, added to `onto` if given; and dy·B, where there is a side path.
    pub(super) fn backward_input(
        &self,
        dy: &Tensor,
        onto: Option<Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let dx = match onto {
            Some(onto) => ops::linear_backward_input_onto(onto, dy, self.w.value, 1.0)?,
            None => ops::linear_backward_input(dy, self.w.value)?,
        };
        let Some(SidePath { a, b, scale }) = self.side else { return Ok((dx, None)) };
        let dlow = ops::linear_backward_input(dy, b.value)?;
        let dx = ops::linear_backward_input_onto(dx, &dlow, a.value, scale)?;
        Ok((dx, Some(dlow)))
    }

    /// dW = dyᵀ·x; dB = scale · dyᵀ·(x·Aᵀ); dA = scale · (dy·B)ᵀ·x.
    ///
    /// The weights are complete then, so that the input's gradient must have been made before.
    pub(super) fn backward_weights(
        &self,
        dy: &Tensor,
        x: &Tensor,
        dlow: Option<&Tensor>,
        sink: &mut dyn GradientSink,
    ) -> Result<()> {
        self.w.take_product(dy, x, 1.0, sink)?;
        let (Some(SidePath { a, b, scale }), Some(dlow)) = (self.side, dlow) else { return Ok(()) };
        b.take_product(dy, &ops::linear(x, a.value)?, scale, sink)?;
        a.take_product(dlow, x, scale, sink)
    }
}
