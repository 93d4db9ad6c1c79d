//! The machine: which device computes, how much memory it has, holds and may hold.
//!
//! Two implementations behind one small interface, [`Device`]: the processor, whose memory is
//! counted and capped by the process's own [`CountingAllocator`], and an NVIDIA card, whose memory
//! is counted and capped by the driver's pool. [`nvml`] adds facts about cards and needs no CUDA.
//!
//! It does not decide what fits: that is `memory` by prediction and `study` by probing.

pub mod allocator;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod error;
mod facts;
mod last_word;
pub mod nvml;
mod out_of_memory;
#[cfg(any(feature = "cuda", test))]
mod precision;
pub mod ranks;

pub use allocator::CountingAllocator;
pub use error::DeviceError;
pub use facts::{CpuFacts, Facts};
pub use out_of_memory::is_out_of_memory;
pub use ranks::{Rank, RankError};

use crate::memory::gpu::UNKNOWN_CONTEXT;
use crate::space::{DeviceSpec, Precision};
use crate::trial::Power;
use crate::units::Bytes;

/// One opened device, and the bytes tensors take on it.
///
/// `total` and `free` are what the machine says about all programs; `live` and `peak` are exact and
/// of this process alone; `cap` is a boundary that is enforced, not a wish. A number the machine
/// does not tell is `None`, never 0.
pub trait Device: std::fmt::Debug {
    /// The device in words, for records and the screen; its cap is not among them.
    fn describe(&self) -> String;

    /// The device as the tensor library wants it.
    fn candle(&self) -> &candle_core::Device;

    /// Memory of the whole device.
    fn total(&self) -> Option<Bytes>;

    /// Memory nobody uses at the moment.
    fn free(&self) -> Option<Bytes>;

    /// Most bytes this process may hold; `None` is all the machine gives.
    fn cap(&self) -> Option<Bytes>;

    /// Bytes this process holds now.
    ///
    /// On the processor 0 unless [`CountingAllocator`] is the global allocator.
    ///
    /// # Errors
    /// When the driver does not answer.
    fn live(&self) -> Result<Bytes, DeviceError>;

    /// Most bytes this process held since the start or the last reset; 0 as for [`Self::live`].
    ///
    /// # Errors
    /// When the driver does not answer.
    fn peak(&self) -> Result<Bytes, DeviceError>;

    /// Most bytes that were set aside for tensors since the start or the last reset, alive or not; none where
    /// nothing is set aside.
    ///
    /// # Errors
    /// When the driver does not answer.
    fn reserved_peak(&self) -> Result<Option<Bytes>, DeviceError>;

    /// What the device held for this process besides tensors when it was opened; none where that can't be told.
    fn overhead(&self) -> Option<Bytes>;

    /// Lets the peaks start again from what is alive and set aside now.
    ///
    /// # Errors
    /// When the driver does not answer.
    fn reset_peak(&self) -> Result<(), DeviceError>;

    /// Waits until all work that was handed to the device is done.
    ///
    /// # Errors
    /// When that work failed.
    fn synchronize(&self) -> Result<(), DeviceError>;

    /// Whether the device computes in a number format.
    ///
    /// # Errors
    /// It does not, with the one to use instead.
    fn check_precision(&self, precision: Precision) -> Result<(), DeviceError>;

    /// What it has drawn since it was opened; none where nobody tells.
    fn power(&self) -> Option<Power>;

    /// What is known about it besides its memory.
    fn facts(&self) -> Facts;
}

/// Opens the device a study names and puts its cap in force.
///
/// # Errors
/// When this build or this machine has no such device, or the cap can't be kept.
pub fn open(spec: &DeviceSpec) -> Result<Box<dyn Device>, DeviceError> {
    match *spec {
        DeviceSpec::Cpu { cap } => Ok(Box::new(cpu::Cpu::open(cap)?)),
        #[cfg(feature = "cuda")]
        DeviceSpec::Cuda { card, cap } => Ok(Box::new(cuda::Cuda::open(card, cap)?)),
        #[cfg(not(feature = "cuda"))]
        DeviceSpec::Cuda { card, .. } => Err(DeviceError::NotBuiltForCuda { card }),
    }
}

/// Whether this build can open such a device at all; no device is touched.
///
/// # Errors
/// A card is asked of a build for processors.
pub const fn check_built(spec: &DeviceSpec) -> Result<(), DeviceError> {
    match *spec {
        DeviceSpec::Cuda { card, .. } if !cfg!(feature = "cuda") => {
            Err(DeviceError::NotBuiltForCuda { card })
        }
        _ => Ok(()),
    }
}

/// The memory that a child process could use on a device now, without opening it; `None` where nobody tells.
///
/// `overhead` is what earlier children's context and workspaces took of a card.
#[must_use]
pub fn free_for_a_child(spec: &DeviceSpec, overhead: Option<Bytes>) -> Option<Bytes> {
    match *spec {
        DeviceSpec::Cpu { .. } => cpu::free(),
        DeviceSpec::Cuda { card, .. } => {
            Some(nvml::free(card)?.saturating_sub(overhead.unwrap_or(UNKNOWN_CONTEXT)))
        }
    }
}

/// Whether cards add up tensors among themselves in this build, by NCCL.
#[must_use]
pub const fn has_nccl() -> bool {
    cfg!(feature = "nccl")
}

/// Threads this process may run at once.
#[must_use]
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_says_what_it_is_and_has() {
        let device = open(&DeviceSpec::Cpu { cap: None }).unwrap();
        assert!(device.candle().is_cpu());
        assert!(device.describe().starts_with("cpu: "), "{}", device.describe());
        assert_eq!(device.cap(), None);
        assert!(matches!(device.facts(), Facts::Cpu(CpuFacts { threads: 1.., .. })));
        device.synchronize().unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_processor_has_more_memory_in_all_than_free() {
        let device = open(&DeviceSpec::Cpu { cap: None }).unwrap();
        let (total, free) = (device.total().unwrap(), device.free().unwrap());
        assert!(free > Bytes::mib(1) && free < total, "{free} of {total}");
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_card_in_a_build_without_cuda_is_an_error_with_the_build_command() {
        let card = "cuda:1".parse().unwrap();
        let error = open(&card).unwrap_err().to_string();
        assert_eq!(check_built(&card).unwrap_err().to_string(), error);
        assert!(error.starts_with("device cuda:1: "), "{error}");
        assert!(error.contains("cargo build --release --features cuda"), "{error}");
    }
}
