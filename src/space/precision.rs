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
}

impl Precision {
    /// Every precision, in the order tables print them.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The name used in study files, tables and the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
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
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == text)
            .ok_or_else(|| format!("`{text}` is not a precision: use `f32` or `bf16`"))
    }
}
