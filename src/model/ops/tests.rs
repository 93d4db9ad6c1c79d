//! Every operation: the kernel equals the composed path, and its backward the numeric gradient.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::arch::{Activation, Rope};
use crate::data::IGNORED;

mod agreement;
mod random_attention;

const HEADS: Heads = Heads { h: 4, g: 2, k: 6, scale: 0.4, cap: None, window: None };
/// Positions that attend with a window and a soft cap that are felt.
const CAPPED: Heads = Heads { cap: Some(0.5), window: Some(3), ..HEADS };
/// Two sequences of different lengths.
const SEQUENCES: [Range<usize>; 2] = [0..6, 6..10];
const ROWS: usize = 10;

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn zeros(like: &Tensor) -> Tensor {
    Tensor::zeros(like.shape(), DType::F32, &Device::Cpu).unwrap()
}

/// The same values in a storage of their own, for what works in place.
fn own(x: &Tensor) -> Tensor {
    x.copy().unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a.to_dtype(DType::F32).unwrap() - b.to_dtype(DType::F32).unwrap()).unwrap();
    difference.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

#[track_caller]
fn assert_close(a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.shape(), b.shape());
    let difference = largest_difference(a, b);
    assert!(difference <= tolerance, "the largest difference is {difference:e}");
}

/// d(Σ f(x)·dy)/dx by central differences.
fn numeric(x: &Tensor, dy: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Tensor {
    let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let objective = |values: Vec<f32>| -> f64 {
        let y = f(&Tensor::from_vec(values, x.shape(), x.device()).unwrap()).unwrap();
        let product = (y.to_dtype(DType::F64).unwrap() * dy.to_dtype(DType::F64).unwrap()).unwrap();
        product.sum_all().unwrap().to_scalar().unwrap()
    };
    let step = 1e-2_f32;
    let moved = |i: usize, by: f32| {
        let mut values = values.clone();
        values[i] += by;
        objective(values)
    };
    #[expect(clippy::cast_possible_truncation, reason = "compared at 1e-3")]
    let gradient: Vec<f32> = (0..values.len())
        .map(|i| ((moved(i, step) - moved(i, -step)) / (2.0 * f64::from(step))) as f32)
        .collect();
    Tensor::from_vec(gradient, x.shape(), x.device()).unwrap()
}

#[test]
fn linear_has_the_numeric_gradient_and_equals_its_composition() {
    let (x, w, dy) = (random(1, &[ROWS, 7]), random(2, &[9, 7]), random(3, &[ROWS, 9]));
    let (dw, other) = (zeros(&w), zeros(&w));
    let dx = linear_backward_input(&dy, &w).unwrap();
    linear_backward_weight(&dw, &dy, &x, 1.0, Output::Overwrite).unwrap();
    compose::product_into(&other, &dy, &x, 1.0, Output::Overwrite).unwrap();
    assert_close(&linear(&x, &w).unwrap(), &linear::composed(&x, &w).unwrap(), 1e-5);
    assert_close(&dx, &linear::composed_backward_input(&dy, &w).unwrap(), 1e-5);
    assert_close(&dw, &other, 1e-5);
    assert_close(&dx, &numeric(&x, &dy, |x| linear(x, &w)), 2e-3);
    assert_close(&dw, &numeric(&w, &dy, |w| linear(&x, w)), 2e-3);
}

#[test]
fn a_weight_gradient_is_added_to_what_is_there() {
    let (x, dy) = (random(1, &[ROWS, 7]), random(3, &[ROWS, 9]));
    for put in [linear_backward_weight, compose::product_into] {
        let (once, twice) = (random(5, &[9, 7]), random(6, &[9, 7]));
        put(&once, &dy, &x, 2.0, Output::Overwrite).unwrap();
        put(&twice, &dy, &x, 1.0, Output::Overwrite).unwrap();
        put(&twice, &dy, &x, 1.0, Output::Add).unwrap();
        assert_close(&once, &twice, 1e-5);
    }
}

#[test]
fn a_product_is_added_to_what_a_tensor_holds() {
    let (x, w, y) = (random(1, &[ROWS, 7]), random(2, &[9, 7]), random(3, &[ROWS, 9]));
    let added = linear_onto(own(&y), &x, &w, 0.5).unwrap();
    let plain = (&y + (linear(&x, &w).unwrap() * 0.5).unwrap()).unwrap();
    assert_close(&added, &plain, 1e-5);
    let added = linear_backward_input_onto(own(&x), &y, &w, 0.5).unwrap();
    let plain = (&x + (linear_backward_input(&y, &w).unwrap() * 0.5).unwrap()).unwrap();
    assert_close(&added, &plain, 1e-5);
}

#[test]
fn rms_norm_has_the_numeric_gradient_and_equals_its_composition() {
    let (x, w, dy) = (random(1, &[ROWS, 24]), random(2, &[24]), random(3, &[ROWS, 24]));
    let (dw, other) = (zeros(&w), zeros(&w));
    let dx = rms_norm_backward(&dy, &x, &w, 1e-5, Some(&dw), zeros(&x)).unwrap();
    let composed = rms_norm::composed_backward(&dy, &x, &w, 1e-5, Some(&other), &zeros(&x)).unwrap();
    assert_close(&rms_norm(&x, &w, 1e-5).unwrap(), &rms_norm::composed(&x, &w, 1e-5).unwrap(), 1e-5);
    assert_close(&dx, &composed, 1e-5);
    assert_close(&dw, &other, 1e-5);
    assert_close(&dx, &numeric(&x, &dy, |x| rms_norm(x, &w, 1e-5)), 2e-3);
    assert_close(&dw, &numeric(&w, &dy, |w| rms_norm(&x, w, 1e-5)), 2e-3);
}

fn rotary(k: usize, width: usize, positions: &Positions) -> RopeTable {
    let frequency = |i: usize| 10_000_f64.powf(-2.0 * f64::from(u16::try_from(i).unwrap()) / 8.0);
    let rope = Rope { frequencies: (0..width / 2).map(frequency).collect(), factor: 1.0, long: None };
    RopeTable::new(&rope, k, positions, &Device::Cpu).unwrap()
}

/// The first values of each head are turned, all or but some.
#[test]
fn rope_is_undone_by_its_gradient_and_equals_its_composition() {
    let positions = Positions::new(&SEQUENCES, None, &Device::Cpu).unwrap();
    let x = random(1, &[ROWS, HEADS.h * HEADS.k]);
    for width in [HEADS.k, 4, 2] {
        let table = rotary(HEADS.k, width, &positions);
        let y = rope(own(&x), &table, &positions, 1.0).unwrap();
        assert_close(&y, &rope::composed(&x, &table, &positions, 1.0).unwrap(), 1e-6);
        assert!(largest_difference(&x, &y) > 0.1);
        let rest = |x: &Tensor| {
            let heads = x.reshape((ROWS, HEADS.h, HEADS.k)).unwrap();
            heads.narrow(2, width, HEADS.k - width).unwrap()
        };
        if width < HEADS.k {
            assert_close(&rest(&x), &rest(&y), 0.0);
        }
        assert_close(&rope(y, &table, &positions, -1.0).unwrap(), &x, 1e-6);
    }
}

/// What a sequence gets must not depend on the length of another.
#[test]
fn a_long_sequence_alone_takes_the_long_frequencies_and_the_factor_is_in_the_gradient() {
    let rope_of = |sequences: &[Range<usize>], x: &Tensor, sign| {
        let own_rope =
            Rope { frequencies: vec![1.0, 0.1, 0.01], factor: 1.5, long: Some((5, vec![0.5, 0.3, 0.2])) };
        let positions = Positions::new(sequences, Some(5), &Device::Cpu).unwrap();
        let table = RopeTable::new(&own_rope, HEADS.k, &positions, &Device::Cpu).unwrap();
        let plain = rope::composed(x, &table, &positions, sign).unwrap();
        let y = rope(own(x), &table, &positions, sign).unwrap();
        assert_close(&y, &plain, 1e-6);
        y
    };
    let x = random(1, &[ROWS, HEADS.h * HEADS.k]);
    let rows = |x: &Tensor, from, count| x.narrow(0, from, count).unwrap().contiguous().unwrap();
    let y = rope_of(&SEQUENCES, &x, 1.0);
    let whole = [SEQUENCES[0].clone()];
    assert_close(&rows(&y, 0, 6), &rope_of(&whole, &rows(&x, 0, 6), 1.0), 1e-6);
    let short = [Range { start: 0, end: 4 }];
    assert_close(&rows(&y, 6, 4), &rope_of(&short, &rows(&x, 6, 4), 1.0), 1e-6);
    let long_rows = rope_of(&whole, &rows(&x, 0, 6), 1.0);
    assert!(largest_difference(&rows(&long_rows, 0, 4), &rope_of(&short, &rows(&x, 0, 4), 1.0)) > 0.1);
    // A rotation times 1.5, and its transpose.
    assert_close(&rope_of(&SEQUENCES, &y, -1.0), &(x * 2.25).unwrap(), 1e-5);
}

#[test]
fn gated_activations_have_the_numeric_gradient_and_equal_their_composition() {
    let (gate, up, dy) = (random(1, &[ROWS, 8]), random(2, &[ROWS, 8]), random(3, &[ROWS, 8]));
    let gate = (gate * 3.0).unwrap();
    for act in [Activation::Silu, Activation::GeluTanh] {
        let (dgate, dup) = gated_backward(&dy, own(&gate), own(&up), act).unwrap();
        let (other_gate, other_up) = gated::composed_backward(&dy, &gate, &up, act).unwrap();
        assert_close(&gated(&gate, &up, act).unwrap(), &gated::composed(&gate, &up, act).unwrap(), 1e-6);
        assert_close(&dgate, &other_gate, 1e-6);
        assert_close(&dup, &other_up, 1e-6);
        assert_close(&dgate, &numeric(&gate, &dy, |gate| gated(gate, &up, act)), 2e-3);
        assert_close(&dup, &numeric(&up, &dy, |up| gated(&gate, up, act)), 2e-3);
    }
    // candle's own names for both.
    let one = Tensor::ones((ROWS, 8), DType::F32, &Device::Cpu).unwrap();
    assert_close(&gated(&gate, &one, Activation::Silu).unwrap(), &gate.silu().unwrap(), 1e-6);
    assert_close(&gated(&gate, &one, Activation::GeluTanh).unwrap(), &gate.gelu().unwrap(), 1e-6);
}

#[test]
fn a_bias_has_the_numeric_gradient_and_equals_its_composition() {
    let (y, bias, dy) = (random(1, &[ROWS, 7]), random(2, &[7]), random(3, &[ROWS, 7]));
    let (dbias, other) = (zeros(&bias), zeros(&bias));
    bias_backward(&dy, &dbias).unwrap();
    bias::composed_backward(&dy, &other).unwrap();
    assert_close(&add_bias(own(&y), &bias).unwrap(), &bias::composed(&y, &bias).unwrap(), 0.0);
    assert_close(&dbias, &other, 1e-6);
    assert_close(&dbias, &numeric(&bias, &dy, |bias| add_bias(own(&y), bias)), 2e-3);
}

#[test]
fn attention_has_the_numeric_gradient_and_equals_its_composition() {
    let (q, dy) = (random(1, &[ROWS, HEADS.h * HEADS.k]), random(4, &[ROWS, HEADS.h * HEADS.k]));
    let (k, v) = (random(2, &[ROWS, HEADS.g * HEADS.k]), random(3, &[ROWS, HEADS.g * HEADS.k]));
    for heads in [HEADS, CAPPED] {
        let attention = |q: &Tensor, k: &Tensor, v: &Tensor| attention(q, k, v, &SEQUENCES, heads);
        let gradients = attention_backward(own(&dy), own(&q), own(&k), own(&v), &SEQUENCES, heads).unwrap();
        let other = attention::composed_backward(&dy, &q, &k, &v, &SEQUENCES, heads).unwrap();
        let composed = attention::composed(&q, &k, &v, &SEQUENCES, heads).unwrap();
        assert_close(&attention(&q, &k, &v).unwrap(), &composed, 1e-5);
        assert_close(&gradients.dq, &other.dq, 1e-5);
        assert_close(&gradients.dkeys, &other.dkeys, 1e-5);
        assert_close(&gradients.dvalues, &other.dvalues, 1e-5);
        assert_close(&gradients.out, &composed, 1e-5);
        assert_close(&other.out, &composed, 1e-5);
        assert_close(&gradients.dq, &numeric(&q, &dy, |q| attention(q, &k, &v)), 2e-3);
        assert_close(&gradients.dkeys, &numeric(&k, &dy, |k| attention(&q, k, &v)), 2e-3);
        assert_close(&gradients.dvalues, &numeric(&v, &dy, |v| attention(&q, &k, v)), 2e-3);
    }
}

/// A window of three: row 5 sees rows 3 to 5, in both paths.
#[test]
fn a_window_holds_the_position_itself_and_those_right_before_it() {
    let q = random(1, &[ROWS, HEADS.h * HEADS.k]);
    let (k, v) = (random(2, &[ROWS, HEADS.g * HEADS.k]), random(3, &[ROWS, HEADS.g * HEADS.k]));
    for path in [attention, attention::composed] {
        let row_5 = |v: &Tensor| path(&q, &k, v, &SEQUENCES, CAPPED).unwrap().narrow(0, 5, 1).unwrap();
        for (row, is_seen) in [(2, false), (3, true), (5, true)] {
            let after = ROWS - row - 1;
            let other = random(9, &[1, HEADS.g * HEADS.k]);
            let parts = [v.narrow(0, 0, row).unwrap(), other, v.narrow(0, row + 1, after).unwrap()];
            let difference = largest_difference(&row_5(&v), &row_5(&Tensor::cat(&parts, 0).unwrap()));
            assert_eq!(difference > 1e-3, is_seen, "row {row}: {difference}");
        }
    }
}

/// Sums of products above 65504, which the scale brings back into the range of f16, in both paths.
#[test]
fn scores_that_only_their_scale_makes_small_enough_for_f16_do_not_overflow() {
    let heads = Heads { h: 1, g: 1, k: 64, scale: 0.1, cap: None, window: None };
    let half = |x: Tensor| (x * 60.0).unwrap().to_dtype(DType::F16).unwrap();
    let x = half(Tensor::ones((ROWS, 64), DType::F32, &Device::Cpu).unwrap());
    let v = random(3, &[ROWS, 64]).to_dtype(DType::F16).unwrap();
    for path in [attention, attention::composed] {
        let out = path(&x, &x, &v, &SEQUENCES, heads).unwrap();
        // Equal scores: each row is the mean of those it sees.
        let mean = v.narrow(0, 0, 6).unwrap().to_dtype(DType::F32).unwrap().mean_keepdim(0).unwrap();
        assert_close(&out.narrow(0, 5, 1).unwrap().to_dtype(DType::F32).unwrap(), &mean, 1e-3);
    }
}

#[test]
fn attention_sees_neither_the_future_nor_another_sequence() {
    let q = random(1, &[ROWS, HEADS.h * HEADS.k]);
    let (k, v) = (random(2, &[ROWS, HEADS.g * HEADS.k]), random(3, &[ROWS, HEADS.g * HEADS.k]));
    // Row 5, the last of the first sequence, is another one.
    let other = Tensor::cat(
        &[v.narrow(0, 0, 5).unwrap(), random(9, &[1, HEADS.g * HEADS.k]), v.narrow(0, 6, 4).unwrap()],
        0,
    )
    .unwrap();
    for path in [attention, attention::composed] {
        let (a, b) = (path(&q, &k, &v, &SEQUENCES, HEADS), path(&q, &k, &other, &SEQUENCES, HEADS));
        let (a, b) = (a.unwrap(), b.unwrap());
        let rows = |x: &Tensor, from, count| x.narrow(0, from, count).unwrap();
        assert_close(&rows(&a, 0, 5), &rows(&b, 0, 5), 0.0);
        assert_close(&rows(&a, 6, 4), &rows(&b, 6, 4), 0.0);
        assert!(largest_difference(&rows(&a, 5, 1), &rows(&b, 5, 1)) > 1e-3);
    }
}

#[test]
fn head_and_cross_entropy_have_the_numeric_gradient_and_equal_their_composition() {
    let (x, w) = (random(1, &[ROWS, 8]), random(2, &[13, 8]));
    let targets: Vec<u32> = (0..10).map(|i| if i % 4 == 1 { IGNORED } else { i }).collect();
    let scale = 0.3;
    for cap in [None, Some(1.5)] {
        let (dw, other) = (zeros(&w), zeros(&w));
        let into = |dw| Some(HeadGradient { scale, dw: Some((dw, Output::Add)) });
        let kernel = head_cross_entropy(own(&x), &w, &targets, cap, into(&dw)).unwrap();
        let composed = cross_entropy::composed(&x, &w, &targets, cap, into(&other)).unwrap();
        let tensor = |values: &[f32]| Tensor::from_slice(values, ROWS, &Device::Cpu).unwrap();
        assert_close(&tensor(&kernel.losses), &tensor(&composed.losses), 1e-5);
        assert!(kernel.losses[1] == 0.0 && kernel.losses[0] > 0.0);
        let dx = kernel.dx.unwrap();
        assert_close(&dx, &composed.dx.unwrap(), 1e-6);
        assert_close(&dw, &other, 1e-6);
        let dy = Tensor::full(scale, ROWS, &Device::Cpu).unwrap();
        let losses =
            |x: &Tensor, w: &Tensor| Ok(tensor(&head_cross_entropy(own(x), w, &targets, cap, None)?.losses));
        assert_close(&dx, &numeric(&x, &dy, |x| losses(x, &w)), 2e-3);
        assert_close(&dw, &numeric(&w, &dy, |w| losses(&x, w)), 2e-3);
    }
}

/// More positions than are scored in one pass, and a vocabulary of more than two pieces.
#[test]
fn a_large_head_equals_its_composition() {
    let (n, d, v) = (300, 4, 2 * 4096 + 77);
    let (x, w) = (random(1, &[n, d]), random(2, &[v, d]));
    let token = |i: usize| u32::try_from((i * 7919 + 4095) % v).unwrap();
    let targets: Vec<u32> = (0..n).map(|i| if i % 17 == 3 { IGNORED } else { token(i) }).collect();
    for cap in [None, Some(1.5)] {
        let (dw, other) = (zeros(&w), zeros(&w));
        let into = |dw| Some(HeadGradient { scale: 0.3, dw: Some((dw, Output::Add)) });
        let kernel = head_cross_entropy(own(&x), &w, &targets, cap, into(&dw)).unwrap();
        let composed = cross_entropy::composed(&x, &w, &targets, cap, into(&other)).unwrap();
        let alone = head_cross_entropy(own(&x), &w, &targets, cap, None).unwrap();
        assert_eq!(alone.losses, kernel.losses);
        let tensor = |values: &[f32]| Tensor::from_slice(values, n, &Device::Cpu).unwrap();
        assert_close(&tensor(&kernel.losses), &tensor(&composed.losses), 1e-5);
        assert_close(&kernel.dx.unwrap(), &composed.dx.unwrap(), 1e-6);
        assert_close(&dw, &other, 1e-6);
    }
}

#[test]
fn the_embedding_gradient_sums_repeated_ids() {
    let (w, dy) = (random(1, &[6, 4]), random(2, &[5, 4]));
    let ids = Tensor::from_vec(vec![3_u32, 1, 3, 0, 3], 5, &Device::Cpu).unwrap();
    let (dw, other) = (zeros(&w), zeros(&w));
    embedding_backward(&dy, &ids, &dw, 2.5).unwrap();
    embedding::composed_backward(&dy, &ids, &other, 2.5).unwrap();
    assert_close(&dw, &other, 1e-6);
    assert_close(&dw, &numeric(&w, &dy, |w| embedding(&ids, w, DType::F32, 2.5)), 2e-3);
}

#[test]
fn bf16_activations_stay_within_their_rounding_of_f32() {
    assert_near_f32(DType::BF16, 0.05);
}

#[test]
fn f16_activations_stay_within_their_rounding_of_f32() {
    assert_near_f32(DType::F16, 0.006);
}

fn assert_near_f32(format: DType, tolerance: f32) {
    let (q, k, v) = (random(1, &[ROWS, 24]), random(2, &[ROWS, 12]), random(3, &[ROWS, 12]));
    let (w, gain) = (random(4, &[9, 24]), random(5, &[24]));
    let half = |x: &Tensor| x.to_dtype(format).unwrap();
    assert_close(&linear(&half(&q), &w).unwrap(), &linear(&q, &w).unwrap(), tolerance);
    assert_close(&rms_norm(&half(&q), &gain, 1e-5).unwrap(), &rms_norm(&q, &gain, 1e-5).unwrap(), tolerance);
    let silu = Activation::Silu;
    assert_close(&gated(&half(&k), &half(&v), silu).unwrap(), &gated(&k, &v, silu).unwrap(), tolerance);
    let wide = attention(&q, &k, &v, &SEQUENCES, HEADS).unwrap();
    assert_close(&attention(&half(&q), &half(&k), &half(&v), &SEQUENCES, HEADS).unwrap(), &wide, tolerance);
    assert_eq!(linear(&half(&q), &w).unwrap().dtype(), format);
}

#[test]
fn dropout_keeps_the_mean_drops_its_share_and_is_its_own_gradient() {
    let half = |key| Dropout { share: 0.25, key };
    let x = Tensor::ones((200, 300), DType::F32, &Device::Cpu).unwrap();
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let out = values(&dropout(&x, half(1)).unwrap());
    let dropped = out.iter().filter(|value| **value == 0.0).count();
    assert!((14_000..16_000).contains(&dropped), "{dropped} of 60000");
    assert!(out.iter().all(|value| *value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6));
    assert_eq!(out, values(&dropout(&x, half(1)).unwrap()), "the same key drops the same");
    assert_ne!(out, values(&dropout(&x, half(2)).unwrap()));
    assert_eq!(out, values(&dropout::composed(&x, half(1)).unwrap()));
}
