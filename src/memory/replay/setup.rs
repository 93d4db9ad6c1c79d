//! What is replayed: a model, how it is trained, and one micro-batch of it.

use crate::arch::ModelConfig;
use crate::space::{LoraSettings, Optimizer, Precision};

/// How a model is trained, as far as memory depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSetup<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Number format of activations and products.
    pub precision: Precision,
    /// Adapters, if not all weights are trained.
    pub lora: Option<&'a LoraSettings>,
    /// Bytes of a value in the model's file: 2 or 4. Frozen matrices stay as they are there.
    pub file_bytes: u64,
    /// How moments are kept.
    pub optimizer: Optimizer,
    /// Activations are made again in the backward pass.
    pub gradient_checkpointing: bool,
    /// Whether the gradients of all weights are alive together: several micro-batches are summed, the
    /// global norm is clipped, or the loss is scaled.
    pub keeps_gradients: bool,
}

impl TrainingSetup<'_> {
    /// Whether a step of so many micro-batches keeps the gradients of all weights.
    #[must_use]
    pub const fn keeps_gradients(
        precision: Precision,
        gradient_accumulation_steps: usize,
        max_grad_norm: Option<f64>,
    ) -> bool {
        gradient_accumulation_steps > 1 || max_grad_norm.is_some() || precision.scales_loss()
    }
}

/// The positions of each sequence of a micro-batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// Inputs of each sequence: its tokens but the last.
    pub lengths: Vec<usize>,
}

impl BatchShape {
    /// So many sequences of equal length.
    #[must_use]
    pub fn equal(micro_batch_size: usize, length: usize) -> Self {
        Self { lengths: vec![length; micro_batch_size] }
    }

    /// Inputs of all sequences together.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(super) fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }
}
