//! Quantities that are easily confused, as types: bytes, and how to print rates.
//!
//! A GiB is 2³⁰ bytes and is written GiB everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes; prints with a binary unit, serialises as an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Bytes {
    /// From a number of MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// From a number of GiB.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The value in MiB, for plots.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a plot needs no more than 52 bits")]
    pub fn as_mib(self) -> f64 {
        self.0 as f64 / f64::from(1u32 << 20)
    }

    /// The size in the largest unit of which it is a whole number: nothing is rounded away.
    #[must_use]
    pub fn exact(self) -> String {
        let whole = |(_, size): &(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*size);
        let (unit, size) = UNITS.into_iter().find(whole).unwrap_or(("B", 1));
        format!("{}{unit}", self.0 / size)
    }

    /// `self - other`, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = UNITS.into_iter().find(|(_, size)| self.0 >= *size).unwrap_or(("B", 1));
        if size == 1 {
            return write!(f, "{} B", self.0);
        }
        let value = self.0 as f64 / size as f64;
        let decimals = usize::from(value < 100.0) + usize::from(value < 10.0);
        write!(f, "{value:.decimals$} {unit}")
    }
}

/// Why a text is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a number and a unit, such as `512MiB` or `1.5GiB`")]
pub struct ParseBytesError(String);

impl FromStr for Bytes {
    type Err = ParseBytesError;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "checked to be finite, positive and below 2^53 first"
    )]
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseBytesError(text.to_owned());
        let text = text.trim();
        let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?);
        let (_, size) =
            UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(error)?;
        let value: f64 = number.trim().parse().map_err(|_| error())?;
        let bytes = value * size as f64;
        if !(bytes.is_finite() && (0.0..9e15).contains(&bytes)) {
            return Err(error());
        }
        Ok(Self(bytes.round() as u64))
    }
}

/// A number with its thousands apart: 3,148,032.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_print_with_three_digits_and_parse_back() {
        for (text, bytes, printed) in [
            ("1GiB", 1 << 30, "1.00 GiB"),
            ("1.5 GiB", 3 << 29, "1.50 GiB"),
            ("512mib", 512 << 20, "512 MiB"),
            ("700B", 700, "700 B"),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
            assert_eq!(Bytes(bytes).to_string(), printed);
        }
    }

    #[test]
    fn an_exact_size_parses_back_to_the_byte() {
        for (bytes, text) in [(1 << 30, "1GiB"), (3 << 20, "3MiB"), ((1 << 20) + 1, "1048577B"), (0, "0B")] {
            assert_eq!(Bytes(bytes).exact(), text);
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (3_148_032, "3,148,032")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_size_without_a_unit_is_an_error_that_shows_the_right_form() {
        for text in ["12", "GiB", "-1GiB", "1GB2", ""] {
            let error = text.parse::<Bytes>().unwrap_err();
            assert!(error.to_string().contains("1.5GiB"), "{error}");
        }
    }
}
