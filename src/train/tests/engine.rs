//! The optimizer step: by both paths, inside the backward pass or after it, cut into micro-batches.

use candle_core::{Device, Tensor};

use super::super::{Engine, StepSettings};
use crate::arch::ModelConfig;
use crate::data::{Batch, Example, collate};
use crate::model::{Decoder, elsewhere};
use crate::space::{ALL_LINEAR, LoraSettings, Optimizer, Precision};

/// A limit that no gradient comes near: they are kept, and nothing is clipped.
pub(super) const NEVER: Option<f64> = Some(1e9);

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Tied,
    Untied,
    Adapters,
    /// Wider, so that some weights' moments are kept in codes, and others' not.
    InCodes,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Tied, Kind::Untied, Kind::Adapters];

impl Kind {
    pub(super) const fn optimizer(self) -> Optimizer {
        if matches!(self, Self::InCodes) { Optimizer::AdamW8Bit } else { Optimizer::AdamW }
    }
}

fn model(kind: Kind) -> Decoder {
    model_in(kind, Precision::F32)
}

pub(super) fn model_in(kind: Kind, precision: Precision) -> Decoder {
    let tied = !matches!(kind, Kind::Untied);
    let (hidden, inner) = if matches!(kind, Kind::InCodes) { (64, 84) } else { (24, 42) };
    let json = format!(
        r#"{{"model_type":"llama","vocab_size":37,"hidden_size":{hidden},"intermediate_size":{inner},"num_hidden_layers":2,
        "num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":32,"tie_word_embeddings":{tied}}}"#
    );
    let config = ModelConfig::from_json(&json).unwrap();
    let model = Decoder::random(config, 3, precision, &Device::Cpu).unwrap();
    match kind {
        Kind::Adapters => {
            let targets = vec![ALL_LINEAR.to_owned()];
            let lora = LoraSettings {
                rank: 3,
                alpha: 6.0,
                dropout: 0.0,
                targets,
                rslora: false,
                quantize_base: None,
            };
            model.with_adapters(&lora, 5).unwrap()
        }
        Kind::Tied | Kind::Untied | Kind::InCodes => model,
    }
}

/// Eight examples of different lengths with prompts of different lengths.
fn examples() -> Vec<Example> {
    let example = |n: u32| Example {
        input_ids: (0..3 + (n * 5) % 11).map(|i| (i * i * 7 + n * 3) % 37).collect(),
        prompt_tokens: (n % 3) as usize,
    };
    (0..8).map(example).collect()
}

/// The examples in so many micro-batches.
pub(super) fn cut(micro_batches: usize) -> Vec<Batch> {
    let examples = examples();
    let batch = |part: &[Example]| collate(&part.iter().collect::<Vec<_>>());
    examples.chunks(examples.len() / micro_batches).map(batch).collect()
}

/// Losses and norms of some steps, and what they made of the model.
struct Run {
    found: Vec<(f64, f64)>,
    engine: Engine,
}

fn run(kind: Kind, max_grad_norm: Option<f64>, micro_batches: usize, steps: usize) -> Run {
    run_by(kind.optimizer(), kind, max_grad_norm, micro_batches, steps)
}

fn run_by(
    optimizer: Optimizer,
    kind: Kind,
    max_grad_norm: Option<f64>,
    micro_batches: usize,
    steps: usize,
) -> Run {
    let mut engine = Engine::new(model(kind), optimizer, 0.1, max_grad_norm, micro_batches).unwrap();
    let mut step = |step| {
        let settings = StepSettings { step, learning_rate: 1e-2 };
        let outcome = engine.step(&cut(micro_batches), settings, &mut |_| Ok(())).unwrap();
        (outcome.loss_nats, outcome.grad_norm.unwrap())
    };
    let found = (1..=steps).map(&mut step).collect();
    Run { found, engine }
}

impl Run {
    fn weights(&self) -> Vec<Vec<f32>> {
        self.engine.model().trainable().map(|(_, weight)| values(weight)).collect()
    }

    /// The gradients, from the first moments of a single step: m = (1 − β₁)·gradient.
    fn gradients(&self) -> Vec<Vec<f32>> {
        let first = self.engine.optimizer().moments().iter().map(|moments| &moments.tensors()[0]);
        first.map(|m| values(&(m * 10.0).unwrap())).collect()
    }
}

pub(super) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_same_bits(ours: &[Vec<f32>], plain: &[Vec<f32>], kind: Kind) {
    assert_eq!(ours.len(), plain.len());
    for (index, (ours, plain)) in ours.iter().zip(plain).enumerate() {
        let differing = ours.iter().zip(plain).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert_eq!(differing, 0, "{kind:?}: values of weight {index} that differ");
    }
}

