//! Which number formats a card computes in.

use super::DeviceError;
use crate::space::Precision;

/// Cards before Ampere have no bfloat16 (CUDA C++ programming guide, "Arithmetic instructions"); candle's kernels for
/// it are left out of what is built for them.
const BFLOAT16_SINCE: (i32, i32) = (8, 0);

/// Refuses a format that a card of this compute capability has not.
///
/// Products are summed up in f32 in every format, and those of f32 are whole: TF32 stays off, as candle leaves it.
pub(super) fn check(device: &str, precision: Precision, capability: (i32, i32)) -> Result<(), DeviceError> {
    match precision {
        Precision::Bf16 if capability < BFLOAT16_SINCE => {
            Err(DeviceError::NoBfloat16 { device: device.to_owned(), needed: BFLOAT16_SINCE, capability })
        }
        Precision::F32 | Precision::Bf16 | Precision::F16 => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfloat16_is_refused_by_cards_that_have_it_not_with_the_format_to_use_there() {
        let of = |precision, capability| check("cuda:0", precision, capability);
        let error = of(Precision::Bf16, (7, 5)).unwrap_err().to_string();
        assert!(error.contains("needs compute capability 8.0, this card has 7.5"), "{error}");
        assert!(error.contains("\"f16\""), "{error}");
        assert!(of(Precision::F16, (7, 5)).is_ok() && of(Precision::F32, (6, 1)).is_ok());
        assert!(of(Precision::Bf16, (8, 0)).is_ok() && of(Precision::Bf16, (12, 0)).is_ok());
    }
}
