//! Facts about NVIDIA cards from the driver's management library, loaded at run time.
//!
//! NVML needs neither CUDA nor a build with the `cuda` feature. It is asked for facts only: what a
//! trial uses is measured by the pool, because NVML's numbers per process are missing under WSL2
//! and on MIG slices.

use std::ffi::OsStr;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError as Cause;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// Name under which the driver installs the library.
const LIBRARY: &str = if cfg!(windows) { "nvml.dll" } else { "libnvidia-ml.so.1" };

/// One card. What the driver or the card does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CardFacts {
    /// Index in NVML's order, which `CUDA_VISIBLE_DEVICES` does not change.
    pub index: u32,
    /// Marketing name.
    pub name: Option<String>,
    /// `GPU-…`; the identity that NVML and CUDA share.
    pub uuid: Option<String>,
    /// Memory of the card.
    pub total: Option<Bytes>,
    /// Memory nobody uses.
    pub free: Option<Bytes>,
    /// Compute processes on the card besides this one. In a container with process numbers of its
    /// own this process is counted too.
    pub other_processes: Option<usize>,
    /// What those processes hold.
    pub used_by_others: Option<Bytes>,
    /// Temperature of the chip in °C.
    pub temperature_celsius: Option<u32>,
    /// Power drawn now.
    pub power_watts: Option<f64>,
    /// Version of the driver.
    pub driver: Option<String>,
}

/// Why there are no facts. A study goes on without them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NvmlError {
    /// No such library, or one that is not NVML: no NVIDIA driver is installed.
    #[error("NVML not found: {reason}; {WITHOUT}")]
    NoLibrary {
        /// What the loader said, with the name of the library.
        reason: String,
    },
    /// The library is there, but the driver does not answer it.
    #[error("NVML does not answer: {library}: {reason}; {WITHOUT}")]
    NoDriver {
        /// Name or path of the library.
        library: String,
        /// What the library said.
        reason: String,
    },
}

const WITHOUT: &str = "memory is measured by the pool, temperature and power are unknown";

/// All cards of the machine; `library` is a path in place of the driver's own library.
///
/// # Errors
/// When there is no library or its driver does not answer. A single fact that is missing is `None`.
pub fn cards(library: Option<&OsStr>) -> Result<Vec<CardFacts>, NvmlError> {
    let library = library.unwrap_or(OsStr::new(LIBRARY));
    let error = |cause| absence(library, &cause);
    let nvml = Nvml::builder().lib_path(library).init().map_err(error)?;
    let driver = nvml.sys_driver_version().ok();
    let count = nvml.device_count().map_err(error)?;
    Ok((0..count).map(|index| card(&nvml, index, driver.clone())).collect())
}

/// What nobody uses of the card that CUDA numbers `index`; `None` where NVML or the numbering can't be told.
#[must_use]
pub fn free(index: usize) -> Option<Bytes> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    cards(None).ok()?.get(place(index, visible.as_deref())?)?.free
}

/// The place in NVML's order of a card in CUDA's, where `CUDA_VISIBLE_DEVICES` lists numbers or nothing.
fn place(index: usize, visible: Option<&str>) -> Option<usize> {
    visible.map_or(Some(index), |visible| visible.split(',').nth(index)?.trim().parse().ok())
}

fn absence(library: &OsStr, cause: &Cause) -> NvmlError {
    let reason = cause.to_string();
    match cause {
        Cause::LibloadingError(_) | Cause::LibraryNotFound => NvmlError::NoLibrary { reason },
        _ => NvmlError::NoDriver { library: library.to_string_lossy().into_owned(), reason },
    }
}

/// A card that can't be opened keeps its place in the list, without facts.
fn card(nvml: &Nvml, index: u32, driver: Option<String>) -> CardFacts {
    let unknown = CardFacts { index, driver, ..CardFacts::default() };
    let Ok(device) = nvml.device_by_index(index) else { return unknown };
    let memory = device.memory_info().ok();
    let others = others(&device);
    CardFacts {
        name: device.name().ok(),
        uuid: device.uuid().ok(),
        total: memory.as_ref().map(|memory| Bytes(memory.total)),
        free: memory.as_ref().map(|memory| Bytes(memory.free)),
        other_processes: others.as_ref().map(Vec::len),
        used_by_others: others.as_deref().and_then(held),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        power_watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
        ..unknown
    }
}

fn others(device: &Device<'_>) -> Option<Vec<ProcessInfo>> {
    let mut processes = device.running_compute_processes().ok()?;
    processes.retain(|process| process.pid != std::process::id());
    Some(processes)
}

/// Known only when it is known of every process.
fn held(processes: &[ProcessInfo]) -> Option<Bytes> {
    let one = |process: &ProcessInfo| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    processes.iter().map(one).sum::<Option<u64>>().map(Bytes)
}
