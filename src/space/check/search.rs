//! How it is searched: `[search]`.

use super::{Check, Checked};
use crate::space::study_file::{ConfirmSection, SearchSection};
use crate::space::{ConfirmSettings, PrunerKind, SamplerKind, SearchSettings, UnknownSampler};

impl Check<'_> {
    pub(super) fn search(&self, section: &SearchSection) -> Checked<SearchSettings> {
        Ok(SearchSettings {
            trials: self.count("search.trials", section.trials.unwrap_or(9), 1, 1 << 20)?,
            rungs: u32::try_from(self.count("search.rungs", section.rungs.unwrap_or(3) as usize, 1, 16)?)
                .unwrap_or(16),
            // η = 3 minimises the bound of Li et al. 2018 (Hyperband), section 2.6.
            reduction_factor: self.count(
                "search.reduction_factor",
                section.reduction_factor.unwrap_or(3),
                2,
                16,
            )?,
            validation_examples: self.count(
                "search.validation_examples",
                section.validation_examples.unwrap_or(256),
                1,
                1 << 24,
            )?,
            max_micro_batch_size: self.count(
                "search.max_micro_batch_size",
                section.max_micro_batch_size.unwrap_or(1024),
                1,
                1 << 16,
            )?,
            // A minute at the least, a year at most.
            hours: section
                .hours
                .map(|hours| self.number("search.hours", hours, 1.0 / 60.0..=8760.0))
                .transpose()?,
            plateau_nats: section
                .plateau_nats
                .map(|worth| self.number("search.plateau_nats", worth, 0.0..=100.0))
                .transpose()?,
            sampler: self.sampler(section)?,
            pruner: self.pruner(section)?,
            confirm: self.confirm(section.confirm)?,
        })
    }

    fn sampler(&self, section: &SearchSection) -> Checked<SamplerKind> {
        let Some(name) = &section.sampler else { return Ok(SamplerKind::Gp) };
        name.parse().or_else(|error: UnknownSampler| {
            self.wrong("search.sampler", format!("`{name}`"), &error.to_string())
        })
    }

    fn pruner(&self, section: &SearchSection) -> Checked<PrunerKind> {
        let Some(name) = &section.pruner else { return Ok(PrunerKind::Forecast) };
        if let Ok(kind @ (PrunerKind::Forecast | PrunerKind::Halving)) = name.parse() {
            return Ok(kind);
        }
        let right = "a study's rungs are filled by `auto` (by forecasts) or `halving` (by losses)";
        self.wrong("search.pruner", format!("`{name}`"), right)
    }

    fn confirm(&self, section: ConfirmSection) -> Checked<ConfirmSettings> {
        let default = ConfirmSettings::default();
        let count = |key: &str, value, default| self.count(key, Option::unwrap_or(value, default), 1, 16);
        Ok(ConfirmSettings {
            candidates: count("search.confirm.candidates", section.candidates, default.candidates)?,
            seeds: count("search.confirm.seeds", section.seeds, default.seeds)?,
        })
    }
}
