//! Which cards are there, how large and how fast are they, and what does a run cost on one?
//!
//! The table holds what a data sheet and other people's logs say; nothing is opened. Where the memory
//! that CUDA shows was seen with several drivers, the smallest stands here.

mod consumer;
mod custom;
mod data_center;
mod device_model;
mod error;
mod lookup;
mod measured;
mod row;
#[cfg(test)]
mod tests;
mod workstation;

use serde::Serialize;

pub use device_model::{DevicePeak, UNKNOWN_CONTEXT, device_peak};
pub use error::GpuError;
pub use lookup::{all, find, find_with, select};
pub use measured::measured_tflops;

use crate::space::Precision;
use crate::units::Bytes;

/// What a card is sold as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// For desktops.
    Consumer,
    /// For workstations.
    Workstation,
    /// For servers.
    DataCenter,
    /// Described in a study file.
    Own,
}

/// Products in a second, dense, in units of 10¹² operations; sums in f32.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// bf16; absent where the card computes it only by conversion.
    pub bf16_tflops: Option<f64>,
    /// f16.
    pub f16_tflops: f64,
    /// f32 outside of tensor cores: what candle uses unless it is told otherwise.
    pub f32_tflops: f64,
    /// TF32, f32 with a short mantissa.
    pub tf32_tflops: Option<f64>,
}

/// Where a card's numbers were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sources {
    /// Rates and bandwidth.
    pub rates: String,
    /// Memory that CUDA shows.
    pub visible: String,
}

/// A card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gpu {
    /// Name as typed, such as `rtx-4090`.
    pub name: String,
    /// Name in tables.
    pub title: String,
    /// What it is sold as.
    pub kind: Kind,
    /// GB printed on the box.
    pub sticker_gb: u32,
    /// What CUDA calls its total memory.
    pub visible: Bytes,
    /// Bytes read or written in a second, in units of 10⁹.
    pub bandwidth_gb_per_s: f64,
    /// How fast it multiplies.
    #[serde(flatten)]
    pub rates: Rates,
    /// Major and minor; absent on cards that do not run CUDA.
    pub compute_capability: Option<(u8, u8)>,
    /// What a process costs before its first tensor, where it is known of this card.
    pub context: Option<Bytes>,
    /// Where all that was read.
    pub sources: Sources,
}

impl Gpu {
    /// Products in a second in `precision`, 10¹² operations; bf16 as f32 where there is no bf16.
    #[must_use]
    pub fn tflops(&self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.rates.f32_tflops,
            Precision::F16 => self.rates.f16_tflops,
            Precision::Bf16 => self.rates.bf16_tflops.unwrap_or(self.rates.f32_tflops),
        }
    }

    /// Whether its arithmetic knows `precision`.
    #[must_use]
    pub const fn supports(&self, precision: Precision) -> bool {
        !matches!(precision, Precision::Bf16) || self.rates.bf16_tflops.is_some()
    }

    /// Whether this program could run on it: candle knows no other cards than those with CUDA.
    #[must_use]
    pub const fn runs_cuda(&self) -> bool {
        self.compute_capability.is_some()
    }
}
