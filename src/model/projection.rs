//! A linear layer as the decoder uses it: its matrix trainable or frozen, with or without a bias and a
//! low-rank side path.
//!
//! Shapes: x [n, i], y [n, o], W [o, i], b [o], A [r, i], B [o, r].

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::GradientSink;
use super::ops::{self, Dropout, Output};
use super::stored::Stored;

/// What puts a gradient into its buffer; into none where the weight is frozen.
type Put<'a> = dyn FnMut(Option<(&Tensor, Output)>) -> Result<()> + 'a;

/// A weight and where its gradient goes; a frozen one has none.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a> {
    pub(super) value: &'a Stored,
    pub(super) slot: Option<usize>,
}

/// The gradient of some outputs: those of the rows `rows` of W.
struct Part<'a> {
    dy: &'a Tensor,
    rows: Range<usize>,
}

impl<'a> Part<'a> {
    /// All outputs.
    fn whole(dy: &'a Tensor) -> Result<Self> {
        Ok(Part { dy, rows: 0..dy.dim(1)? })
    }

    /// These rows of a gradient, in its memory.
    fn of(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.narrow(0, self.rows.start, self.rows.len())
    }
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
        self.slot.map_or(Ok(()), |slot| sink.complete(slot, self.value.plain()?))
    }

    /// Adds scale · dyᵀ·x to the gradient of a matrix, each part to its rows; then it is complete.
    fn take_products(
        self,
        parts: &[Part],
        x: &Tensor,
        scale: f32,
        sink: &mut dyn GradientSink,
    ) -> Result<()> {
        let Some(slot) = self.slot else { return Ok(()) };
        sink.receive(slot, &mut |dw, output| {
            let put = |part: &Part| ops::linear_backward_weight(&part.of(dw)?, part.dy, x, scale, output);
            parts.iter().try_for_each(put)
        })?;
        self.complete(sink)
    }

    /// Adds the sums over rows of dy to the gradient of a bias; then it is complete.
    fn take_sums(self, parts: &[Part], sink: &mut dyn GradientSink) -> Result<()> {
        self.add(sink, &mut |dbias| {
            let Some(dbias) = dbias else { return Ok(()) };
            parts.iter().try_for_each(|part| ops::bias_backward(part.dy, &part.of(dbias)?))
        })?;
        self.complete(sink)
    }
}

/// The low-rank side path of a linear layer: scale · B·A (Hu et al. 2021), on what dropout leaves of x.
#[derive(Clone, Copy)]
pub(super) struct SidePath<'a> {
    pub(super) a: Weight<'a>,
    pub(super) b: Weight<'a>,
    pub(super) scale: f32,
    pub(super) dropout: Option<Dropout>,
}

impl SidePath<'_> {
    /// What dropout leaves of x: what the side path sees.
    fn seen(&self, x: &Tensor) -> Result<Tensor> {
        self.dropout.map_or_else(|| Ok(x.clone()), |dropout| ops::dropout(x, dropout))
    }

    /// x·Aᵀ.
    fn low(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(&self.seen(x)?, self.a.value)
    }

    /// dx + scale · dlow·A.
    fn add_input_gradient(&self, dx: Tensor, dlow: &Tensor) -> Result<Tensor> {
        let Self { a, scale, .. } = *self;
        match self.dropout {
            None => ops::linear_backward_input_onto(dx, dlow, a.value, scale),
            Some(dropout) => {
                let dseen = (ops::linear_backward_input(dlow, a.value)? * f64::from(scale))?;
                dx + ops::dropout(&dseen, dropout)?
            }
        }
    }
}

/// y = x·Wᵀ + b, plus scale · (x·Aᵀ)·Bᵀ where there is a side path.
#[derive(Clone, Copy)]
pub(super) struct Projection<'a> {
    pub(super) w: Weight<'a>,
    pub(super) bias: Option<Weight<'a>>,
    pub(super) side: Option<SidePath<'a>>,
}

