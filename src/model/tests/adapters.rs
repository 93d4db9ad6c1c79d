//! Low-rank adapters: their gradients are slopes, they are all that is trained, and they merge.

use super::super::{GradientSink, Output, Stored, elsewhere};
use super::*;
use crate::space::BlockFormat;

/// Each adapter moved by ±ε along its own gradient: the loss must change by ε·|gradient|.
fn assert_slopes(model: &Decoder) {
    let mut gradients = Gradients::zeros(model).unwrap();
    model.accumulate(&batch(), 1.0, &mut gradients, &mut silent()).unwrap();
    let mut reached = 0;
    for ((spec, weight), gradient) in model.trainable().zip(gradients.buffers()) {
        let (start, gradient) = (values(weight), values(gradient));
        let norm = gradient.iter().map(|value| value * value).sum::<f32>().sqrt();
        let loss = |step: f32| -> f64 {
            let mut moved = start.iter().zip(&gradient).map(|(from, by)| from + step * by / norm);
            set(weight, |value| *value = moved.next().unwrap());
            model.accumulate(&batch(), 1.0, &mut Slots::default(), &mut silent()).unwrap()
        };
        let step = 3e-3;
        let slope = (loss(step) - loss(-step)) / (2.0 * f64::from(step));
        loss(0.0);
        let error = (slope / f64::from(norm) - 1.0).abs();
        assert!(error < 1e-2, "{}: slope {slope}, gradient {norm}", spec.name);
        reached += 1;
    }
    assert_eq!(reached, adapter_count(model.config()), "nothing else is trained");
}

#[test]
fn the_gradient_of_every_adapter_is_the_slope_of_the_loss() {
    for config in kinds() {
        assert_slopes(&decoder_of(config, true, Precision::F32));
    }
}

#[test]
fn what_dropout_leaves_has_the_slope_of_the_loss_too() {
    for config in kinds() {
        let base = decoder_of(config, false, Precision::F32);
        let mut model = base.with_adapters(&LoraSettings { dropout: 0.3, ..lora() }, 7).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for (_, weight) in model.trainable() {
            set(weight, |value| *value = rng.random_range(-0.5..0.5));
        }
        let sum = |losses: Vec<f32>| losses.into_iter().map(f64::from).sum::<f64>();
        let loss =
            |model: &Decoder| model.accumulate(&batch(), 1.0, &mut Slots::default(), &mut silent()).unwrap();
        let first = loss(&model);
        model.set_noise(1);
        assert!((loss(&model) - first).abs() > 1e-3, "other noise, other values dropped");
        assert!((sum(model.losses(&batch()).unwrap()) - first).abs() > 1e-3, "nothing is dropped here");
        assert_slopes(&model);
    }
}

#[test]
fn a_target_alone_gets_an_adapter_and_an_unknown_one_is_refused_with_those_there_are() {
    let targets = vec!["q_proj".to_owned(), "down_proj".to_owned()];
    let some = LoraSettings { targets, ..lora() };
    let model = decoder_of(config(true), false, Precision::F32).with_adapters(&some, 3).unwrap();
    let names: Vec<&str> = model.trainable().map(|(spec, _)| spec.name.as_str()).collect();
    assert_eq!(names.len(), 2 * 2 * 2);
    assert!(names.iter().all(|name| name.contains("q_proj.lora_") || name.contains("down_proj.lora_")));
    let mut slots = Slots::default();
    model.accumulate(&batch(), 1.0, &mut slots, &mut silent()).unwrap();
    slots.completed.sort_unstable();
    assert_eq!(slots.completed, (0..8).collect::<Vec<_>>());
    let wrong = LoraSettings { targets: vec!["query_key_value".to_owned()], ..lora() };
    let error = super::super::check_targets(&wrong, &config(true)).unwrap_err().to_string();
    assert!(error.contains("query_key_value") && error.contains("q_proj"), "{error}");
}

/// With and without a head of its own, and one whose projections are fused.
fn kinds() -> Vec<ModelConfig> {
    let fused = families().into_iter().filter(|config| config.traits.fused);
    [config(true), config(false)].into_iter().chain(fused).collect()
}

/// A and B of seven linear layers in each block, or of four where they are fused.
fn adapter_count(config: &ModelConfig) -> usize {
    2 * if config.traits.fused { 4 } else { 7 } * config.num_hidden_layers
}

/// Which slots a pass gave something, and which it said are complete.
#[derive(Default)]
struct Slots {
    received: Vec<usize>,
    completed: Vec<usize>,
}

impl GradientSink for Slots {
    fn receive(&mut self, slot: usize, _: &mut dyn FnMut(&Tensor, Output) -> Result<()>) -> Result<()> {
        // What a pass puts here is of no meaning to what it does elsewhere.
        self.received.push(slot);
        Ok(())
    }

    fn complete(&mut self, slot: usize, _: &Tensor) -> Result<()> {
        self.completed.push(slot);
        Ok(())
    }
}

#[test]
fn a_frozen_weight_has_no_gradient_and_every_adapter_is_completed_once() {
    let model = decoder(true, true, Precision::F32);
    let count = adapter_count(model.config());
    assert_eq!(Gradients::zeros(&model).unwrap().buffers().len(), count);
    assert!(model.trainable().all(|(spec, _)| spec.name.contains(".lora_")));
    let mut slots = Slots::default();
    model.accumulate(&batch(), 1.0, &mut slots, &mut silent()).unwrap();
    slots.completed.sort_unstable();
    assert_eq!(slots.completed, (0..count).collect::<Vec<_>>());
    slots.received.sort_unstable();
    assert_eq!(slots.received, slots.completed);
}

