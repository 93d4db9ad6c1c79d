//! f16: a scaled loss keeps small gradients, an overflow skips the update, and a resumed run knows of both.

use candle_core::{DType, Device, Tensor};

use super::super::checkpoint::Progress;
use super::super::loss_scale::LossScale;
use super::super::optimizer::{AdamW, Moments};
use super::super::{Engine, ProbeTask, StepSettings, TrainError};
use super::engine::{Kind, cut, model_in, values};
use super::{Folder, losses};
use crate::device;
use crate::model::{Decoder, TensorFiles, elsewhere, read_config, read_weights, write_folder};
use crate::space::{Optimizer, Precision};
use crate::trial::{Event, StepEvent};

/// 2⁴⁰: so large that every gradient overflows for some steps.
const HUGE: f32 = 1_099_511_627_776.0;

fn engine(model: Decoder, max_grad_norm: Option<f64>, factor: f32) -> Engine {
    let optimizer = AdamW::new(&model, Optimizer::AdamW, 0.1).unwrap();
    Engine::with_optimizer(model, optimizer, max_grad_norm, 1, Some(LossScale::beginning_at(factor))).unwrap()
}

/// The norm of a step's gradients; none where its update was skipped.
fn step(engine: &mut Engine, step: usize) -> Option<f64> {
    let settings = StepSettings { step, learning_rate: 1e-2 };
    let outcome = engine.step(&cut(1), settings, &mut |_| Ok(())).unwrap();
    assert!(outcome.loss_nats.is_finite());
    outcome.grad_norm
}

fn first_moments(engine: &Engine) -> impl Iterator<Item = &Tensor> {
    engine.optimizer().moments().iter().map(|moments| &moments.tensors()[0])
}

/// Weights and moments, bit by bit.
fn state(engine: &Engine) -> Vec<u32> {
    let moments = engine.optimizer().moments().iter().flat_map(Moments::tensors);
    let weights = engine.model().trainable().map(|(_, weight)| weight);
    weights.chain(moments).flat_map(values).map(f32::to_bits).collect()
}

/// Steps until one is not skipped; how many were, and that one's norm.
fn recovered(engine: &mut Engine) -> (usize, f64) {
    let untouched = state(engine);
    for number in 1.. {
        let factor = engine.loss_scale().unwrap().factor();
        if let Some(norm) = step(engine, number) {
            return (number - 1, norm);
        }
        assert_eq!(state(engine), untouched, "an update that is skipped changes nothing");
        assert_eq!(engine.loss_scale().unwrap().factor().to_bits(), (factor / 2.0).to_bits());
    }
    unreachable!()
}

#[test]
fn gradients_that_overflow_skip_the_update_and_halve_the_scale_until_they_fit() {
    let each = [Kind::Tied, Kind::Untied, Kind::Adapters].into_iter();
    for (kind, composed) in each.flat_map(|kind| [false, true].map(|composed| (kind, composed))) {
        let run = || {
            let mut overflowing = engine(model_in(kind, Precision::F16), None, HUGE);
            let (skipped, norm) = recovered(&mut overflowing);
            assert!(skipped > 5, "{kind:?}: {skipped} steps were skipped");
            // The run that begins with the scale that fits has made the same first update.
            let factor = overflowing.loss_scale().unwrap().factor();
            let mut fitting = engine(model_in(kind, Precision::F16), None, factor);
            assert_eq!(step(&mut fitting, 1).map(f64::to_bits), Some(norm.to_bits()));
            assert_eq!(state(&overflowing), state(&fitting), "{kind:?}");
            // In the second update the adapters are all looked at; a step that is skipped is not one.
            let later: Vec<_> = (2..6)
                .map(|number| (step(&mut overflowing, skipped + number), step(&mut fitting, number)))
                .collect();
            assert!(later.iter().all(|(ours, plain)| ours == plain), "{kind:?}: {later:?}");
            assert!(later.iter().any(|(norm, _)| norm.is_some()), "{kind:?}: {later:?}");
            assert_eq!(state(&overflowing), state(&fitting), "{kind:?}");
        };
        if composed { elsewhere::pretended(run) } else { run() }
    }
}

#[test]
fn neither_norm_nor_clipping_sees_the_scale() {
    let run = |max_grad_norm, factor| {
        let mut engine = engine(model_in(Kind::Untied, Precision::F16), max_grad_norm, factor);
        let norm = step(&mut engine, 1).unwrap();
        let moments: Vec<f32> = first_moments(&engine).flat_map(values).collect();
        (norm, moments)
    };
    for limit in [None, Some(1e-3)] {
        let ((norm, moments), (other, others)) = (run(limit, 256.0), run(limit, 4096.0));
        assert!((norm / other - 1.0).abs() < 1e-3, "{norm} {other}");
        let sum = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        // m = (1 − β₁)·gradient
        let seen = limit.unwrap_or(norm) * 0.1;
        for moments in [&moments, &others] {
            assert!((sum(moments) / seen - 1.0).abs() < 1e-3, "{} {seen}", sum(moments));
        }
    }
}

/// The same model, with a head whose values are `factor` times as large.
fn with_head(factor: f64, precision: Precision) -> Decoder {
    let model = model_in(Kind::Untied, Precision::F32);
    let mut weights = model.weights();
    let head = weights.len() - 1;
    weights[head] = (&weights[head] * factor).unwrap();
    Decoder::new(model.config().clone(), weights, precision, &Device::Cpu).unwrap()
}

