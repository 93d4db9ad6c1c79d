//! How the optimizer keeps what it remembers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The optimizer: `AdamW` (Loshchilov and Hutter 2019), and how its two moments are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimizer {
    /// Moments in f32: 8 bytes for each trainable value.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// Moments of large matrices in blocks of 8-bit codes: about 2 bytes (Dettmers et al. 2022).
    #[serde(rename = "adamw_8bit")]
    AdamW8Bit,
}

impl Optimizer {
    /// Every optimizer, the default first.
    pub const ALL: [Self; 2] = [Self::AdamW, Self::AdamW8Bit];

    /// The name used in study files and the trial protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::AdamW8Bit => "adamw_8bit",
        }
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Optimizer {
    type Err = String;

    /// Hugging Face's names are understood where they mean the same update.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "adamw" | "adamw_torch" | "adamw_torch_fused" => Ok(Self::AdamW),
            "adamw_8bit" | "adamw_bnb_8bit" => Ok(Self::AdamW8Bit),
            _ => Err("use `adamw`, or `adamw_8bit` for moments in 8 bits".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_optimizer_is_read_back_from_the_name_it_is_written_with() {
        for optimizer in Optimizer::ALL {
            assert_eq!(optimizer.to_string().parse(), Ok(optimizer));
            let json = serde_json::to_string(&optimizer).unwrap();
            assert_eq!(json, format!("\"{optimizer}\""));
        }
    }

    #[test]
    fn the_names_of_hugging_face_are_understood_where_they_mean_the_same() {
        assert_eq!("adamw_torch".parse(), Ok(Optimizer::AdamW));
        assert_eq!("adamw_bnb_8bit".parse(), Ok(Optimizer::AdamW8Bit));
        assert!("adafactor".parse::<Optimizer>().unwrap_err().contains("`adamw_8bit`"));
    }
}
