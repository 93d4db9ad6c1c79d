//! `doctor`: what this machine offers, and what can't be known about it.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::args::DoctorOptions;
use super::{print, print_json};
use crate::device::{self, nvml};
use crate::space::DeviceSpec;

/// Prints the processor, the cards NVML names, and whether CUDA can be used.
pub(super) fn run(options: &DoctorOptions) -> Result<ExitCode> {
    let cpu = device::open(&DeviceSpec::Cpu { cap: None })?;
    let cards = nvml::cards(None);
    let cuda = device::open(&DeviceSpec::Cuda { index: 0, cap: None }).map(|device| device.describe());
    if options.json {
        print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cpu": { "name": cpu.describe(), "total_bytes": cpu.total(), "free_bytes": cpu.free() },
            "cards": cards.as_ref().map_or(Value::Null, |cards| json!(cards)),
            "nvml": cards.as_ref().err().map(ToString::to_string),
            "cuda": cuda.as_ref().ok(),
            "cuda_problem": cuda.as_ref().err().map(ToString::to_string),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown =
        |bytes: Option<crate::units::Bytes>| bytes.map_or("unknown".to_owned(), |bytes| bytes.to_string());
    print(&format!("diapason {}", env!("CARGO_PKG_VERSION")))?;
    print(&format!(
        "cpu    {} · {} of memory, {} free",
        cpu.describe(),
        shown(cpu.total()),
        shown(cpu.free())
    ))?;
    match cards {
        Ok(cards) if cards.is_empty() => print("nvml   no cards")?,
        Ok(cards) => cards.iter().try_for_each(|card| print(&format!("nvml   {card:?}")))?,
        Err(absence) => print(&format!("nvml   {absence}"))?,
    }
    match cuda {
        Ok(name) => print(&format!("cuda   {name}"))?,
        Err(error) => print(&format!("cuda   {error}"))?,
    }
    Ok(ExitCode::SUCCESS)
}
