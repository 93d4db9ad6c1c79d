//! A root-mean-square norm as the decoder uses it. Shapes: x, y [n, d]; the weight [d], or [k] with
//! d = h·k where each head is normed by itself.

use candle_core::{Result, Tensor};

use super::GradientSink;
use super::ops;
use super::projection::Weight;

/// y = x · (offset + w) / sqrt(mean(x²) + ε).
#[derive(Clone, Copy)]
pub(super) struct Norm<'a> {
    pub(super) weight: Weight<'a>,
    pub(super) offset: f64,
    pub(super) epsilon: f32,
}

impl Norm<'_> {
    /// What the normed value is multiplied by.
    fn gain(&self) -> Result<Tensor> {
        let weight = self.weight.value.plain()?;
        if self.offset == 0.0 { Ok(weight.clone()) } else { weight + self.offset }
    }

    /// The same values, a row for each mean.
    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        x.reshape(((), self.weight.value.plain()?.dim(0)?))
    }

    /// The output.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(&self.rows(x)?, &self.gain()?, self.epsilon)?.reshape(x.shape())
    }

    /// The gradient of the input alone.
    pub(super) fn backward(&self, dy: &Tensor, x: &Tensor, sink: &mut dyn GradientSink) -> Result<Tensor> {
        self.backward_onto(x.zeros_like()?, dy, x, sink)
    }

    /// `residual`, which nobody else may hold, and the gradient of the input.
    pub(super) fn backward_onto(
        &self,
        residual: Tensor,
        dy: &Tensor,
        x: &Tensor,
        sink: &mut dyn GradientSink,
    ) -> Result<Tensor> {
        let (gain, rows, drows) = (self.gain()?, self.rows(x)?, self.rows(dy)?);
        let mut dx = Some(self.rows(&residual)?);
        drop(residual);
        self.weight.add(sink, &mut |dw| {
            if let Some(residual) = dx.take() {
                dx = Some(ops::rms_norm_backward(&drows, &rows, &gain, self.epsilon, dw, residual)?);
            }
            Ok(())
        })?;
        self.weight.complete(sink)?;
        let dx = dx.ok_or_else(|| candle_core::Error::msg("the sink did not take the gradient of a norm"))?;
        dx.reshape(x.shape())
    }
}
