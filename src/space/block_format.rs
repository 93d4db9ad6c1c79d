//! How a frozen matrix is kept in few bits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Blocks of values that share a scale, by llama.cpp's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockFormat {
    /// 8.5 bits a weight.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4.5 bits a weight, scales and offsets in super-blocks of 256.
    #[serde(rename = "q4_k")]
    Q4K,
    /// 4.5 bits a weight, a scale for 32.
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl BlockFormat {
    /// Every format, the most exact first.
    pub const ALL: [Self; 3] = [Self::Q8_0, Self::Q4K, Self::Q4_0];

    /// The name in study files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
            Self::Q4_0 => "q4_0",
        }
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BlockFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            format!("`{text}` is not a block format: use `{}`", Self::ALL.map(Self::name).join("`, `"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_another_is_told_with_those_there_are() {
        for format in BlockFormat::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
        assert!("nf4".parse::<BlockFormat>().unwrap_err().contains("`q8_0`, `q4_k`, `q4_0`"));
    }
}
