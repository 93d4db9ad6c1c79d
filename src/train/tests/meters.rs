//! The meters of a step, against what can be computed by brute force.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{Engine, StepOutcome, StepSettings};
use super::engine::{Kind, cut, model_in, values};
use crate::data::{Batch, Example, collate};
use crate::model::{Decoder, Gradients, elsewhere};
use crate::space::{Optimizer, Precision};

/// Fifteen sentences of one length, so that each has the same number of scored tokens.
fn examples() -> Vec<Example> {
    let ids = |n: u32| (0..7).map(|i| if i % 2 == 0 { 3 } else { (n * n + i * n) % 37 }).collect();
    (0..15).map(|n| Example { input_ids: ids(n), prompt_tokens: 1 }).collect()
}

/// The gradient of the mean loss of one example, all weights behind one another.
fn gradient(model: &Decoder, example: &Example) -> Vec<f64> {
    let (batch, mut gradients) = (collate(&[example]), Gradients::zeros(model).unwrap());
    let scale = 1.0 / f32::from(u16::try_from(batch.scored_tokens).unwrap());
    model.accumulate(&batch, scale, &mut gradients, &mut |_| Ok(())).unwrap();
    gradients.buffers().iter().flat_map(values).map(f64::from).collect()
}

fn square(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// |G|² and tr(Σ) over all examples.
fn by_brute_force(model: &Decoder) -> (f64, f64) {
    let gradients: Vec<Vec<f64>> = examples().iter().map(|example| gradient(model, example)).collect();
    let count = f64::from(u32::try_from(gradients.len()).unwrap());
    let mean: Vec<f64> =
        (0..gradients[0].len()).map(|i| gradients.iter().map(|one| one[i]).sum::<f64>() / count).collect();
    let off = |one: &Vec<f64>| one.iter().zip(&mean).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    (square(&mean), gradients.iter().map(off).sum::<f64>() / count)
}

/// A step of micro-batches of these sizes, each example drawn from all.
fn draw(sizes: &[usize], rng: &mut ChaCha8Rng) -> Vec<Batch> {
    let all = examples();
    let mut batch = |size: &usize| {
        let drawn: Vec<&Example> = (0..*size).map(|_| &all[rng.random_range(0..all.len())]).collect();
        collate(&drawn)
    };
    sizes.iter().map(&mut batch).collect()
}

/// At fixed weights, so that every step looks at the same gradients.
#[test]
fn steps_of_unequal_micro_batches_find_the_noise_scale_of_all_examples() {
    const STEPS: usize = 600;
    for (precision, max_grad_norm) in [(Precision::F32, None), (Precision::F16, Some(0.01))] {
        let model = model_in(Kind::Untied, precision);
        let (gradient, trace) = by_brute_force(&model);
        let mut engine = Engine::new(model, Optimizer::AdamW, 0.1, max_grad_norm, 3).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut sum = (0.0, 0.0);
        for step in 1..=STEPS {
            let settings = StepSettings { step, learning_rate: 0.0 };
            let outcome = engine.step(&draw(&[2, 3, 4], &mut rng), settings, &mut |_| Ok(())).unwrap();
            let noise = outcome.noise.unwrap();
            sum = (sum.0 + noise.squared_gradient, sum.1 + noise.trace);
        }
        let steps = f64::from(u32::try_from(STEPS).unwrap());
        let (found_gradient, found_trace) = (sum.0 / steps, sum.1 / steps);
        for (found, right) in [
            (found_gradient, gradient),
            (found_trace, trace),
            (found_trace / found_gradient, trace / gradient),
        ] {
            assert!((found / right - 1.0).abs() < 0.1, "{precision}: {found}, not {right}");
        }
    }
}

fn step(engine: &mut Engine, micro_batches: usize) -> StepOutcome {
    let settings = StepSettings { step: 1, learning_rate: 1e-2 };
    engine.step(&cut(micro_batches), settings, &mut |_| Ok(())).unwrap()
}

#[test]
fn one_micro_batch_tells_nothing_of_the_noise_and_several_do() {
    for (micro_batches, max_grad_norm, tells) in [(1, None, false), (1, Some(1.0), false), (4, None, true)] {
        let model = model_in(Kind::Tied, Precision::F32);
        let mut engine = Engine::new(model, Optimizer::AdamW, 0.1, max_grad_norm, micro_batches).unwrap();
        assert_eq!(step(&mut engine, micro_batches).noise.is_some(), tells, "{micro_batches}");
    }
}

#[test]
fn the_update_ratio_is_that_of_all_weights_together_wherever_they_are_updated() {
    let all = |engine: &Engine| -> Vec<f64> {
        engine.model().trainable().flat_map(|(_, weight)| values(weight)).map(f64::from).collect()
    };
    for kind in [Kind::Tied, Kind::Adapters, Kind::InCodes] {
        for (max_grad_norm, composed) in [(None, false), (Some(0.1), false), (None, true)] {
            let run = || {
                let model = model_in(kind, Precision::F32);
                let mut engine = Engine::new(model, kind.optimizer(), 0.1, max_grad_norm, 1).unwrap();
                let before = all(&engine);
                let found = step(&mut engine, 1).update_ratio.unwrap();
                let change: Vec<f64> = all(&engine).iter().zip(&before).map(|(a, b)| a - b).collect();
                let right = (square(&change) / square(&before)).sqrt();
                assert!((found / right - 1.0).abs() < 1e-5, "{kind:?}: {found}, not {right}");
            };
            if composed { elsewhere::pretended(run) } else { run() }
        }
    }
}
