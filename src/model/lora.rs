//! Low-rank adapters (Hu et al. 2021): their names, sizes and first values.

use candle_core::{Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::error::ModelError;
use crate::arch::{self, ModelConfig, ParameterSpec};
use crate::space::{ALL_LINEAR, LoraSettings};

/// The weights that are trained, in the order of their slots: all, or the adapters alone.
#[must_use]
pub fn trainable_specs(config: &ModelConfig, lora: Option<&LoraSettings>) -> Vec<ParameterSpec> {
    lora.map_or_else(|| arch::parameters(config), |lora| adapter_specs(lora, config))
}

/// Names and shapes: for each linear layer that is covered, in their order, A [r, i] and B [o, r].
pub(super) fn adapter_specs(lora: &LoraSettings, config: &ModelConfig) -> Vec<ParameterSpec> {
    let pair = |spec: &ParameterSpec| {
        let (o, i) = (spec.shape[0], spec.shape[1]);
        [half(spec, 'A', [lora.rank, i]), half(spec, 'B', [o, lora.rank])]
    };
    linear_layers(config).iter().filter(|spec| lora.covers(module(spec))).flat_map(pair).collect()
}

/// Refuses a target that no linear layer of the model has.
///
/// # Errors
/// Names the target, and the linear layers there are.
pub fn check_targets(lora: &LoraSettings, config: &ModelConfig) -> std::result::Result<(), ModelError> {
    let linear = linear_layers(config);
    let mut modules: Vec<&str> = Vec::new();
    for spec in &linear {
        if !modules.contains(&module(spec)) {
            modules.push(module(spec));
        }
    }
    let unknown =
        lora.targets.iter().find(|target| *target != ALL_LINEAR && !modules.contains(&target.as_str()));
    unknown.map_or(Ok(()), |target| {
        Err(ModelError::NoTarget { target: target.clone(), modules: modules.join("`, `") })
    })
}

/// The matrices of the blocks.
fn linear_layers(config: &ModelConfig) -> Vec<ParameterSpec> {
    let mut specs = arch::parameters(config);
    specs.retain(|spec| spec.is_matrix() && spec.name.contains(".layers."));
    specs
}

/// The last part of a linear layer's name: `q_proj`.
fn module(spec: &ParameterSpec) -> &str {
    let name = stem(spec);
    name.rsplit('.').next().unwrap_or(name)
}

fn stem(spec: &ParameterSpec) -> &str {
    spec.name.trim_end_matches(".weight")
}

fn half(spec: &ParameterSpec, letter: char, shape: [usize; 2]) -> ParameterSpec {
    ParameterSpec { name: format!("{}.lora_{letter}.weight", stem(spec)), shape: shape.to_vec() }
}

/// First values as PEFT draws them: A uniform within ±1/√i (Kaiming with a = √5), B zero, so that
/// training begins at the base model.
pub(super) fn initial(specs: &[ParameterSpec], seed: u64, device: &Device) -> Result<Vec<Tensor>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut fresh = |spec: &ParameterSpec| {
        #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
        let bound = 1.0 / (spec.shape[1] as f32).sqrt();
        let is_a = spec.name.ends_with("lora_A.weight");
        let draw = |rng: &mut ChaCha8Rng| if is_a { rng.random_range(-bound..bound) } else { 0.0 };
        let values: Vec<f32> = (0..spec.elements()).map(|_| draw(&mut rng)).collect();
        Tensor::from_vec(values, spec.shape.as_slice(), device)
    };
    specs.iter().map(&mut fresh).collect()
}
