//! What decides memory and speed besides the batch: the hardware plane of the search.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Precision;

/// One setting of which the largest feasible micro-batch is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardwareSetting {
    /// Number format of the step.
    pub precision: Precision,
    /// Longer examples are cut to so many tokens; none: they are as the data set has them.
    pub max_length: Option<usize>,
    /// Activations are made again in the backward pass instead of being kept.
    pub gradient_checkpointing: bool,
    /// Rank of the adapters; none where all weights are trained.
    pub lora_rank: Option<usize>,
}

impl HardwareSetting {
    /// All weights, all activations kept, examples as they are.
    #[must_use]
    pub const fn plain(precision: Precision) -> Self {
        Self { precision, max_length: None, gradient_checkpointing: false, lora_rank: None }
    }

    /// What it adds to its precision, in a few words; nothing for a plain setting.
    #[must_use]
    pub fn details(&self) -> String {
        let length = self.max_length.map(|length| format!("{length} tokens"));
        let recompute = self.gradient_checkpointing.then(|| "checkpointing".to_owned());
        let rank = self.lora_rank.map(|rank| format!("LoRA r={rank}"));
        length.into_iter().chain(recompute).chain(rank).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for HardwareSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = self.details();
        let text = if details.is_empty() {
            self.precision.to_string()
        } else {
            format!("{}, {details}", self.precision)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_by_what_is_not_plain_of_it() {
        let plain = HardwareSetting::plain(Precision::Bf16);
        assert_eq!(plain.to_string(), "bf16");
        let all = HardwareSetting {
            max_length: Some(256),
            gradient_checkpointing: true,
            lora_rank: Some(8),
            ..plain
        };
        assert_eq!(all.to_string(), "bf16, 256 tokens, checkpointing, LoRA r=8");
    }
}
