//! Which device a study names: `cpu`, `cpu:1GiB`, `cuda:0`, `cuda:0:8GiB`, `cuda:GPU-…`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::CardName;
use crate::units::Bytes;

/// A device as the user named it; nothing is opened yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSpec {
    /// The processor, with a cap on the bytes a trial may hold.
    Cpu {
        /// Most live bytes; `None` means the memory of the machine.
        cap: Option<Bytes>,
    },
    /// An NVIDIA card.
    Cuda {
        /// Which one.
        card: CardName,
        /// Emulates a smaller card.
        cap: Option<Bytes>,
    },
}

/// Why a text names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a device: write `cpu`, `cpu:4GiB`, `cuda:0`, `cuda:0:8GiB` or `cuda:GPU-…` with the whole identity that `nvidia-smi -L` lists"
)]
pub struct ParseDeviceError(String);

impl DeviceSpec {
    /// All of the card with this index.
    #[must_use]
    pub const fn cuda(index: usize) -> Self {
        Self::Cuda { card: CardName::Index(index), cap: None }
    }

    /// The cap the user asked for.
    #[must_use]
    pub const fn cap(&self) -> Option<Bytes> {
        match self {
            Self::Cpu { cap } | Self::Cuda { cap, .. } => *cap,
        }
    }

    /// Whether it is the processor.
    #[must_use]
    pub const fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu { .. })
    }

    /// `cpu` or `cuda:0`, as PyTorch writes it, too.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Cpu { .. } => "cpu".to_owned(),
            Self::Cuda { card, .. } => format!("cuda:{card}"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseDeviceError(text.to_owned());
        let size = |text: &str| text.parse::<Bytes>().map_err(|_| error());
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["cpu"] => Ok(Self::Cpu { cap: None }),
            ["cpu", cap] => Ok(Self::Cpu { cap: Some(size(cap)?) }),
            ["cuda", card, rest @ ..] if rest.len() <= 1 => Ok(Self::Cuda {
                card: card.parse().map_err(|()| error())?,
                cap: rest.first().map(|cap| size(cap)).transpose()?,
            }),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = ParseDeviceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> Self {
        let (name, cap) = (spec.name(), spec.cap());
        cap.map_or(name.clone(), |cap| format!("{name}:{}", cap.exact()))
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        self.cap().map_or(Ok(()), |cap| write!(f, " (cap {cap})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_survives_its_own_text() {
        for text in
            ["cpu", "cpu:1GiB", "cuda:0", "cuda:3:8GiB", "cuda:GPU-00112233-4455-6677-8899-aabbccddeeff:1GiB"]
        {
            let spec: DeviceSpec = text.parse().unwrap();
            assert_eq!(String::from(spec).parse(), Ok(spec));
        }
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for text in ["gpu", "cuda", "cuda:x", "cuda:GPU-0011", "cpu:1", "cuda:0:1GiB:2", "cpu:1GiB:2GiB"] {
            assert!(text.parse::<DeviceSpec>().is_err(), "{text}");
        }
    }
}
