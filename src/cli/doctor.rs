//! `doctor`: what this machine offers, and what can't be known about it.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::args::DoctorOptions;
use super::{print, print_json};
use crate::device::nvml::{self, CardFacts, NvmlError};
use crate::device::{self, Device, DeviceError};
use crate::hub::{Access, Hub};
use crate::space::DeviceSpec;
use crate::units::Bytes;

/// What was found out.
struct Findings {
    cpu: Box<dyn Device>,
    cards: Result<Vec<CardFacts>, NvmlError>,
    cuda: Result<String, DeviceError>,
    hub: Hub,
    access: Access,
}

/// Prints the processor, the cards NVML names, and whether CUDA can be used, and
/// whether the hub can be asked.
pub(super) fn run(options: &DoctorOptions) -> Result<ExitCode> {
    let hub = Hub::from_env();
    let findings = Findings {
        cpu: device::open(&DeviceSpec::Cpu { cap: None })?,
        cards: nvml::cards(None),
        cuda: device::open(&DeviceSpec::Cuda { index: 0, cap: None }).map(|device| device.describe()),
        access: hub.access(),
        hub,
    };
    if options.json {
        print_json(&findings.json())?;
    } else {
        print(&findings.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Findings {
    fn json(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cpu": { "name": self.cpu.describe(), "total_bytes": self.cpu.total(), "free_bytes": self.cpu.free() },
            "cards": self.cards.as_ref().ok(),
            "nvml_problem": self.cards.as_ref().err().map(ToString::to_string),
            "cuda": self.cuda.as_ref().ok(),
            "cuda_problem": self.cuda.as_ref().err().map(ToString::to_string),
            "hub": {
                "endpoint": self.hub.settings().endpoint,
                "cache": self.hub.settings().cache,
                "token": self.hub.settings().token.is_some(),
                "access": access(&self.access),
            },
        })
    }

    fn text(&self) -> String {
        let (total, free) = (shown(self.cpu.total()), shown(self.cpu.free()));
        let mut lines = vec![
            format!("diapason {}", env!("CARGO_PKG_VERSION")),
            format!("{} · {total} of memory, {free} free", self.cpu.describe()),
        ];
        match &self.cards {
            Ok(cards) if cards.is_empty() => lines.push("nvml: no cards".to_owned()),
            Ok(cards) => lines.extend(cards.iter().map(card)),
            Err(absence) => lines.push(format!("nvml: {absence}")),
        }
        lines.push(match &self.cuda {
            Ok(name) => name.clone(),
            Err(error) => format!("cuda: {error}"),
        });
        let settings = self.hub.settings();
        let token = if settings.token.is_some() { "a token" } else { "no token" };
        let (endpoint, cache) = (&settings.endpoint, settings.cache.display());
        lines.push(format!("hub: {endpoint} · {} · {token} · cache {cache}", access(&self.access)));
        lines.join("\n")
    }
}

fn access(access: &Access) -> String {
    match access {
        Access::Offline => "offline by HF_HUB_OFFLINE".to_owned(),
        Access::Open => "reachable".to_owned(),
        Access::TokenRefused => "reachable, but it refuses the token".to_owned(),
        Access::Unreachable(reason) => format!("unreachable: {reason}"),
    }
}

fn shown(bytes: Option<Bytes>) -> String {
    bytes.map_or("unknown".to_owned(), |bytes| bytes.to_string())
}

/// One card on one line; what the driver does not tell is left out.
fn card(card: &CardFacts) -> String {
    let name = card.name.as_deref().unwrap_or("a card without a name");
    let mut text =
        format!("nvml: card {}: {name} · {}, {} free", card.index, shown(card.total), shown(card.free));
    let facts = [
        card.other_processes
            .map(|count| format!("{count} other processes hold {}", shown(card.used_by_others))),
        card.temperature_celsius.map(|celsius| format!("{celsius} °C")),
        card.power_watts.map(|watts| format!("{watts:.0} W")),
        card.driver.as_ref().map(|version| format!("driver {version}")),
    ];
    for fact in facts.into_iter().flatten() {
        text += " · ";
        text += &fact;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_shown_with_what_is_known_of_it() {
        let facts = CardFacts {
            index: 1,
            name: Some("NVIDIA L4".to_owned()),
            total: Some(Bytes::gib(22)),
            temperature_celsius: Some(41),
            ..CardFacts::default()
        };
        assert_eq!(card(&facts), "nvml: card 1: NVIDIA L4 · 22.0 GiB, unknown free · 41 °C");
    }
}
