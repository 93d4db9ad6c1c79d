//! What varies: `[space]`.

use super::{Check, Checked, many};
use crate::space::study_file::{FloatSection, OneOrMany, SpaceSection};
use crate::space::{BatchDomain, BatchPlan, FloatDomain, Precision, Space, StudyFile, textbook};

impl Check<'_> {
    pub(super) fn space(&self, file: &StudyFile) -> Checked<Space> {
        let section = &file.space;
        let default_learning_rate = match file.lora {
            Some(_) => textbook::LORA_LEARNING_RATE,
            None => textbook::FULL_LEARNING_RATE,
        };
        Ok(Space {
            precision: self.precisions(section)?,
            batch: self.batch(section)?,
            learning_rate: self.learning_rate(section, default_learning_rate)?,
        })
    }

    fn precisions(&self, section: &SpaceSection) -> Checked<Vec<Precision>> {
        let names = section.precision.as_ref().map_or_else(|| vec!["f32".to_owned()], many);
        let mut precisions = Vec::new();
        for name in &names {
            match name.parse::<Precision>() {
                Ok(precision) if !precisions.contains(&precision) => precisions.push(precision),
                Ok(_) => {}
                Err(error) => return self.wrong("space.precision", format!("{names:?}"), &error),
            }
        }
        if precisions.is_empty() {
            return self.wrong("space.precision", "empty", "name one or more of `f32`, `bf16`, `f16`");
        }
        Ok(precisions)
    }

    fn batch(&self, section: &SpaceSection) -> Checked<BatchDomain> {
        let accumulation_key = "space.gradient_accumulation_steps";
        match (&section.effective_batch_size, &section.micro_batch_size, &section.gradient_accumulation_steps)
        {
            (None, None, None) => Ok(BatchDomain::Effective(vec![8, 16, 32])),
            (Some(sizes), None, None) => {
                Ok(BatchDomain::Effective(self.counts("space.effective_batch_size", sizes)?))
            }
            (None, Some(micro), accumulation) => {
                let micro = self.counts("space.micro_batch_size", micro)?;
                let accumulation = accumulation.clone().unwrap_or(OneOrMany::One(1));
                let accumulation = self.counts(accumulation_key, &accumulation)?;
                let plan = |m, a| BatchPlan { micro_batch_size: m, gradient_accumulation_steps: a };
                Ok(BatchDomain::Explicit(
                    micro.iter().flat_map(|m| accumulation.iter().map(|a| plan(*m, *a))).collect(),
                ))
            }
            _ => self.wrong(
                accumulation_key,
                "given without `micro_batch_size`, or together with `effective_batch_size`",
                "list `effective_batch_size` alone, or `micro_batch_size` with `gradient_accumulation_steps`",
            ),
        }
    }

    fn learning_rate(&self, section: &SpaceSection, default: f64) -> Checked<FloatDomain> {
        let key = "space.learning_rate";
        match section.learning_rate {
            // Two decades; for all weights they lie around Hugging Face's default of 5e-5.
            None => Ok(FloatDomain { low: default / 4.0, high: default * 25.0, log: true }),
            Some(FloatSection::Fixed(value)) => {
                Ok(FloatDomain::fixed(self.number(key, value, 1e-12..=10.0)?))
            }
            Some(FloatSection::Range(range)) => {
                let low = self.number(key, range.low, 1e-12..=10.0)?;
                let high = self.number(key, range.high, low..=10.0)?;
                Ok(FloatDomain { low, high, log: range.log })
            }
        }
    }
}
