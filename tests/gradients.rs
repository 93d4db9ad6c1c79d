//! Our logits, loss and the gradient of every weight against PyTorch's, on tiny models of each family.
//!
//! The references in `tests/fixtures/gradients` are Transformers' (f32, a padded batch with its mask).
//! How they were made, and how to make them again, to the same bytes:
//!
//! ```text
//! pip install torch==2.15.0 transformers==5.23.0
//! python3 tests/peers/gradients.py tests/fixtures/gradients
//! tied-gqa: loss 5.101212, 20 gradients, largest value of the smallest 9.0e-02
//! untied-mha: loss 4.013440, 30 gradients, largest value of the smallest 3.8e-02
//! tied-odd: loss 4.052182, 20 gradients, largest value of the smallest 2.0e-02
//! llama-3: loss 4.444557, 51 gradients, largest value of the smallest 6.5e-03
//! mistral: loss 4.919850, 30 gradients, largest value of the smallest 2.5e-02
//! qwen2: loss 4.649309, 38 gradients, largest value of the smallest 1.6e-02
//! qwen3: loss 4.734374, 35 gradients, largest value of the smallest 5.9e-03
//! gemma2: loss 4.514301, 35 gradients, largest value of the smallest 1.5e-02
//! gemma3: loss 4.772755, 41 gradients, largest value of the smallest 1.6e-02
//! phi3: loss 4.651578, 21 gradients, largest value of the smallest 3.8e-02
//! phi3-short: loss 4.690768, 15 gradients, largest value of the smallest 4.8e-02
//! phi3-long: loss 4.554689, 15 gradients, largest value of the smallest 4.1e-02
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
/// Of logits, which are a few units large.
const LOGIT_TOLERANCE: f32 = 2e-5;

/// The mean loss over scored tokens, and its gradient by weight.
fn ours(model: &Decoder, batch: &Batch) -> (f64, Vec<Tensor>) {
    let mut gradients = Gradients::zeros(model).unwrap();
    let scored = u16::try_from(batch.scored_tokens).unwrap();
    let sum = model.accumulate(batch, 1.0 / f32::from(scored), &mut gradients, &mut |_| Ok(())).unwrap();
    (sum / f64::from(scored), gradients.buffers().to_vec())
}

/// What `gradients.py` wrote of one configuration.
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
    assert_eq!(reference.tensors.len(), 2 * specs.len() + 1, "{name}: each weight has a gradient");
    let weights = reference.of("weight", &specs);
    let model = Decoder::new(reference.config.clone(), weights, Precision::F32, &Device::Cpu).unwrap();
    let (loss, gradients) = ours(&model, &reference.batch);
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
    check_logits(name, &model, &reference);
    check_recomputation(name, model, &reference.batch, &gradients);
}

/// Of the last position of each sequence, which sees the most.
fn check_logits(name: &str, model: &Decoder, reference: &Reference) {
    let logits = model.logits(&reference.batch).unwrap();
    let last = |rows: &std::ops::Range<usize>| logits.narrow(0, rows.end - 1, 1).unwrap();
    let last: Vec<Tensor> = reference.batch.sequences.iter().map(last).collect();
    let (ours, theirs) = (values(&Tensor::cat(&last, 0).unwrap()), values(&reference.tensors["logits"]));
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let off = largest(ours.iter().zip(&theirs).map(|(a, b)| a - b));
    assert!(off < LOGIT_TOLERANCE, "{name}: logits are off by {off:.1e}");
}

/// Activations made again are those that were not kept, to the last bit.
fn check_recomputation(name: &str, model: Decoder, batch: &Batch, kept: &[Tensor]) {
    let (_, made_again) = ours(&model.with_recomputation(true), batch);
    let bits = |gradient: &Tensor| values(gradient).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let same = kept.iter().zip(&made_again).all(|(a, b)| bits(a) == bits(b));
    assert!(same && kept.len() == made_again.len(), "{name}: recomputation changes a gradient");
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

#[test]
fn llama_3_with_scaled_positions_and_biases_everywhere_has_pytorch_s_gradients() {
    check("llama-3");
}

#[test]
fn mistral_with_a_window_has_pytorch_s_gradients() {
    check("mistral");
}

#[test]
fn qwen2_with_biases_and_some_local_layers_has_pytorch_s_gradients() {
    check("qwen2");
}

#[test]
fn qwen3_with_normed_heads_has_pytorch_s_gradients() {
    check("qwen3");
}

#[test]
fn gemma_2_with_soft_caps_and_four_norms_has_pytorch_s_gradients() {
    check("gemma2");
}

#[test]
fn gemma_3_with_two_rotary_bases_has_pytorch_s_gradients() {
    check("gemma3");
}

#[test]
fn phi_3_with_fused_projections_and_partly_turned_heads_has_pytorch_s_gradients() {
    check("phi3");
}

#[test]
fn longrope_has_pytorch_s_gradients_for_short_sequences_and_for_long_ones() {
    check("phi3-short");
    check("phi3-long");
}
