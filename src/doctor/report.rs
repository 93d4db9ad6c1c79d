//! All that was found out: the facts by their own names, and the checks.

use serde::Serialize;
use serde_json::{Value, json};

use super::check::{Check, Verdict};
use super::devices::OnDevice;
use super::hub::access_in_words;
use crate::device::Device;
use crate::device::nvml::{CardFacts, NvmlError};
use crate::hub::{Access, HubSettings};

/// What `--json` prints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    version: Version,
    cpu: Value,
    cards: Option<Vec<CardFacts>>,
    nvml_problem: Option<String>,
    /// The first card that computes, in its own words.
    cuda: Option<String>,
    cuda_problem: Option<String>,
    hub: Value,
    /// Every check, in the order of the table.
    pub checks: Vec<Check>,
    /// How long it all took.
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
struct Version(&'static str);

impl Default for Version {
    fn default() -> Self {
        Self(env!("CARGO_PKG_VERSION"))
    }
}

impl Report {
    /// How many checks came to a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }

    pub(super) fn set_processor(&mut self, cpu: &dyn Device) {
        self.cpu = json!({ "name": cpu.describe(), "total_bytes": cpu.total(), "free_bytes": cpu.free() });
    }

    pub(super) fn set_cards(&mut self, cards: Result<Vec<CardFacts>, NvmlError>) {
        match cards {
            Ok(cards) => self.cards = Some(cards),
            Err(absence) => self.nvml_problem = Some(absence.to_string()),
        }
    }

    pub(super) fn set_no_cuda(&mut self, why: &str) {
        self.cuda_problem = Some(why.to_owned());
    }

    pub(super) fn add_card(&mut self, card: OnDevice) {
        match (card.description, card.checks.first()) {
            (Some(name), _) => self.cuda = self.cuda.take().or(Some(name)),
            (None, Some(check)) => self.cuda_problem = Some(check.measured.clone()),
            (None, None) => {}
        }
        self.checks.extend(card.checks);
    }

    /// The token is a secret: only whether there is one is told.
    pub(super) fn set_hub(&mut self, settings: &HubSettings, access: &Access) {
        self.hub = json!({
            "endpoint": settings.endpoint,
            "cache": settings.cache,
            "token": settings.token.is_some(),
            "access": access_in_words(access),
        });
    }
}
