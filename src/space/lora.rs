//! `[lora]`: low-rank adapters instead of all weights.

use serde::{Deserialize, Serialize};

use super::BlockFormat;

/// The target that stands for every linear layer of the blocks.
pub const ALL_LINEAR: &str = "all-linear";

/// Low-rank adapters (Hu et al. 2021) on a frozen model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraSettings {
    /// Inner width (r).
    pub rank: usize,
    /// Numerator of the scale.
    pub alpha: f64,
    /// Share of the adapter's inputs that is dropped in training.
    pub dropout: f64,
    /// Linear layers that get an adapter, by the last part of their name, or [`ALL_LINEAR`].
    pub targets: Vec<String>,
    /// The scale is alpha / √rank (Kalajdzievski 2023) instead of alpha / rank.
    pub rslora: bool,
    /// How the frozen linear layers are kept (`QLoRA`); as in their file where nothing is said.
    #[serde(default)]
    pub quantize_base: Option<BlockFormat>,
}

impl LoraSettings {
    /// Factor of the adapters' output.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rank is far below 2^52")]
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Whether the linear layer `module`, such as `q_proj`, gets an adapter.
    #[must_use]
    pub fn covers(&self, module: &str) -> bool {
        self.targets.iter().any(|target| target == ALL_LINEAR || target == module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> LoraSettings {
        LoraSettings {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            targets: vec!["q_proj".to_owned()],
            rslora: false,
            quantize_base: None,
        }
    }

    #[test]
    fn the_scale_falls_with_the_rank_or_with_its_root() {
        assert!((settings().scale() - 2.0).abs() < 1e-12);
        assert!((LoraSettings { rslora: true, ..settings() }.scale() - 8.0).abs() < 1e-12);
    }

    #[test]
    fn a_target_is_a_name_or_all() {
        assert!(settings().covers("q_proj") && !settings().covers("k_proj"));
        assert!(LoraSettings { targets: vec![ALL_LINEAR.to_owned()], ..settings() }.covers("k_proj"));
    }
}
