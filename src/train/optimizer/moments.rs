//! The two moments of one weight, in f32 or in blocks of codes, and their names in a checkpoint.

use candle_core::{DType, Result, Tensor, bail};

use super::adamw::Factors;
use super::block_codes::BLOCK;
use super::block_moments::{BlockMoments, blocks};
use super::moved::Moved;
use super::wide_moments::WideMoments;
use crate::arch::ParameterSpec;
use crate::memory::kernels::MIN_QUANTIZED;
use crate::model::PlannedTensor;
use crate::space::Optimizer;

/// What the optimizer remembers of one weight.
pub(in crate::train) enum Moments {
    Wide(WideMoments),
    Blocks(BlockMoments),
}

/// One tensor of it, as it is kept in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::train) struct StatePart {
    pub(in crate::train) name: String,
    pub(in crate::train) shape: Vec<usize>,
    pub(in crate::train) dtype: DType,
}

impl StatePart {
    /// A trained weight.
    pub(in crate::train) fn of_weight(spec: &ParameterSpec) -> Self {
        Self { name: spec.name.clone(), shape: spec.shape.clone(), dtype: DType::F32 }
    }

    /// How it stands in the file.
    pub(in crate::train) fn planned(&self) -> PlannedTensor<'_> {
        PlannedTensor { name: &self.name, shape: &self.shape, dtype: self.dtype }
    }
}

/// Norms and biases are few and their gradients large: they keep f32 moments.
fn is_quantized(optimizer: Optimizer, spec: &ParameterSpec) -> bool {
    optimizer == Optimizer::AdamW8Bit && spec.is_matrix() && spec.elements() >= MIN_QUANTIZED
}

impl Moments {
    /// Those of a weight that has seen no gradient.
    pub(super) fn zeros(optimizer: Optimizer, spec: &ParameterSpec, weight: &Tensor) -> Result<Self> {
        Ok(if is_quantized(optimizer, spec) {
            Self::Blocks(BlockMoments::zeros(spec.elements(), weight.device())?)
        } else {
            Self::Wide(WideMoments::zeros(weight)?)
        })
    }

    /// The tensors of a weight's moments in a checkpoint, in the order of [`Self::tensors`].
    pub(in crate::train) fn parts(optimizer: Optimizer, spec: &ParameterSpec) -> Vec<StatePart> {
        let part = |kind: &str, shape: &[usize], dtype| StatePart {
            name: format!("adamw.{kind}.{}", spec.name),
            shape: shape.to_vec(),
            dtype,
        };
        if !is_quantized(optimizer, spec) {
            return ["first", "second"].map(|kind| part(kind, &spec.shape, DType::F32)).to_vec();
        }
        let blocks = blocks(spec.elements());
        let codes = |kind| part(kind, &[blocks, BLOCK], DType::U8);
        let largest = |kind| part(kind, &[blocks], DType::F32);
        vec![codes("first"), largest("first_largest"), codes("second"), largest("second_largest")]
    }

    /// From the tensors of a checkpoint.
    pub(in crate::train) fn from_tensors(tensors: Vec<Tensor>) -> Result<Self> {
        match tensors.len() {
            2 => Ok(Self::Wide(WideMoments(array(tensors)?))),
            _ => Ok(Self::Blocks(BlockMoments(array(tensors)?))),
        }
    }

    /// What there is to keep.
    pub(in crate::train) fn tensors(&self) -> &[Tensor] {
        match self {
            Self::Wide(moments) => &moments.0,
            Self::Blocks(moments) => &moments.0,
        }
    }

    /// One update of the weight and of these, in place, and how far it moved the weight.
    pub(super) fn update(&self, by: Factors, weight: &Tensor, gradient: &Tensor) -> Result<Moved> {
        match self {
            Self::Wide(moments) => moments.update(by, weight, gradient),
            Self::Blocks(moments) => moments.update(by, weight, gradient),
        }
    }
}

fn array<const N: usize>(tensors: Vec<Tensor>) -> Result<[Tensor; N]> {
    match tensors.try_into() {
        Ok(tensors) => Ok(tensors),
        Err(tensors) => bail!("{} tensors of moments where {N} belong", tensors.len()),
    }
}
