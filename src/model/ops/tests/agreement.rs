//! Every kernel against its composition on random shapes, forward and backward, in every format.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{own, random, rotary};
use crate::arch::Activation;
use crate::data::IGNORED;
use crate::model::ops::{self, *};

/// How far a value may be off: its own rounding, and `absolute` for sums in another order.
fn assert_near(ours: &Tensor, plain: &Tensor, absolute: f32) {
    assert_eq!((ours.shape(), ours.dtype()), (plain.shape(), plain.dtype()));
    // A value between two of a narrow format may be rounded either way.
    let relative = match ours.dtype() {
        DType::BF16 => 1.0 / 128.0,
        DType::F16 => 1.0 / 1024.0,
        _ => 2e-5,
    };
    let values = |x: &Tensor| -> Vec<f32> {
        x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    for (at, (a, b)) in values(ours).iter().zip(values(plain)).enumerate() {
        assert!((a - b).abs() <= absolute + relative * b.abs(), "value {at} is {a}, not {b}");
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

/// Number format and a seed.
fn formats() -> impl Strategy<Value = (DType, u64)> {
    (prop::sample::select(vec![DType::F32, DType::BF16, DType::F16]), 0..1000_u64)
}

/// Rows and columns, odd ones and single ones among them.
fn shapes() -> impl Strategy<Value = (usize, usize)> {
    (prop_oneof![Just(1), 2..80_usize], prop_oneof![1..9_usize, 9..150_usize, Just(576)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(64)))]

    #[test]
    fn rms_norm((n, d) in shapes(), (dtype, seed) in formats(), frozen: bool) {
        let data = |number, shape: &[usize]| random(seed + number, shape).to_dtype(dtype).unwrap();
        let (x, dy, residual) = (data(0, &[n, d]), data(1, &[n, d]), data(2, &[n, d]));
        let w = random(seed + 3, &[d]);
        let (dw, other) = (random(seed + 4, &[d]), random(seed + 4, &[d]));
        let wanted = |dw| if frozen { None } else { Some(dw) };
        assert_near(
            &ops::rms_norm(&x, &w, 1e-5).unwrap(),
            &ops::rms_norm::composed(&x, &w, 1e-5).unwrap(),
            1e-6,
        );
        let plain = ops::rms_norm::composed_backward(&dy, &x, &w, 1e-5, wanted(&other), &residual).unwrap();
        let ours = rms_norm_backward(&dy, &x, &w, 1e-5, wanted(&dw), own(&residual)).unwrap();
        // A single column makes 1/rms, and with it what cancels in dx, large.
        assert_near(&ours, &plain, if d < 9 { 1e-2 } else { 1e-4 });
        assert_near(&dw, &other, 1e-4);
    }

    #[test]
    fn rope(
        lengths in prop::collection::vec(1..30_usize, 1..4), h in 1..4_usize, half in 1..40_usize,
        rest in 0..9_usize,
        (dtype, seed) in formats(),
    ) {
        let n = lengths.iter().sum();
        let ends = lengths.iter().scan(0, |end, length| { *end += length; Some(*end) });
        let sequences: Vec<Range<usize>> = ends.zip(&lengths).map(|(end, length)| end - length..end).collect();
        let positions = Positions::new(&sequences, None, &Device::Cpu).unwrap();
        let table = rotary(2 * half + rest, 2 * half, &positions);
        let x = random(seed, &[n, h * (2 * half + rest)]).to_dtype(dtype).unwrap();
        for sign in [1.0, -1.0] {
            let plain = ops::rope::composed(&x, &table, &positions, sign).unwrap();
            assert_near(&ops::rope(own(&x), &table, &positions, sign).unwrap(), &plain, 1e-6);
        }
    }

    #[test]
    fn gated((n, f) in shapes(), (dtype, seed) in formats(), gelu: bool) {
        let act = if gelu { Activation::GeluTanh } else { Activation::Silu };
        let data = |number| (random(seed + number, &[n, f]) * 9.0).unwrap().to_dtype(dtype).unwrap();
        let (gate, up, dy) = (data(0), data(1), data(2));
        let (ours, plain) = (ops::gated(&gate, &up, act), ops::gated::composed(&gate, &up, act));
        assert_near(&ours.unwrap(), &plain.unwrap(), 1e-5);
        let plain = ops::gated::composed_backward(&dy, &gate, &up, act).unwrap();
        let ours = gated_backward(&dy, own(&gate), own(&up), act).unwrap();
        assert_near(&ours.0, &plain.0, 1e-4);
        assert_near(&ours.1, &plain.1, 1e-5);
    }

    #[test]
    fn embedding((n, d) in shapes(), v in 1..70_u32, (dtype, seed) in formats()) {
        let (w, dy) = (random(seed, &[v as usize, d]), random(seed + 1, &[n, d]).to_dtype(dtype).unwrap());
        let ids: Vec<u32> = (0..n).map(|i| u32::try_from(i * i * 31).unwrap() % v).collect();
        let ids = Tensor::from_vec(ids, n, &Device::Cpu).unwrap();
        let plain = (w.index_select(&ids, 0).unwrap() * 1.5).unwrap().to_dtype(dtype).unwrap();
        assert_near(&ops::embedding(&ids, &w, dtype, 1.5).unwrap(), &plain, 0.0);
        let (dw, other) = (zeros(w.dims()), zeros(w.dims()));
        embedding_backward(&dy, &ids, &dw, 1.5).unwrap();
        ops::embedding::composed_backward(&dy, &ids, &other, 1.5).unwrap();
        assert_near(&dw, &other, 1e-5);
    }

    #[test]
    fn bias((n, o) in shapes(), (dtype, seed) in formats()) {
        let (y, dy) = (random(seed, &[n, o]).to_dtype(dtype).unwrap(), random(seed + 1, &[n, o]).to_dtype(dtype).unwrap());
        let bias = random(seed + 2, &[o]);
        assert_near(&add_bias(own(&y), &bias).unwrap(), &ops::bias::composed(&y, &bias).unwrap(), 0.0);
        let (dbias, other) = (zeros(&[o]), zeros(&[o]));
        bias_backward(&dy, &dbias).unwrap();
        ops::bias::composed_backward(&dy, &other).unwrap();
        assert_near(&dbias, &other, 1e-4);
    }

    #[test]
    fn head_cross_entropy(
        (n, d) in shapes(), v in 2..200_usize, (dtype, seed) in formats(), ignored in 0..4_usize, frozen: bool,
        cap in prop::option::of(1.0..30.0_f32),
    ) {
        let (x, w) = (random(seed, &[n, d]).to_dtype(dtype).unwrap(), random(seed + 1, &[v, d]));
        let target = |i: usize| if i % 4 < ignored { IGNORED } else { u32::try_from((i * 7 + 3) % v).unwrap() };
        let targets: Vec<u32> = (0..n).map(target).collect();
        let (dw, other) = (zeros(&[v, d]), zeros(&[v, d]));
        let into = |dw| Some(HeadGradient { scale: 0.3, dw: if frozen { None } else { Some((dw, Output::Add)) } });
        // The kernel makes logits in f32 whatever the format; the composition would round them. The
        // factors of the gradients may be rounded where the activations are.
        let rounding = if dtype == DType::F32 { 5e-5 } else { 0.03 };
        let wide = x.to_dtype(DType::F32).unwrap();
        let plain = ops::cross_entropy::composed(&wide, &w, &targets, cap, into(&other)).unwrap();
        let ours = ops::head_cross_entropy(own(&x), &w, &targets, cap, into(&dw)).unwrap();
        let alone = ops::head_cross_entropy(own(&x), &w, &targets, cap, None).unwrap();
        prop_assert_eq!(&alone.losses, &ours.losses);
        let row = |losses: Vec<f32>| Tensor::from_vec(losses, n, &Device::Cpu).unwrap();
        assert_near(&row(ours.losses), &row(plain.losses), 5e-5);
        assert_near(&ours.dx.unwrap(), &plain.dx.unwrap().to_dtype(dtype).unwrap(), rounding);
        assert_near(&dw, &other, rounding);
        prop_assert!(alone.dx.is_none());
    }
}