/// A head of tiny values hands down gradients of about 1e-8, of which f16 keeps a bit or nothing.
#[test]
fn scaling_the_loss_saves_gradients_that_f16_would_lose() {
    let gradients = |engine: &mut Engine| -> Vec<Vec<f32>> {
        assert!(step(engine, 1).is_some());
        first_moments(engine).map(values).collect()
    };
    let wide =
        gradients(&mut Engine::new(with_head(1e-4, Precision::F32), Optimizer::AdamW, 0.1, None, 1).unwrap());
    let mut scaled = Engine::new(with_head(1e-4, Precision::F16), Optimizer::AdamW, 0.1, None, 1).unwrap();
    for (ours, right) in gradients(&mut scaled).iter().zip(&wide) {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = dot(ours, right) / (dot(ours, ours) * dot(right, right)).sqrt();
        assert!(cosine > 0.999, "{cosine}");
    }
    let settings = StepSettings { step: 1, learning_rate: 1e-2 };
    let unscaled =
        engine(with_head(1e-4, Precision::F16), None, 1.0).step(&cut(1), settings, &mut |_| Ok(()));
    let error = unscaled.unwrap_err().to_string();
    assert!(error.contains("no gradient"), "without it a weight gets nothing: {error}");
}

#[test]
fn gradients_that_overflow_unscaled_are_a_run_that_diverged() {
    let mut engine = engine(with_head(1e8, Precision::F16), None, 1.0);
    let settings = StepSettings { step: 7, learning_rate: 1e-2 };
    let error = engine.step(&cut(1), settings, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { step: 7 }), "{error}");
}

#[test]
fn only_f16_scales_its_loss() {
    for precision in Precision::ALL {
        for max_grad_norm in [None, Some(1.0)] {
            let engine =
                Engine::new(model_in(Kind::Tied, precision), Optimizer::AdamW, 0.1, max_grad_norm, 1)
                    .unwrap();
            assert_eq!(engine.loss_scale().is_some(), precision == Precision::F16, "{precision}");
        }
    }
}

/// The head of the folder's model made so large that the first steps overflow in f16.
fn overflowing(folder: Folder) -> Folder {
    let path = folder.root.path();
    let config = read_config(path).unwrap();
    let mut weights = read_weights(path, &config).unwrap();
    let head = weights.len() - 1;
    weights[head] = (&weights[head] * 100.0).unwrap();
    write_folder(path, &config, &weights, DType::F32, path).unwrap();
    Folder { precision: Precision::F16, ..folder }
}

fn skips(events: &[Event]) -> Vec<usize> {
    let skipped = |event: &Event| match event {
        Event::Step(StepEvent { step, grad_norm: None, .. }) => Some(*step),
        _ => None,
    };
    events.iter().filter_map(skipped).collect()
}

/// Weights, moments and the scale of a checkpoint.
fn kept(folder: &Folder, name: &str) -> (Vec<(String, Vec<u32>)>, Option<LossScale>) {
    let files = TensorFiles::open(&folder.path(name).join("state.safetensors")).unwrap();
    let progress: Progress = serde_json::from_str(files.metadata("progress").unwrap()).unwrap();
    let bits = |tensor: Tensor| values(&tensor).into_iter().map(f32::to_bits).collect();
    let mut tensors: Vec<_> =
        files.names().map(|name| (name.to_owned(), bits(files.load(name, &Device::Cpu).unwrap()))).collect();
    tensors.sort();
    (tensors, progress.loss_scale)
}

#[test]
fn cut_before_and_after_every_overflow_a_run_goes_on_to_the_same_bits() {
    for folder in [Folder::new(), Folder::with_adapters()].map(overflowing) {
        let whole = folder.train("whole", 12);
        let skipped = skips(&whole);
        assert!(skipped.len() > 1 && skipped.len() < 9, "{skipped:?}");
        let parts: Vec<Event> = (1..=12).flat_map(|stop| folder.train("parts", stop)).collect();
        assert_eq!(skips(&parts), skipped);
        let steps = |events: &[Event]| -> Vec<_> {
            losses(events).into_iter().filter(|(kind, ..)| *kind == 's').collect()
        };
        assert_eq!(steps(&parts), steps(&whole));
        assert_eq!(kept(&folder, "parts"), kept(&folder, "whole"));
        let mut scale = LossScale::default();
        for step in 1..=12 {
            if skipped.contains(&step) { assert!(scale.lower()) } else { scale.keep() }
        }
        assert_eq!(kept(&folder, "whole").1, Some(scale), "every step has been counted");
    }
}

#[test]
fn a_probe_makes_as_many_updates_as_it_was_asked_for() {
    let folder = overflowing(Folder::new());
    let spec = folder.spec();
    let device = device::open(&spec.device).unwrap();
    let mut norms = Vec::new();
    let mut hear = |event| {
        if let Event::Step(step) = event {
            norms.push(step.grad_norm);
        }
    };
    let scratch = folder.path("scratch");
    let task = ProbeTask { steps: 3, max_length: None, timed: &[], scratch: &scratch };
    super::super::probe(&spec, &*device, task, &mut hear).unwrap();
    assert_eq!(norms.iter().flatten().count(), 3);
    assert!(norms.len() > 3, "steps were skipped: {norms:?}");
}

#[test]
fn a_checkpoint_of_an_earlier_version_has_no_scale_and_is_read() {
    let json = r#"{"step":3,"best_loss_nats":0.5,"stop_at_step":9,"said":[]}"#;
    let progress: Progress = serde_json::from_str(json).unwrap();
    assert_eq!((progress.step, progress.loss_scale), (3, None));
    assert_eq!(serde_json::to_string(&progress).unwrap(), json, "f32 and bf16 have none to write");
}
