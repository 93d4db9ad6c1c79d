//! Our loss and the gradient of every weight against PyTorch's, on the same tiny models.
//!
//! The references in `tests/fixtures/gradients` are Transformers' (sdpa attention, f32, a padded
//! batch with its mask). How they were made, and how to make them again, to the same bytes:
//!
//! ```text
//! pip install torch==2.15.0 transformers==5.23.0
//! python3 tests/peers/llama_gradients.py tests/fixtures/gradients
//! tied-gqa: loss 5.101212, 20 gradients, largest value of the smallest 9.0e-02
//! untied-mha: loss 4.013440, 30 gradients, largest value of the smallest 3.8e-02
//! tied-odd: loss 4.052182, 20 gradients, largest value of the smallest 2.0e-02
//! ```
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use diapason::arch::{self, ModelConfig, ParameterSpec};
use diapason::data::{Batch, Example, collate};
use diapason::model::{Decoder, Gradients};
use diapason::space::Precision;

/// Both sides sum in f32, in another order; relative to the largest value of a gradient.
const GRADIENT_TOLERANCE: f32 = 1e-4;
/// Relative.
const LOSS_TOLERANCE: f64 = 1e-6;

/// All that is asked of the engine: the mean loss over scored tokens, and its gradient by weight.
fn ours(config: ModelConfig, weights: Vec<Tensor>, batch: &Batch) -> (f64, Vec<Tensor>) {
    let model = Decoder::new(config, weights, Precision::F32, &Device::Cpu).unwrap();
    let mut gradients = Gradients::zeros(&model).unwrap();
    let scored = u16::try_from(batch.scored_tokens).unwrap();
    let sum = model.accumulate(batch, 1.0 / f32::from(scored), &mut gradients, &mut |_| Ok(())).unwrap();
    (sum / f64::from(scored), gradients.buffers().to_vec())
}

/// What `llama_gradients.py` wrote of one configuration.
struct Reference {
    config: ModelConfig,
    batch: Batch,
    loss_nats: f64,
    tensors: HashMap<String, Tensor>,
}

impl Reference {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gradients");
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let examples: Vec<Example> = record["examples"].as_array().unwrap().iter().map(example).collect();
        let batch = collate(&examples.iter().collect::<Vec<_>>());
        assert_eq!(Some(batch.scored_tokens as u64), record["scored_tokens"].as_u64(), "{name}");
        let file = folder.join(format!("{name}.safetensors"));
        Self {
            config: ModelConfig::from_json(&record["config"].to_string()).unwrap(),
            batch,
            loss_nats: record["loss_nats"].as_f64().unwrap(),
            tensors: candle_core::safetensors::load(file, &Device::Cpu).unwrap(),
        }
    }

    /// One kind of tensor ("weight" or "gradient"), in the order of our weights.
    fn of(&self, kind: &str, specs: &[ParameterSpec]) -> Vec<Tensor> {
        let named = |spec: &ParameterSpec| {
            let tensor = &self.tensors[&format!("{kind}.{}", spec.name)];
            assert_eq!(tensor.dims(), spec.shape, "{kind} of {}", spec.name);
            tensor.to_dtype(DType::F32).unwrap()
        };
        specs.iter().map(named).collect()
    }
}

fn example(record: &serde_json::Value) -> Example {
    let number = |value: &serde_json::Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    Example {
        input_ids: record["input_ids"].as_array().unwrap().iter().map(number).collect(),
        prompt_tokens: number(&record["prompt_tokens"]) as usize,
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A value that is not a number counts as the largest.
fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.map(f32::abs).max_by(f32::total_cmp).unwrap()
}

/// A gradient that is off is named with how far it is off; all of them, as that shows where it began.
fn check(name: &str) {
    let reference = Reference::read(name);
    let specs = arch::parameters(&reference.config);
    assert_eq!(reference.tensors.len(), 2 * specs.len(), "{name}: each weight has a gradient");
    let weights = reference.of("weight", &specs);
    let (loss, gradients) = ours(reference.config.clone(), weights, &reference.batch);
    assert_eq!(gradients.len(), specs.len(), "{name}");
    let mut wrong = Vec::new();
    for ((spec, ours), theirs) in specs.iter().zip(&gradients).zip(reference.of("gradient", &specs)) {
        assert_eq!(ours.dims(), theirs.dims(), "{name}: gradient of {}", spec.name);
        let (ours, theirs) = (values(ours), values(&theirs));
        let scale = largest(theirs.iter().copied());
        let off = largest(ours.iter().zip(&theirs).map(|(a, b)| a - b)) / scale;
        if off.is_nan() || off > GRADIENT_TOLERANCE {
            wrong.push(format!("{} is off by {off:.1e} of its largest value {scale:.3}", spec.name));
        }
    }
    assert!(wrong.is_empty(), "{name}: the gradient of\n{}", wrong.join("\n"));
    let off = (loss / reference.loss_nats - 1.0).abs();
    assert!(off < LOSS_TOLERANCE, "{name}: loss {loss}, PyTorch's {}", reference.loss_nats);
}

#[test]
fn two_query_heads_a_key_head_and_a_tied_head_have_pytorch_s_gradients() {
    check("tied-gqa");
}

#[test]
fn full_attention_and_a_head_of_its_own_have_pytorch_s_gradients() {
    check("untied-mha");
}

#[test]
fn odd_sizes_and_long_sequences_have_pytorch_s_gradients() {
    check("tied-odd");
}