/// The largest difference of one tensor's values, as a share of its largest value.
pub(super) fn off(ours: &[f32], plain: &[f32]) -> f32 {
    let largest =
        |values: &mut dyn Iterator<Item = f32>| values.map(f32::abs).max_by(f32::total_cmp).unwrap();
    let scale = largest(&mut plain.iter().copied());
    let off = largest(&mut ours.iter().zip(plain).map(|(a, b)| a - b));
    // The gradient of A is zero before the first update of B.
    if off.to_bits() == 0 { 0.0 } else { off / scale }
}

#[test]
fn updates_inside_the_backward_pass_leave_the_same_bits_as_those_after_it() {
    for kind in KINDS.into_iter().chain([Kind::InCodes]) {
        let (inside, after) = (run(kind, None, 1, 3), run(kind, NEVER, 1, 3));
        assert_same_bits(&inside.weights(), &after.weights(), kind);
        let untrained: Vec<Vec<f32>> = model(kind).trainable().map(|(_, weight)| values(weight)).collect();
        let changed = inside.weights().iter().zip(&untrained).filter(|(a, b)| a != b).count();
        assert_eq!(changed, untrained.len(), "{kind:?}: every weight is updated");
        for (inside, after) in inside.found.iter().zip(&after.found) {
            assert_eq!(inside.0.to_bits(), after.0.to_bits(), "{kind:?}");
            assert!((inside.1 / after.1 - 1.0).abs() < 1e-12, "{kind:?}: {} {}", inside.1, after.1);
        }
    }
}

#[test]
fn eight_examples_at_once_or_in_micro_batches_give_the_same_loss_and_gradients() {
    for kind in KINDS {
        let at_once = run(kind, None, 1, 1);
        for micro_batches in [2, 8] {
            let cut = run(kind, None, micro_batches, 1);
            let ((loss, norm), (same_loss, same_norm)) = (at_once.found[0], cut.found[0]);
            assert!((same_loss / loss - 1.0).abs() < 1e-6, "{kind:?} × {micro_batches}: {same_loss} {loss}");
            assert!((same_norm / norm - 1.0).abs() < 1e-5, "{kind:?} × {micro_batches}: {same_norm} {norm}");
            for (index, (ours, plain)) in cut.gradients().iter().zip(at_once.gradients()).enumerate() {
                let off = off(ours, &plain);
                assert!(off < 1e-5, "{kind:?} × {micro_batches}: gradient {index} is off by {off:e}");
            }
        }
    }
}

#[test]
fn a_frozen_weight_has_no_optimizer_state_and_stays() {
    let run = run(Kind::Adapters, None, 1, 3);
    let trainable = run.engine.model().trainable().count();
    assert_eq!(run.engine.optimizer().moments().len(), trainable);
    let base = |model: &Decoder| model.weights().iter().map(values).collect::<Vec<_>>();
    assert_same_bits(&base(run.engine.model()), &base(&model(Kind::Adapters)), Kind::Adapters);
}

/// As on a device without kernels, where asking for one is an error: the optimizer too is composed.
#[test]
fn both_paths_train_alike() {
    let kinds =
        [(Kind::Tied, None), (Kind::Untied, Some(0.5)), (Kind::Adapters, None), (Kind::InCodes, None)];
    for (kind, max_grad_norm) in kinds {
        let steps = || run(kind, max_grad_norm, 1, 5);
        let (ours, plain) = (steps(), elsewhere::pretended(steps));
        for ((loss, norm), (same_loss, same_norm)) in ours.found.iter().zip(&plain.found) {
            assert!((loss / same_loss - 1.0).abs() < 1e-5, "{kind:?}: {loss} {same_loss}");
            assert!((norm / same_norm - 1.0).abs() < 1e-4, "{kind:?}: {norm} {same_norm}");
        }
        assert!(ours.found[4].0 < ours.found[0].0 - 1e-3, "{kind:?}: it learns");
    }
}

#[test]
fn moments_in_codes_lead_to_nearly_the_loss_of_f32_moments() {
    let steps = 40;
    let (ours, plain) =
        (run(Kind::InCodes, None, 1, steps), run_by(Optimizer::AdamW, Kind::InCodes, None, 1, steps));
    let parts = |run: &Run| {
        run.engine.optimizer().moments().iter().map(|moments| moments.tensors().len()).collect::<Vec<_>>()
    };
    assert!(parts(&ours).contains(&4) && parts(&ours).contains(&2) && !parts(&plain).contains(&4));
    let losses = |run: &Run| (run.found[0].0, run.found[steps - 1].0);
    let ((begun, ours), (_, plain)) = (losses(&ours), losses(&plain));
    assert!(
        plain < begun - 1.0 && (ours - plain).abs() < 0.01 * (begun - plain),
        "{begun} → {ours}, {plain}"
    );
}
