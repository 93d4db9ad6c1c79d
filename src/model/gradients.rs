//! One persistent f32 buffer per weight, into which every backward pass adds.

use candle_core::{DType, Result, Tensor};

use super::{Decoder, ModelError};

/// Accumulated gradients, in the order of [`crate::arch::parameters`].
pub struct Gradients {
    buffers: Vec<Tensor>,
}

impl Gradients {
    /// Zero gradients for every weight of `model`.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn zeros(model: &Decoder) -> Result<Self> {
        let zeros = |weight: &Tensor| Tensor::zeros(weight.shape(), DType::F32, weight.device());
        Ok(Self { buffers: model.weights().iter().map(zeros).collect::<Result<_>>()? })
    }

    /// Sets every gradient to zero, in place.
    ///
    /// # Errors
    /// The device fails.
    pub fn clear(&mut self) -> Result<()> {
        self.buffers.iter().try_for_each(Tensor::zero_set)
    }

    /// The buffers, in the order of the weights.
    #[must_use]
    pub fn buffers(&self) -> &[Tensor] {
        &self.buffers
    }

    /// Asserts that every trainable tensor received a finite gradient that is not all zero.
    ///
    /// # Errors
    /// Names the first tensor that did not.
    pub fn check_all_reached(&self, model: &Decoder) -> std::result::Result<(), ModelError> {
        for (spec, buffer) in model.specs().iter().zip(&self.buffers) {
            let largest: f32 = buffer.flatten_all()?.abs()?.max(0)?.to_scalar()?;
            let problem = match largest {
                0.0 => "no gradient",
                finite if finite.is_finite() => continue,
                _ => "a gradient that is not finite",
            };
            return Err(ModelError::Gradient { name: spec.name.clone(), problem });
        }
        Ok(())
    }
}
