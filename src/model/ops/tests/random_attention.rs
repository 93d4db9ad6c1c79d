//! Attention's kernel against its composition: odd heads, shared keys, one token and many rows.

use std::ops::Range;

use proptest::prelude::*;

use super::{assert_close, own, random};
use crate::model::ops::{self, *};

/// Rows of a piece in the kernel, as seen from here: lengths around one, two and three of them.
const PIECE: usize = 64;

/// One token, a few, the edges of pieces, and more than three pieces.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let short = prop_oneof![Just(1), 2..12_usize];
    let long = prop_oneof![PIECE - 1..=PIECE + 1, 2 * PIECE..2 * PIECE + 2, 3 * PIECE + 1..4 * PIECE];
    prop::collection::vec(prop_oneof![3 => short, 1 => long], 1..4)
}

/// One to four query heads a key head, of odd and even widths; with windows and soft caps or without.
fn heads() -> impl Strategy<Value = Heads> {
    let sizes = (1..4_usize, 1..5_usize, prop_oneof![Just(1), 2..40_usize]);
    let window = prop_oneof![Just(None), (1..12_usize).prop_map(Some), (60..70_usize).prop_map(Some)];
    let cap = prop_oneof![Just(None), (0.5..50.0_f32).prop_map(Some)];
    (sizes, 0.1..1.0_f32, window, cap).prop_map(|((g, members, k), scale, window, cap)| Heads {
        h: g * members,
        g,
        k,
        scale,
        cap,
        window,
    })
}

fn one_after_another(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    let range = |length: &usize| {
        start += length;
        start - length..start
    };
    lengths.iter().map(range).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(96)))]

    #[test]
    fn attention_and_its_gradients(lengths in lengths(), heads in heads(), seed in 0..1000_u64) {
        let (n, sequences) = (lengths.iter().sum(), one_after_another(&lengths));
        let (wide, narrow) = ([n, heads.h * heads.k], [n, heads.g * heads.k]);
        // Scores of a few units, so that a softmax is neither flat nor a single one.
        let q = (random(seed, &wide) * 3.0).unwrap();
        let (k, v, dy) = (random(seed + 1, &narrow), random(seed + 2, &narrow), random(seed + 3, &wide));
        let ours = ops::attention(&q, &k, &v, &sequences, heads).unwrap();
        assert_close(&ours, &ops::attention::composed(&q, &k, &v, &sequences, heads).unwrap(), 2e-5);
        let ours = attention_backward(own(&dy), own(&q), own(&k), own(&v), &sequences, heads).unwrap();
        let plain = ops::attention::composed_backward(&dy, &q, &k, &v, &sequences, heads).unwrap();
        // A key's gradient sums over all rows behind it.
        for (ours, plain) in [(ours.dq, plain.dq), (ours.dkeys, plain.dkeys), (ours.dvalues, plain.dvalues), (ours.out, plain.out)] {
            let largest = plain.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            let largest: f32 = largest.to_scalar().unwrap();
            assert_close(&ours, &plain, 2e-5 * largest.max(1.0));
        }
    }
}