/// Loss and gradients of two models, as `pass` gives them.
fn assert_same(ours: &Pass, plain: &Pass, tolerance: f32) {
    assert!((ours.0 / plain.0 - 1.0).abs() <= f64::from(tolerance), "{} {}", ours.0, plain.0);
    for ((name, ours), (_, plain)) in ours.1.iter().zip(&plain.1) {
        assert!(off(ours, plain) <= tolerance, "{name}: {}", off(ours, plain));
    }
}

/// bf16 or f16 as it is kept, against the same values in f32: by both paths, adapters and inputs included.
#[test]
fn a_frozen_base_in_a_narrow_format_gives_what_its_values_in_f32_give() {
    for config in kinds() {
        for narrow in [DType::BF16, DType::F16] {
            let (narrow, wide) = (kept(&config, narrow, narrow), kept(&config, narrow, DType::F32));
            assert_same(&pass(&narrow), &pass(&wide), 0.0);
            assert_same(&elsewhere::pretended(|| pass(&narrow)), &pass(&wide), 1e-4);
            let merged = |model: &Decoder| values(&model.merged(2).unwrap());
            assert_eq!(merged(&narrow), merged(&wide));
            let losses = |model: &Decoder| model.losses(&batch()).unwrap();
            assert_eq!(losses(&narrow), losses(&wide));
        }
    }
}

/// Adapters on a frozen base whose values have been rounded to `rounded` and are kept as `dtype`.
fn kept(config: &ModelConfig, rounded: DType, dtype: DType) -> Decoder {
    let model = decoder_of(config.clone(), false, Precision::F32);
    let narrow = |weight: Tensor| weight.to_dtype(rounded).unwrap().to_dtype(dtype).unwrap();
    let weights = model.weights().into_iter().map(narrow);
    let model = Decoder::frozen(config.clone(), weights, Precision::F32, &Device::Cpu).unwrap();
    assert_eq!(model.trainable().count(), 0);
    assert_eq!(model.weights()[0].dtype(), dtype, "matrices stay as they are");
    assert!(model.weights().iter().all(|weight| weight.rank() == 2 || weight.dtype() == DType::F32));
    with_random_adapters(model)
}

fn with_random_adapters(model: Decoder) -> Decoder {
    let model = model.with_adapters(&lora(), 5).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (_, weight) in model.trainable() {
        set(weight, |value| *value = rng.random_range(-0.2..0.2));
    }
    model
}

/// Rows of 256 and of 96 values: the one a super-block, the other none.
fn config_of_blocks(fused: bool) -> ModelConfig {
    let family = if fused { "phi3" } else { "llama" };
    let json = format!(
        r#"{{"model_type":"{family}","vocab_size":37,"hidden_size":256,"intermediate_size":96,
        "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
        "max_position_embeddings":32,"pad_token_id":0}}"#
    );
    ModelConfig::from_json(&json).unwrap()
}

/// Blocks against their values in f32, by both paths: nothing is lost but what quantizing lost.
#[test]
fn a_frozen_base_in_blocks_gives_what_its_values_in_f32_give() {
    for (format, fused) in BlockFormat::ALL.into_iter().flat_map(|format| [(format, false), (format, true)]) {
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            let config = config_of_blocks(fused);
            let fresh = Decoder::random(config.clone(), 3, Precision::F32, &Device::Cpu).unwrap();
            let is_layer = |index: usize| index > 0 && index < fresh.weights().len() - 1;
            let stored = |(index, weight): (usize, Tensor)| match weight.rank() {
                2 if is_layer(index) => Stored::quantized(&weight, format, &Device::Cpu).unwrap(),
                _ => Stored::Plain(weight),
            };
            let stored: Vec<Stored> = fresh.weights().into_iter().enumerate().map(stored).collect();
            let in_blocks = stored.iter().filter(|weight| matches!(weight, Stored::Blocks(_))).count();
            assert_eq!(in_blocks, adapter_count(&config) / 2, "every linear layer");
            let wide: Vec<Tensor> = stored.iter().map(|weight| weight.values().unwrap()).collect();
            let of = |weights: Vec<Stored>| {
                let model = Decoder::frozen(config.clone(), weights, precision, &Device::Cpu).unwrap();
                with_random_adapters(model)
            };
            let (blocks, wide) = (of(stored), of(wide.into_iter().map(Stored::Plain).collect()));
            assert_same(&pass(&blocks), &pass(&wide), 0.0);
            let composed = elsewhere::pretended(|| [pass(&blocks), pass(&wide)]);
            assert_same(&composed[0], &composed[1], 1e-5);
            let merged = |model: &Decoder| values(&model.merged(2).unwrap());
            assert_eq!(merged(&blocks), merged(&wide));
            assert_ne!(merged(&blocks), values(&fresh.weights()[2]));
            let losses = |model: &Decoder| model.losses(&batch()).unwrap();
            assert_eq!(losses(&blocks), losses(&wide));
        }
    }
}

#[test]
fn adapters_merged_into_the_weights_give_the_same_logits() {
    for config in kinds() {
        let model = decoder_of(config.clone(), true, Precision::F32);
        let weights: Vec<Tensor> =
            (0..model.weights().len()).map(|index| model.merged(index).unwrap()).collect();
        let changed = weights.iter().zip(&model.weights()).filter(|(a, b)| values(a) != values(b)).count();
        assert_eq!(changed, adapter_count(&config) / 2);
        let merged = Decoder::new(config.clone(), weights, Precision::F32, &Device::Cpu).unwrap();
        let logits = |model: &Decoder| values(&model.logits(&batch()).unwrap());
        assert!(off(&logits(&model), &logits(&merged)) < 1e-5);
        let without = Decoder::new(config, model.weights(), Precision::F32, &Device::Cpu);
        assert!(off(&logits(&model), &logits(&without.unwrap())) > 0.05, "the adapters say something");
    }
}