impl Projection<'_> {
    /// The output.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = ops::linear(x, self.w.value)?;
        self.add_rest(y, self.low(x)?.as_ref(), 0)
    }

    /// The output added to `onto`, which nobody else may hold.
    pub(super) fn forward_onto(&self, onto: Tensor, x: &Tensor) -> Result<Tensor> {
        let y = ops::linear_onto(onto, x, self.w.value, 1.0)?;
        self.add_rest(y, self.low(x)?.as_ref(), 0)
    }

    /// What the side path has between its two matrices.
    fn low(&self, x: &Tensor) -> Result<Option<Tensor>> {
        self.side.map(|side| side.low(x)).transpose()
    }

    /// Bias and side path, for the outputs from row `first` of W on.
    fn add_rest(&self, y: Tensor, low: Option<&Tensor>, first: usize) -> Result<Tensor> {
        let count = y.dim(1)?;
        let y = match self.bias {
            Some(bias) => ops::add_bias(y, &bias.value.plain()?.narrow(0, first, count)?)?,
            None => y,
        };
        match (self.side, low) {
            (Some(SidePath { b, scale, .. }), Some(low)) => {
                ops::linear_onto(y, low, &b.value.narrow(&(first..first + count))?, scale)
            }
            _ => Ok(y),
        }
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
        self.parts_input(&[Part::whole(dy)?], onto)
    }

    /// dW = dyᵀ·x; db = Σ dy; dB = scale · dyᵀ·(x·Aᵀ); dA = scale · (dy·B)ᵀ·x.
    ///
    /// The weights are complete then, so that the input's gradient must have been made before.
    pub(super) fn backward_weights(
        &self,
        dy: &Tensor,
        x: &Tensor,
        dlow: Option<&Tensor>,
        sink: &mut dyn GradientSink,
    ) -> Result<()> {
        self.parts_weights(&[Part::whole(dy)?], x, dlow, sink)
    }

    fn parts_input(&self, parts: &[Part], onto: Option<Tensor>) -> Result<(Tensor, Option<Tensor>)> {
        let dx = products_onto(onto, parts, self.w)?;
        let Some(side) = self.side else { return Ok((dx, None)) };
        let dlow = products_onto(None, parts, side.b)?;
        Ok((side.add_input_gradient(dx, &dlow)?, Some(dlow)))
    }

    fn parts_weights(
        &self,
        parts: &[Part],
        x: &Tensor,
        dlow: Option<&Tensor>,
        sink: &mut dyn GradientSink,
    ) -> Result<()> {
        self.w.take_products(parts, x, 1.0, sink)?;
        if let Some(bias) = self.bias {
            bias.take_sums(parts, sink)?;
        }
        let (Some(side), Some(dlow)) = (self.side, dlow) else { return Ok(()) };
        let seen = side.seen(x)?;
        side.b.take_products(parts, &ops::linear(&seen, side.a.value)?, side.scale, sink)?;
        side.a.take_products(&[Part::whole(dlow)?], &seen, side.scale, sink)
    }
}

/// `onto`, if given, and dy·W of all parts.
fn products_onto(onto: Option<Tensor>, parts: &[Part], w: Weight) -> Result<Tensor> {
    let mut sum = onto;
    for part in parts {
        let w = w.value.narrow(&part.rows)?;
        sum = Some(match sum {
            Some(sum) => ops::linear_backward_input_onto(sum, part.dy, &w, 1.0)?,
            None => ops::linear_backward_input(part.dy, &w)?,
        });
    }
    sum.ok_or_else(|| candle_core::Error::msg("a linear layer without outputs"))
}

/// N projections of the same input.
pub(super) enum Fan<'a, const N: usize> {
    /// A matrix each.
    Separate([Projection<'a>; N]),
    /// One matrix with so many rows of each, one below the other.
    Fused(Projection<'a>, [usize; N]),
}

impl<const N: usize> Fan<'_, N> {
    /// The outputs.
    pub(super) fn forward(&self, x: &Tensor) -> Result<[Tensor; N]> {
        let outputs: Vec<Tensor> = match self {
            Self::Separate(projections) => {
                projections.iter().map(|projection| projection.forward(x)).collect::<Result<_>>()?
            }
            Self::Fused(projection, counts) => {
                let low = projection.low(x)?;
                let output = |rows: Range<usize>| {
                    let w = projection.w.value.narrow(&rows)?;
                    projection.add_rest(ops::linear(x, &w)?, low.as_ref(), rows.start)
                };
                one_below_the_other(counts).map(output).collect::<Result<_>>()?
            }
        };
        outputs.try_into().map_err(|_| candle_core::Error::msg("a projection is missing"))
    }

    /// The gradient of the input; those of the outputs are freed as they are used up.
    pub(super) fn backward(
        &self,
        dys: [Tensor; N],
        x: &Tensor,
        sink: &mut dyn GradientSink,
    ) -> Result<Tensor> {
        let dx = match self {
            Self::Separate(projections) => {
                let mut dx = None;
                for (projection, dy) in projections.iter().zip(dys) {
                    dx = Some(projection.backward(&dy, x, dx, sink)?);
                }
                dx
            }
            Self::Fused(projection, counts) => {
                let parts = one_below_the_other(counts).zip(&dys).map(|(rows, dy)| Part { dy, rows });
                let parts: Vec<Part> = parts.collect();
                let (dx, dlow) = projection.parts_input(&parts, None)?;
                projection.parts_weights(&parts, x, dlow.as_ref(), sink)?;
                Some(dx)
            }
        };
        dx.ok_or_else(|| candle_core::Error::msg("no projection has a gradient"))
    }
}

fn one_below_the_other(counts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    counts.iter().scan(0, |end, count| {
        *end += count;
        Some(*end - count..*end)
    })
}
