//! The processor as a device: memory counted and capped by the process's own allocator.

use super::allocator;
use super::{CpuFacts, Device, DeviceError, Facts};
use crate::space::Precision;
use crate::trial::Power;
use crate::units::Bytes;

/// The processor, with the memory of the machine or a cap below it.
#[derive(Debug)]
pub(super) struct Cpu {
    candle: candle_core::Device,
    cap: Option<Bytes>,
}

impl Cpu {
    /// Puts the cap, or its absence, in force for the whole process.
    pub(super) fn open(cap: Option<Bytes>) -> Result<Self, DeviceError> {
        if let Some(cap) = cap
            && !allocator::is_installed()
        {
            return Err(DeviceError::CapNotKept { cap });
        }
        allocator::set_cap(cap);
        Ok(Self { candle: candle_core::Device::Cpu, cap })
    }
}

impl Device for Cpu {
    fn describe(&self) -> String {
        let CpuFacts { model, threads } = cpu_facts();
        let model = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        format!("cpu: {model}, threads: {threads}")
    }

    fn candle(&self) -> &candle_core::Device {
        &self.candle
    }

    fn total(&self) -> Option<Bytes> {
        meminfo("MemTotal")
    }

    fn free(&self) -> Option<Bytes> {
        free()
    }

    fn cap(&self) -> Option<Bytes> {
        self.cap
    }

    fn live(&self) -> Result<Bytes, DeviceError> {
        Ok(allocator::live())
    }

    fn peak(&self) -> Result<Bytes, DeviceError> {
        Ok(allocator::peak())
    }

    fn reserved_peak(&self) -> Result<Option<Bytes>, DeviceError> {
        Ok(None)
    }

    fn overhead(&self) -> Option<Bytes> {
        None
    }

    fn reset_peak(&self) -> Result<(), DeviceError> {
        allocator::reset_peak();
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Every processor has kernels of all three.
    fn check_precision(&self, _precision: Precision) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The counters of processors are for administrators alone.
    fn power(&self) -> Option<Power> {
        None
    }

    fn facts(&self) -> Facts {
        Facts::Cpu(cpu_facts())
    }
}

fn cpu_facts() -> CpuFacts {
    let model = std::fs::read_to_string("/proc/cpuinfo").ok();
    CpuFacts {
        model: model.as_deref().and_then(|text| value_of(text, "model name")).map(str::to_owned),
        threads: super::threads(),
    }
}

/// Memory that programs could get now.
pub(super) fn free() -> Option<Bytes> {
    meminfo("MemAvailable")
}

/// A line of `/proc/meminfo`; `None` where the system has no such file.
fn meminfo(key: &str) -> Option<Bytes> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    kibibytes(value_of(&text, key)?)
}

/// The value of the first `key: value` line.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// Reads `16318412 kB`; the kernel writes kB and means KiB (man 5 `proc_meminfo`).
fn kibibytes(value: &str) -> Option<Bytes> {
    let count: u64 = value.strip_suffix("kB")?.trim().parse().ok()?;
    count.checked_mul(1 << 10).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16318412 kB\nMemFree:  1 kB\nMemAvailable:   12000 kB\n";

    #[test]
    fn sizes_of_meminfo_are_kibibytes() {
        let read = |key| value_of(MEMINFO, key).and_then(kibibytes);
        assert_eq!(read("MemTotal"), Some(Bytes(16_318_412 << 10)));
        assert_eq!(read("MemAvailable"), Some(Bytes(12_000 << 10)));
        assert_eq!(read("Swap"), None);
    }

    #[test]
    fn what_is_no_size_in_kibibytes_is_none() {
        for value in ["", "12", "x kB", "-1 kB", "18446744073709551615 kB"] {
            assert_eq!(kibibytes(value), None, "{value}");
        }
    }

    #[test]
    fn the_first_model_name_of_cpuinfo_is_the_processor() {
        let text = "processor\t: 0\nmodel name\t: A: B\n\nprocessor\t: 1\nmodel name\t: C\n";
        assert_eq!(value_of(text, "model name"), Some("A: B"));
        assert_eq!(value_of("CPU part\t: 0xd0c\n", "model name"), None);
    }

    #[test]
    fn a_cap_nobody_can_keep_is_refused_with_the_way_out() {
        // The library's unit tests run without the counting allocator.
        let error = Cpu::open(Some(Bytes::gib(1))).unwrap_err();
        assert!(error.to_string().contains("1.00 GiB"), "{error}");
        assert!(error.to_string().contains("hint: declare `#[global_allocator]"), "{error}");
    }
}
