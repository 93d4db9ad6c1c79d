//! What NVML tells of a card, and what it can't tell where.

use std::path::Path;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};

use crate::trial::Slowdown;
use crate::units::Bytes;

/// One card. What the driver or the card does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CardFacts {
    /// Index in NVML's order, which `CUDA_VISIBLE_DEVICES` does not change.
    pub index: u32,
    /// Marketing name.
    pub name: Option<String>,
    /// `GPU-…`; the identity that NVML and CUDA share.
    pub uuid: Option<String>,
    /// Major and minor, such as 8.9.
    pub compute_capability: Option<String>,
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
    /// Power it may draw.
    pub power_limit_watts: Option<f64>,
    /// Clock of the streaming multiprocessors.
    pub sm_mhz: Option<u32>,
    /// Clock of the memory.
    pub memory_mhz: Option<u32>,
    /// What lowers its clocks now.
    pub slowed: Option<Vec<Slowdown>>,
    /// Whether errors of its memory are corrected.
    pub ecc: Option<bool>,
    /// Errors since the driver was loaded that could not be corrected.
    pub uncorrected_errors: Option<u64>,
    /// Whether it is divided into slices.
    pub mig: Option<bool>,
    /// Version of the driver.
    pub driver: Option<String>,
}

/// A card that can't be opened keeps its place in the list, without facts.
pub(super) fn card(nvml: &Nvml, index: u32, driver: Option<String>) -> CardFacts {
    let unknown = CardFacts { index, driver, ..CardFacts::default() };
    let Ok(device) = nvml.device_by_index(index) else { return unknown };
    let memory = device.memory_info().ok();
    let others = others(&device);
    let capability = device.cuda_compute_capability().ok();
    CardFacts {
        name: device.name().ok(),
        uuid: device.uuid().ok(),
        compute_capability: capability.map(|capability| format!("{}.{}", capability.major, capability.minor)),
        total: memory.as_ref().map(|memory| Bytes(memory.total)),
        free: memory.as_ref().map(|memory| Bytes(memory.free)),
        other_processes: others.as_ref().map(Vec::len),
        used_by_others: others.as_deref().and_then(held),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        power_watts: device.power_usage().ok().map(watts),
        power_limit_watts: device.enforced_power_limit().ok().map(watts),
        sm_mhz: device.clock_info(Clock::SM).ok(),
        memory_mhz: device.clock_info(Clock::Memory).ok(),
        slowed: device.current_throttle_reasons().ok().map(slowdowns),
        ecc: device.is_ecc_enabled().ok().map(|ecc| ecc.currently_enabled),
        uncorrected_errors: device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).ok(),
        mig: device.mig_mode().ok().map(|mode| mode.current != 0),
        ..unknown
    }
}

/// What of the reasons slows a card that has something to do.
pub(super) fn slowdowns(reasons: ThrottleReasons) -> Vec<Slowdown> {
    let heat = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
    let setting = ThrottleReasons::APPLICATIONS_CLOCKS_SETTING | ThrottleReasons::DISPLAY_CLOCK_SETTING;
    let mut slowed: Vec<Slowdown> = [
        (ThrottleReasons::SW_POWER_CAP, Slowdown::PowerCap),
        (heat, Slowdown::Heat),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, Slowdown::PowerBrake),
        (ThrottleReasons::SYNC_BOOST, Slowdown::SyncBoost),
        (setting, Slowdown::ClockSetting),
    ]
    .into_iter()
    .filter_map(|(of, slowdown)| reasons.intersects(of).then_some(slowdown))
    .collect();
    // Raised beside the reason where there is one.
    let is_told = slowed.iter().any(|one| matches!(one, Slowdown::Heat | Slowdown::PowerBrake));
    if reasons.contains(ThrottleReasons::HW_SLOWDOWN) && !is_told {
        slowed.push(Slowdown::Hardware);
    }
    slowed.sort_unstable();
    slowed
}

/// What NVML can't tell here, and what follows from it.
#[must_use]
pub fn blind_spots(cards: &[CardFacts]) -> Vec<String> {
    blind_spots_where(cards, Path::new("/dev/dxg").exists())
}

fn blind_spots_where(cards: &[CardFacts], is_wsl: bool) -> Vec<String> {
    let wsl = "under WSL2 the driver does not tell what other processes hold: what a trial uses is measured by its pool";
    let sliced = |card: &CardFacts| {
        let index = card.index;
        format!(
            "card {index} is divided (MIG), and NVML's memory is that of all its slices: name one by its UUID in \
             CUDA_VISIBLE_DEVICES (`nvidia-smi -L`); its size is then CUDA's"
        )
    };
    let slices = cards.iter().filter(|card| card.mig == Some(true)).map(sliced);
    is_wsl.then(|| wsl.to_owned()).into_iter().chain(slices).collect()
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

pub(super) fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_and_idleness_is_none() {
        let hot = ThrottleReasons::HW_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        assert_eq!(slowdowns(hot), [Slowdown::Heat]);
        assert_eq!(slowdowns(ThrottleReasons::HW_SLOWDOWN), [Slowdown::Hardware]);
        assert_eq!(slowdowns(ThrottleReasons::GPU_IDLE), []);
        let both = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::APPLICATIONS_CLOCKS_SETTING;
        assert_eq!(slowdowns(both), [Slowdown::PowerCap, Slowdown::ClockSetting]);
    }

    #[test]
    fn what_nvml_cannot_tell_is_said_of_wsl_and_of_divided_cards() {
        let cards = [CardFacts::default(), CardFacts { index: 1, mig: Some(true), ..CardFacts::default() }];
        assert_eq!(blind_spots_where(&cards[..1], false), Vec::<String>::new());
        let spots = blind_spots_where(&cards, true);
        assert!(spots[0].contains("WSL2") && spots[1].starts_with("card 1 is divided"), "{spots:?}");
    }
}
