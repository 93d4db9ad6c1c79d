//! Low-rank adapters (Hu et al. 2021): their sizes, names and first values.

use candle_core::{Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::arch::{self, ModelConfig, ParameterSpec};

/// Adapters on every linear layer of the blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lora {
    /// Inner width (r).
    pub rank: usize,
    /// Numerator of the scale: the side path counts alpha / r.
    pub alpha: f32,
}

impl Lora {
    /// Factor of the side path.
    #[must_use]
    pub fn scale(self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a rank is far below 2^24")]
        let rank = self.rank as f32;
        self.alpha / rank
    }

    /// Names and shapes: for each linear layer of the blocks, in their order, A [r, i] and B [o, r].
    pub(super) fn specs(self, config: &ModelConfig) -> Vec<ParameterSpec> {
        let pair = |spec: &ParameterSpec| {
            let (o, i) = (spec.shape[0], spec.shape[1]);
            let name = spec.name.trim_end_matches(".weight");
            let half = |letter, shape: [usize; 2]| ParameterSpec {
                name: format!("{name}.lora_{letter}.weight"),
                shape: shape.to_vec(),
            };
            [half('A', [self.rank, i]), half('B', [o, self.rank])]
        };
        let specs = arch::parameters(config);
        specs
            .iter()
            .filter(|spec| spec.is_matrix() && spec.name.contains(".layers."))
            .flat_map(pair)
            .collect()
    }

    /// First values as PEFT draws them: A uniform within ±1/√i (Kaiming with a = √5), B zero, so that
    /// training begins at the base model.
    pub(super) fn initial(self, config: &ModelConfig, seed: u64, device: &Device) -> Result<Vec<Tensor>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut fresh = |spec: &ParameterSpec| {
            #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
            let bound = 1.0 / (spec.shape[1] as f32).sqrt();
            let is_a = spec.name.ends_with("lora_A.weight");
            let draw = |rng: &mut ChaCha8Rng| if is_a { rng.random_range(-bound..bound) } else { 0.0 };
            let values: Vec<f32> = (0..spec.elements()).map(|_| draw(&mut rng)).collect();
            Tensor::from_vec(values, spec.shape.as_slice(), device)
        };
        self.specs(config).iter().map(&mut fresh).collect()
    }
}
