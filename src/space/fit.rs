//! `[fit]`: of which settings the largest micro-batch is asked, and how much memory stays free.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{ALL_LINEAR, HardwareSetting, LoraSettings, Study};
use crate::units::Bytes;

/// What is fitted besides the study's own setting.
///
/// Empty lists stand for what the study trains with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FitSettings {
    /// Longest examples in tokens, each as long as the data's or shorter.
    pub max_length: Vec<usize>,
    /// With activations kept, made again, or both.
    pub gradient_checkpointing: Vec<bool>,
    /// Adapters' ranks, or all weights.
    pub lora_rank: Vec<Trained>,
    /// Bytes that probes leave free below the cap.
    pub margin: Margin,
}

/// Which weights are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trained {
    /// All of them: `"full"` in a study file.
    Full,
    /// Adapters of so high a rank.
    #[serde(untagged)]
    Lora(usize),
}

/// How much lower than the device's memory the boundary of a probe is.
///
/// What passed must still pass when threads happen to hold their scratch memory at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Margin(pub Bytes);

impl Default for Margin {
    fn default() -> Self {
        Self(Bytes::mib(8))
    }
}

impl Study {
    /// Every setting of which the largest micro-batch is asked, those that trials run first.
    #[must_use]
    pub fn hardware_settings(&self) -> Vec<HardwareSetting> {
        let own = self.space.precision.iter().map(|precision| self.trained_as(*precision));
        let listed = own.clone().flat_map(|own| self.varied(own));
        let mut seen = HashSet::new();
        own.chain(listed).filter(|setting| seen.insert(*setting)).collect()
    }

    /// A setting with all that `[fit]` lists in place of its own.
    fn varied(&self, own: HardwareSetting) -> Vec<HardwareSetting> {
        let lengths = self.fit.max_length.iter().map(|length| self.cut_to(*length));
        let lengths = or_own(lengths.collect(), own.max_length);
        let recompute = or_own(self.fit.gradient_checkpointing.clone(), own.gradient_checkpointing);
        let ranks = or_own(self.fit.lora_rank.iter().map(|trained| trained.rank()).collect(), own.lora_rank);
        let mut settings = Vec::new();
        for lora_rank in ranks {
            for gradient_checkpointing in recompute.iter().copied() {
                let with =
                    |max_length| HardwareSetting { max_length, gradient_checkpointing, lora_rank, ..own };
                settings.extend(lengths.iter().copied().map(with));
            }
        }
        settings
    }

    /// The setting that trials in `precision` run.
    #[must_use]
    pub fn trained_as(&self, precision: super::Precision) -> HardwareSetting {
        HardwareSetting {
            gradient_checkpointing: self.train.gradient_checkpointing,
            lora_rank: self.train.lora.as_ref().map(|lora| lora.rank),
            ..HardwareSetting::plain(precision)
        }
    }

    /// The adapters of a setting: those of `[lora]` with another rank, or its defaults.
    #[must_use]
    pub fn lora_of(&self, setting: HardwareSetting) -> Option<LoraSettings> {
        let rank = setting.lora_rank?;
        Some(
            self.train
                .lora
                .clone()
                .map_or_else(|| LoraSettings::of_rank(rank), |lora| LoraSettings { rank, ..lora }),
        )
    }

    /// As long as the data's is not cut at all.
    fn cut_to(&self, length: usize) -> Option<usize> {
        (length < self.data.max_length).then_some(length)
    }
}

impl Trained {
    const fn rank(self) -> Option<usize> {
        match self {
            Self::Full => None,
            Self::Lora(rank) => Some(rank),
        }
    }
}

impl LoraSettings {
    /// What `[lora]` gives that sets nothing but a rank.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rank is far below 2^52")]
    pub fn of_rank(rank: usize) -> Self {
        // Twice the rank is the habit of the field: the scale is then 2 for every rank.
        let (alpha, targets) = (2.0 * rank as f64, vec![ALL_LINEAR.to_owned()]);
        Self { rank, alpha, dropout: 0.0, targets, rslora: false, quantize_base: None }
    }
}

fn or_own<T>(listed: Vec<T>, own: T) -> Vec<T> {
    if listed.is_empty() { vec![own] } else { listed }
}

#[cfg(test)]
mod tests {
    use super::super::Precision;
    use super::*;

    fn study(more: &str) -> Study {
        let text = format!("[model]\nsource = 'm'\n[data]\nsource = 'd.csv'\nmax_length = 512\n{more}");
        Study::from_toml(&text, "s.toml".as_ref()).unwrap()
    }

    #[test]
    fn without_a_section_the_setting_of_the_trials_alone_is_fitted() {
        let study = study(
            "[space]\nprecision = ['f32', 'bf16']\n[lora]\nrank = 4\n[train]\ngradient_checkpointing = true\n",
        );
        let own = |precision| HardwareSetting {
            gradient_checkpointing: true,
            lora_rank: Some(4),
            ..HardwareSetting::plain(precision)
        };
        assert_eq!(study.hardware_settings(), [own(Precision::F32), own(Precision::Bf16)]);
        assert_eq!(study.fit.margin.0, Bytes::mib(8));
    }

    #[test]
    fn listed_values_are_combined_and_the_setting_of_the_trials_is_among_them_once() {
        let study = study(
            "[fit]\nmax_length = [256, 512]\ngradient_checkpointing = [false, true]\nlora_rank = ['full', 8]\nmargin = '64MiB'\n",
        );
        let settings = study.hardware_settings();
        assert_eq!(settings.len(), 8);
        assert_eq!(settings[0], HardwareSetting::plain(Precision::F32));
        assert!(
            settings.iter().any(|setting| setting.max_length == Some(256) && setting.lora_rank == Some(8))
        );
        assert_eq!(
            study.lora_of(settings[7]).map(|lora| (lora.rank, lora.scale().to_bits())),
            Some((8, 2.0_f64.to_bits()))
        );
        assert_eq!(study.fit.margin.0, Bytes::mib(64));
    }
}
