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
    arch::parameters(config).iter().filter(|spec| is_adapted(lora, spec)).flat_map(pair).collect()
}

/// The adapters of a model.
pub(super) struct Adapters {
    pub(super) settings: LoraSettings,
    /// For each base weight the index of its adapter's A; its B stands behind it.
    places: Vec<Option<usize>>,
}

impl Adapters {
    /// Those that stand behind the weights `base`, in the order of [`adapter_specs`].
    pub(super) fn behind(base: &[ParameterSpec], settings: LoraSettings) -> Self {
        let mut next = base.len();
        let mut place = |spec| {
            let own = is_adapted(&settings, spec).then_some(next);
            next += 2 * usize::from(own.is_some());
            own
        };
        let places = base.iter().map(&mut place).collect();
        Self { settings, places }
    }

    /// Index of the A of base weight number `weight`.
    pub(super) fn place(&self, weight: usize) -> Option<usize> {
        self.places.get(weight).copied().flatten()
    }
}

/// Refuses a target that no linear layer of the model has.
///
/// # Errors
/// Names the target, and the linear layers there are.
pub fn check_targets(lora: &LoraSettings, config: &ModelConfig) -> std::result::Result<(), ModelError> {
    let specs = arch::parameters(config);
    let mut modules: Vec<&str> = Vec::new();
    for name in specs.iter().filter(|spec| is_linear_layer(spec)).map(|spec| module(&spec.name)) {
        if !modules.contains(&name) {
            modules.push(name);
        }
    }
    let unknown =
        lora.targets.iter().find(|target| *target != ALL_LINEAR && !modules.contains(&target.as_str()));
    unknown.map_or(Ok(()), |target| {
        Err(ModelError::NoTarget { target: target.clone(), modules: modules.join("`, `") })
    })
}

/// Whether a weight is a matrix of the blocks.
pub(super) fn is_linear_layer(spec: &ParameterSpec) -> bool {
    spec.is_matrix() && spec.name.contains(".layers.")
}

fn is_adapted(lora: &LoraSettings, spec: &ParameterSpec) -> bool {
    is_linear_layer(spec) && lora.covers(module(&spec.name))
}

/// The last part of the name of a linear layer, or of the one that an adapter is for: `q_proj`.
pub(super) fn module(name: &str) -> &str {
    let layer = name.split(".lora_").next().unwrap_or(name).trim_end_matches(".weight");
    layer.rsplit('.').next().unwrap_or(layer)
}

fn half(spec: &ParameterSpec, letter: char, shape: [usize; 2]) -> ParameterSpec {
    let layer = spec.name.trim_end_matches(".weight");
    ParameterSpec { name: format!("{layer}.lora_{letter}.weight"), shape: shape.to_vec() }
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
