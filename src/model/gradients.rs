//! Where gradients go: one persistent f32 buffer per trainable weight, or what a caller puts there.

use candle_core::{DType, Result, Tensor};

use super::{Decoder, ModelError, Output};

/// Takes the gradient of each trainable weight as the backward pass makes it.
///
/// Weights are numbered in the order of [`Decoder::trainable`].
pub trait GradientSink {
    /// Lets `put` write into the gradient of weight `slot`, or add to it, as it is told.
    ///
    /// # Errors
    /// Those of `put`; the device refuses memory.
    fn receive(&mut self, slot: usize, put: &mut dyn FnMut(&Tensor, Output) -> Result<()>) -> Result<()>;

    /// The pass has put all it has into `slot`, and reads `weight` no more.
    ///
    /// # Errors
    /// The device fails.
    fn complete(&mut self, slot: usize, weight: &Tensor) -> Result<()>;
}

/// Gradients summed over any number of passes.
pub struct Gradients {
    buffers: Vec<Tensor>,
    filled: Vec<bool>,
}

impl Gradients {
    /// A buffer for every trainable weight of `model`.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub fn zeros(model: &Decoder) -> Result<Self> {
        let zeros = |weight: &Tensor| Tensor::zeros(weight.shape(), DType::F32, weight.device());
        let buffers: Vec<Tensor> =
            model.trainable().map(|(_, weight)| zeros(weight)).collect::<Result<_>>()?;
        Ok(Self { filled: vec![false; buffers.len()], buffers })
    }

    /// Forgets the gradients; the next pass overwrites them.
    pub fn clear(&mut self) {
        self.filled.fill(false);
    }

    /// The buffers, in the order of [`Decoder::trainable`].
    #[must_use]
    pub fn buffers(&self) -> &[Tensor] {
        &self.buffers
    }
}

/// Asserts that a gradient is finite and not all zero, by the sum of its squares.
///
/// # Errors
/// Names the weight whose gradient is not.
pub fn check_reached(name: &str, sum_of_squares: f64) -> std::result::Result<(), ModelError> {
    let problem = match sum_of_squares {
        0.0 => "no gradient",
        finite if finite.is_finite() => return Ok(()),
        _ => "a gradient that is not finite",
    };
    Err(ModelError::Gradient { name: name.to_owned(), problem })
}

impl GradientSink for Gradients {
    fn receive(&mut self, slot: usize, put: &mut dyn FnMut(&Tensor, Output) -> Result<()>) -> Result<()> {
        let output = if self.filled[slot] { Output::Add } else { Output::Overwrite };
        self.filled[slot] = true;
        put(&self.buffers[slot], output)
    }

    fn complete(&mut self, _: usize, _: &Tensor) -> Result<()> {
        Ok(())
    }
}
