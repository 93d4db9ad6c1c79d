//! What all runs have in common: `[train]` and `[lora]`.

use super::{Check, Checked, LARGEST_RANK, many};
use crate::space::study_file::{LoraSection, TrainSection};
use crate::space::{ALL_LINEAR, BlockFormat, LoraSettings, Optimizer, Schedule, TrainSettings};

impl Check<'_> {
    pub(super) fn train(&self, section: &TrainSection) -> Checked<TrainSettings> {
        Ok(TrainSettings {
            epochs: self.number("train.epochs", section.epochs.unwrap_or(3.0), 0.01..=10_000.0)?,
            schedule: self.schedule(section)?,
            // 3–10 % in published recipes; longer is safer for the high rates a search visits.
            warmup_fraction: self.number(
                "train.warmup_fraction",
                section.warmup_fraction.unwrap_or(0.06),
                0.0..=0.9,
            )?,
            optimizer: self.optimizer(section)?,
            // Hugging Face's and PyTorch's AdamW default.
            weight_decay: self.number(
                "train.weight_decay",
                section.weight_decay.unwrap_or(0.01),
                0.0..=10.0,
            )?,
            // Hugging Face's Trainer default; there, too, 0 means no clipping.
            max_grad_norm: Some(self.number(
                "train.max_grad_norm",
                section.max_grad_norm.unwrap_or(1.0),
                0.0..=1e9,
            )?)
            .filter(|limit| *limit > 0.0),
            gradient_checkpointing: section.gradient_checkpointing.unwrap_or(false),
            evaluations: self.count("train.evaluations", section.evaluations.unwrap_or(8), 1, 100_000)?,
            lora: None,
            data_parallel: section.data_parallel,
        })
    }

    fn schedule(&self, section: &TrainSection) -> Checked<Schedule> {
        match section.schedule.as_deref() {
            None | Some("cosine") => Ok(Schedule::Cosine),
            Some("linear") => Ok(Schedule::Linear),
            Some("constant") => Ok(Schedule::Constant),
            Some("wsd" | "warmup_stable_decay") => Ok(Schedule::Wsd),
            Some(other) => {
                let right = "use `cosine`, `linear`, `constant` or `wsd`";
                self.wrong("train.schedule", format!("`{other}`"), right)
            }
        }
    }

    fn optimizer(&self, section: &TrainSection) -> Checked<Optimizer> {
        let Some(name) = section.optimizer.as_deref() else { return Ok(Optimizer::default()) };
        name.parse().or_else(|right: String| self.wrong("train.optimizer", format!("`{name}`"), &right))
    }

    pub(super) fn lora(&self, section: Option<&LoraSection>) -> Checked<Option<LoraSettings>> {
        let Some(section) = section else { return Ok(None) };
        let rank = self.count("lora.rank", section.rank.unwrap_or(16), 1, LARGEST_RANK)?;
        let targets = section.targets.as_ref().map_or_else(|| vec![ALL_LINEAR.to_owned()], many);
        if targets.is_empty() {
            let right = format!("name linear layers such as `q_proj`, or `{ALL_LINEAR}`");
            return self.wrong("lora.targets", "empty", &right);
        }
        let default = LoraSettings::of_rank(rank);
        Ok(Some(LoraSettings {
            rank,
            alpha: self.number("lora.alpha", section.alpha.unwrap_or(default.alpha), 1e-6..=1e6)?,
            dropout: self.number("lora.dropout", section.dropout.unwrap_or(0.0), 0.0..=0.95)?,
            targets,
            rslora: section.rslora.unwrap_or(false),
            quantize_base: self.block_format(section)?,
        }))
    }

    fn block_format(&self, section: &LoraSection) -> Checked<Option<BlockFormat>> {
        let Some(name) = &section.quantize_base else { return Ok(None) };
        match name.parse() {
            Ok(format) => Ok(Some(format)),
            Err(right) => self.wrong("lora.quantize_base", format!("`{name}`"), &right),
        }
    }
}
