//! Which of a machine's cards is meant: `0`, or `GPU-` and `MIG-` with the card's or the slice's own identity.

use std::fmt;
use std::str::FromStr;

/// A card as the user named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardName {
    /// By its place among the visible cards.
    Index(usize),
    /// By its identity, which no other card has and which stays when cards are moved.
    Uuid {
        /// Of a slice of a card (MIG).
        is_slice: bool,
        /// Its sixteen bytes.
        bits: u128,
    },
}

const CARD: &str = "GPU-";
const SLICE: &str = "MIG-";
/// Hexadecimal digits of the five groups.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

impl CardName {
    /// The card with these sixteen bytes, as CUDA tells them.
    #[must_use]
    pub const fn of_bytes(bytes: [u8; 16]) -> Self {
        Self::Uuid { is_slice: false, bits: u128::from_be_bytes(bytes) }
    }
}

impl fmt::Display for CardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (is_slice, bits) = match self {
            Self::Index(index) => return write!(f, "{index}"),
            Self::Uuid { is_slice, bits } => (*is_slice, bits),
        };
        let digits = format!("{bits:032x}");
        let mut rest = digits.as_str();
        f.write_str(if is_slice { SLICE } else { CARD })?;
        for (place, group) in GROUPS.into_iter().enumerate() {
            let (now, later) = rest.split_at(group);
            write!(f, "{}{now}", if place > 0 { "-" } else { "" })?;
            rest = later;
        }
        Ok(())
    }
}

impl FromStr for CardName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let uuid = |is_slice, text| bits(text).map(|bits| Self::Uuid { is_slice, bits });
        match (text.strip_prefix(CARD), text.strip_prefix(SLICE)) {
            (Some(card), _) => uuid(false, card).ok_or(()),
            (_, Some(slice)) => uuid(true, slice).ok_or(()),
            (None, None) => text.parse().map(Self::Index).map_err(|_| ()),
        }
    }
}

fn bits(text: &str) -> Option<u128> {
    let groups: Vec<&str> = text.split('-').collect();
    let is_whole = groups.iter().map(|group| group.len()).eq(GROUPS);
    let is_hexadecimal = |group: &&str| group.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_whole && groups.iter().all(is_hexadecimal))
        .then(|| u128::from_str_radix(&groups.concat(), 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_its_own_text() {
        let names = [
            "0",
            "17",
            "GPU-00112233-4455-6677-8899-aabbccddeeff",
            "MIG-5f3c0000-0000-0000-0000-000000000001",
        ];
        for text in names {
            assert_eq!(text.parse::<CardName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_part_of_an_identity_is_no_name() {
        for text in [
            "",
            "-1",
            "x",
            "GPU-0011",
            "GPU-00112233-4455-6677-8899-aabbccddeefg",
            "gpu-1",
            "GPU-+0112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert!(text.parse::<CardName>().is_err(), "{text}");
        }
    }

    #[test]
    fn cudas_bytes_are_written_as_nvml_writes_them() {
        let bytes = std::array::from_fn(|i| u8::try_from(17 * i).unwrap());
        assert_eq!(CardName::of_bytes(bytes).to_string(), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }
}
