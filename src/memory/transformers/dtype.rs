//! Types of numbers, by their size.

use super::setup::HalfPrecision;

/// The type of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    /// `float32`
    F32,
    /// `bfloat16`
    Bf16,
    /// `float16`
    F16,
    /// `int64`, of token ids and positions.
    Long,
    /// `uint8` or `bool`.
    Byte,
}

impl Dtype {
    /// Bytes of one value.
    pub(super) const fn size(self) -> u64 {
        match self {
            Self::Long => 8,
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
            Self::Byte => 1,
        }
    }

    pub(super) const fn half(precision: HalfPrecision) -> Self {
        match precision {
            HalfPrecision::Bf16 => Self::Bf16,
            HalfPrecision::F16 => Self::F16,
        }
    }

    pub(super) const fn is_half(self) -> bool {
        matches!(self, Self::Bf16 | Self::F16)
    }

    /// The type of `self ∘ other`.
    pub(super) const fn promoted(self, other: Self) -> Self {
        if self.size() >= other.size() { self } else { other }
    }
}
