//! A line of the table of cards, and short words to write one.

use super::{Gpu, Kind, Rates, Sources};
use crate::units::Bytes;

/// A card as it stands in the table.
pub(super) struct Row {
    pub name: &'static str,
    title: &'static str,
    pub aliases: &'static [&'static str],
    memory: Memory,
    rates: Rates,
    compute_capability: Option<(u8, u8)>,
    sources: (&'static str, &'static str),
}

/// GB on the box, MiB that CUDA calls the total, and GB/s.
pub(super) struct Memory(u32, u64, f64);

/// `sources`: of the rates and the bandwidth, and of the memory that CUDA shows.
pub(super) const fn row(
    (name, title): (&'static str, &'static str),
    aliases: &'static [&'static str],
    memory: Memory,
    rates: Rates,
    compute_capability: Option<(u8, u8)>,
    sources: (&'static str, &'static str),
) -> Row {
    Row { name, title, aliases, memory, rates, compute_capability, sources }
}

pub(super) const fn memory(sticker_gb: u32, visible_mib: u64, bandwidth_gb_per_s: f64) -> Memory {
    Memory(sticker_gb, visible_mib, bandwidth_gb_per_s)
}

/// Tensor cores that know bf16, as fast as f16.
pub(super) const fn tensor(half: f64, f32: f64, tf32: f64) -> Rates {
    Rates { bf16_tflops: Some(half), f16_tflops: half, f32_tflops: f32, tf32_tflops: Some(tf32) }
}

/// Tensor cores before Ampere.
pub(super) const fn f16_only(f16: f64, f32: f64) -> Rates {
    Rates { bf16_tflops: None, f16_tflops: f16, f32_tflops: f32, tf32_tflops: None }
}

/// `GeForce` since Ampere: sums in f32 run at half of what the chip could, so at twice the rate of f32.
pub(super) const fn geforce(half: f64) -> Rates {
    tensor(half, half / 2.0, half / 2.0)
}

impl Row {
    pub(super) fn card(&self, kind: Kind) -> Gpu {
        let Memory(sticker_gb, visible_mib, bandwidth_gb_per_s) = self.memory;
        let (rates, visible) = self.sources;
        Gpu {
            name: self.name.to_owned(),
            title: self.title.to_owned(),
            kind,
            sticker_gb,
            visible: Bytes::mib(visible_mib),
            bandwidth_gb_per_s,
            rates: self.rates,
            compute_capability: self.compute_capability,
            context: None,
            sources: Sources { rates: rates.to_owned(), visible: visible.to_owned() },
        }
    }
}
