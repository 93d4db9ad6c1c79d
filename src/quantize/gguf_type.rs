//! The types a whole model can be exported to, by llama.cpp's names.

use std::fmt;
use std::str::FromStr;

use candle_core::quantized::GgmlDType;

/// How a model's matrices are stored in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GgufType {
    /// 32 bits a weight, exact.
    F32,
    /// 16 bits, IEEE half precision.
    F16,
    /// 16 bits, the range of `F32`.
    Bf16,
    /// 8.5 bits a weight.
    Q8_0,
    /// 6.6 bits a weight.
    Q6K,
    /// 5.5 bits a weight, the sensitive matrices 6.6.
    Q5KM,
    /// 4.5 bits a weight, the sensitive matrices 6.6.
    Q4KM,
    /// 4.5 bits a weight, without the super-blocks of the K types.
    Q4_0,
}

/// Why a text names no [`GgufType`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown GGUF type `{found}`\n  hint: use one of {}", GgufType::ALL.map(GgufType::name).join(", "))]
pub struct ParseGgufTypeError {
    /// The text.
    pub found: String,
}

impl GgufType {
    /// All types, from the largest file to the smallest.
    pub const ALL: [Self; 8] =
        [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q6K, Self::Q5KM, Self::Q4KM, Self::Q4_0];

    /// The name in study files and in llama.cpp, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
            Self::Q5KM => "q5_k_m",
            Self::Q4KM => "q4_k_m",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Value of `general.file_type`.
    ///
    /// Source: the numbers of `llama_ftype` in llama.cpp's `include/llama.h`.
    pub(super) const fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
            Self::Q5KM => 17,
            Self::Q6K => 18,
            Self::Bf16 => 32,
        }
    }

    /// Block type of an ordinary matrix.
    pub(super) const fn base(self) -> GgmlDType {
        match self {
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::Bf16 => GgmlDType::BF16,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q6K => GgmlDType::Q6K,
            Self::Q5KM => GgmlDType::Q5K,
            Self::Q4KM => GgmlDType::Q4K,
            Self::Q4_0 => GgmlDType::Q4_0,
        }
    }
}

impl fmt::Display for GgufType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for GgufType {
    type Err = ParseGgufTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| ParseGgufTypeError { found: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_a_study_file_may_list_in_the_same_order() {
        let names: Vec<&str> = GgufType::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names, crate::space::GGUF_TYPES);
    }

    #[test]
    fn every_name_parses_back_and_another_is_refused_with_all_names() {
        for kind in GgufType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let message = "q9".parse::<GgufType>().unwrap_err().to_string();
        assert!(GgufType::ALL.iter().all(|kind| message.contains(kind.name())), "{message}");
    }
}
