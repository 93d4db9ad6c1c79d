//! In which number format a training step computes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number format of activations and matrix products.
///
/// Master weights, gradients, softmax, norms and the loss are f32 in each; so are the moments of the
/// optimizer, unless [`super::Optimizer`] keeps them in 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision.
    F32,
    /// bfloat16 activations, f32 master weights: half the activation memory.
    Bf16,
    /// The same in IEEE half precision: finer, but its range is so small that the loss is scaled.
    F16,
}

impl Precision {
    /// Every precision, in the order tables print them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The name used in study files, tables and the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Other names it may be typed by: those of Hugging Face and PyTorch.
    const fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::F32 => &["fp32", "float32"],
            Self::Bf16 => &["bfloat16"],
            Self::F16 => &["fp16", "float16"],
        }
    }

    /// Whether gradients are so small in it that the loss is multiplied by a factor to keep them.
    #[must_use]
    pub const fn scales_loss(self) -> bool {
        matches!(self, Self::F16)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_meant = |precision: &Self| precision.name() == text || precision.aliases().contains(&text);
        let error = || format!("`{text}` is not a precision: use `f32`, `bf16` or `f16`");
        Self::ALL.into_iter().find(is_meant).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_read_by_its_own_name_and_by_those_of_others() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
        for (typed, meant) in [
            ("fp32", Precision::F32),
            ("bfloat16", Precision::Bf16),
            ("fp16", Precision::F16),
            ("float16", Precision::F16),
        ] {
            assert_eq!(typed.parse(), Ok(meant));
        }
        assert!("fp8".parse::<Precision>().unwrap_err().contains("`f16`"));
    }
}
