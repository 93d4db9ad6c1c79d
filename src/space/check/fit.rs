//! What else the device is asked: `[fit]`.

use super::{Check, Checked, LARGEST_RANK, many};
use crate::space::study_file::{FitSection, RankSection};
use crate::space::{FitSettings, Margin, StudyFile, Trained};

impl Check<'_> {
    pub(super) fn fit(&self, file: &StudyFile) -> Checked<FitSettings> {
        let section = &file.fit;
        let longest = self.data(file)?.max_length;
        let key = "fit.max_length";
        let lengths = section.max_length.as_ref().map(|lengths| self.counts(key, lengths)).transpose()?;
        let lengths = lengths.unwrap_or_default();
        for length in &lengths {
            if !(2..=longest).contains(length) {
                let right = format!("it must lie between 2 and `data.max_length`, which is {longest}");
                return self.wrong(key, length, &right);
            }
        }
        let ranks = section.lora_rank.as_ref().map(many).unwrap_or_default();
        Ok(FitSettings {
            max_length: lengths,
            gradient_checkpointing: section.gradient_checkpointing.as_ref().map(many).unwrap_or_default(),
            lora_rank: ranks.iter().map(|rank| self.trained(rank)).collect::<Checked<_>>()?,
            margin: self.margin(section)?,
        })
    }

    fn trained(&self, rank: &RankSection) -> Checked<Trained> {
        let key = "fit.lora_rank";
        match rank {
            RankSection::Rank(rank) => Ok(Trained::Lora(self.count(key, *rank, 1, LARGEST_RANK)?)),
            RankSection::Name(name) if name == "full" => Ok(Trained::Full),
            RankSection::Name(name) => {
                self.wrong(key, format!("`{name}`"), "give ranks such as 16, and `full` for all weights")
            }
        }
    }

    fn margin(&self, section: &FitSection) -> Checked<Margin> {
        let Some(text) = &section.margin else { return Ok(Margin::default()) };
        match text.parse() {
            Ok(bytes) => Ok(Margin(bytes)),
            Err(_) => {
                self.wrong("fit.margin", format!("`{text}`"), "write bytes with a unit, such as `64MiB`")
            }
        }
    }
}
