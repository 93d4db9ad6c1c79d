//! Estimates against published throughput, counts against formulas, and what must be monotone.

use super::*;
use crate::memory::gpu::{all, find};
use crate::space::{ALL_LINEAR, BlockFormat};

fn model(
    hidden: usize,
    layers: usize,
    heads: usize,
    kv: usize,
    inner: usize,
    vocabulary: usize,
) -> ModelConfig {
    let json = serde_json::json!({
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
        "tie_word_embeddings": true,
    });
    ModelConfig::from_json(&json.to_string()).unwrap()
}

/// An MPT model's sizes: two matrices of 4d instead of three, as many values.
fn mpt(name: &str) -> ModelConfig {
    let (hidden, layers, heads) = match name {
        "125m" => (768, 12, 12),
        "350m" => (1024, 24, 16),
        "760m" => (1536, 24, 12),
        "1b" => (2048, 24, 16),
        "3b" => (2560, 32, 20),
        "7b" => (4096, 32, 32),
        _ => (5120, 40, 40),
    };
    model(hidden, layers, heads, heads, hidden * 8 / 3, 50_368)
}

fn run(config: &ModelConfig) -> Run<'_> {
    Run {
        config,
        precision: Precision::Bf16,
        optimizer: Optimizer::AdamW,
        lora: None,
        recompute: false,
        micro_batch: 8,
        sequence_length: 1024,
        gradient_accumulation_steps: 4,
        operations: Operations::Fused,
    }
}

fn speed(run: &Run, gpu: &str) -> f64 {
    estimate(run, &find(gpu).unwrap()).tokens_per_second
}

/// Card, model, positions, micro-batch, accumulation, recomputation, tokens a second of one card.
///
/// Source: mosaicml/llm-foundry, scripts/train/benchmarking/README.md; eight cards with sharded weights,
/// so what they send each other is in it.
const PUBLISHED: [(&str, &str, usize, usize, usize, bool, f64); 19] = [
    ("a100-40", "125m", 2048, 26, 3, false, 136_334.0),
    ("a100-40", "350m", 2048, 16, 4, false, 55_995.0),
    ("a100-40", "760m", 2048, 12, 4, false, 30_173.0),
    ("a100-40", "1b", 512, 32, 8, false, 21_782.0),
    ("a100-40", "1b", 2048, 8, 8, false, 19_271.0),
    ("a100-40", "1b", 8192, 2, 8, false, 13_474.0),
    ("a100-40", "3b", 2048, 5, 8, false, 10_065.0),
    ("a100-40", "7b", 2048, 12, 4, true, 3_679.0),
    ("a100-40", "13b", 2048, 4, 16, true, 1_668.0),
    ("a100-80", "125m", 2048, 40, 2, false, 142_830.0),
    ("a100-80", "350m", 2048, 32, 2, false, 58_782.0),
    ("a100-80", "350m", 16_384, 4, 2, false, 23_559.0),
    ("h100-sxm", "760m", 2048, 24, 2, false, 63_147.0),
    ("h100-sxm", "1b", 2048, 14, 1, false, 45_455.0),
    ("h100-sxm", "1b", 8192, 3, 4, false, 29_157.0),
    ("h100-sxm", "3b", 1024, 20, 6, false, 27_046.0),
    ("h100-sxm", "7b", 2048, 6, 1, false, 10_643.0),
    ("h100-sxm", "7b", 4096, 16, 2, true, 8_611.0),
    ("h100-sxm", "13b", 2048, 2, 1, false, 4_792.0),
];

#[test]
fn published_rates_of_a_trainer_with_fused_attention_are_met_within_a_third() {
    let mut ratios = Vec::new();
    for (gpu, name, sequence_length, micro_batch, gradient_accumulation_steps, recompute, published) in
        PUBLISHED
    {
        let config = mpt(name);
        let run =
            Run { recompute, micro_batch, sequence_length, gradient_accumulation_steps, ..run(&config) };
        let ratio = speed(&run, gpu) / published;
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    // The median is that to which PASSES was fitted.
    assert!((ratios[ratios.len() / 2] - 1.0).abs() < 0.05, "{ratios:?}");
    assert!(ratios[0] > 0.85 && ratios[ratios.len() - 1] < 1.4, "{ratios:?}");
}

#[test]
fn published_utilizations_of_single_cards_are_met_within_a_factor_of_five_thirds() {
    // From torchtune's and others' reports: 6 operations a weight and token over the sheet's rate.
    let llama_3b = model(3072, 28, 24, 8, 8192, 128_256);
    let llama_8b = model(4096, 32, 32, 8, 14_336, 128_256);
    let tiny = model(2048, 22, 32, 4, 5632, 32_000);
    let lora = LoraSettings {
        rank: 16,
        alpha: 32.0,
        dropout: 0.0,
        targets: vec![ALL_LINEAR.to_owned()],
        rslora: false,
        quantize_base: None,
    };
    let again = |config| Run { recompute: true, micro_batch: 4, sequence_length: 2048, ..run(config) };
    let cases = [
        ("a100-80", Run { micro_batch: 4, sequence_length: 2048, ..run(&llama_3b) }, 0.57),
        ("a100-80", again(&llama_3b), 0.45),
        ("rtx-4090", Run { optimizer: Optimizer::AdamW8Bit, ..again(&llama_8b) }, 0.48),
        ("t4", Run { precision: Precision::F16, lora: Some(&lora), ..again(&tiny) }, 0.17),
    ];
    for (gpu, run, published) in cases {
        let weights = flops::block_values(run.config) + flops::head_values(run.config);
        let card = find(gpu).unwrap();
        let found = 6.0 * weights * speed(&run, gpu) / (card.tflops(run.precision) * 1e12);
        // T4: 1.5 times too fast, the others within a tenth.
        assert!((0.6..1.65).contains(&(found / published)), "{gpu}: {found}, not {published}");
    }
}

#[test]
fn operations_are_six_or_four_for_a_weight_two_more_if_recomputed_and_half_of_all_pairs() {
    let config = model(64, 2, 4, 2, 128, 1000);
    let blocks = 2.0 * (2.0 * 64.0 * 64.0 + 2.0 * 64.0 * 32.0 + 3.0 * 64.0 * 128.0);
    let head = 64.0 * 1000.0;
    let base = run(&config);
    let flops = |run: &Run| flops::per_token(run);
    assert_close(flops(&base).matrices, 6.0 * (blocks + head));
    assert_close(flops(&Run { recompute: true, ..base }).matrices, 8.0 * blocks + 6.0 * head);
    // 2 layers, 4 operations, 64 values of all heads, positions seen on average.
    let forward = 2.0 * 4.0 * 64.0 * 512.5;
    assert_close(flops(&base).needed - flops(&base).matrices, 3.0 * forward);
    assert_close(
        flops(&Run { operations: Operations::Composed, ..base }).attention,
        3.5 * forward * 1024.0 / 512.5,
    );
    let lora = LoraSettings {
        rank: 2,
        alpha: 4.0,
        dropout: 0.0,
        targets: vec!["q_proj".to_owned(), "down_proj".to_owned()],
        rslora: false,
        quantize_base: None,
    };
    let adapters = 2.0 * 2.0 * ((64.0 + 64.0) + (64.0 + 128.0));
    assert_close(flops(&Run { lora: Some(&lora), ..base }).matrices, 4.0 * (blocks + head) + 6.0 * adapters);
}

fn assert_close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found}, not {expected}");
}

#[test]
fn a_window_is_seen_in_full_but_at_the_beginning() {
    let json = serde_json::json!({
        "model_type": "mistral", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 3,
    });
    let config = ModelConfig::from_json(&json.to_string()).unwrap();
    let run = Run { sequence_length: 5, ..run(&config) };
    // 1, 2, 3, 3, 3 positions.
    assert_close(flops::per_token(&run).attention, 3.5 * 4.0 * 64.0 * 12.0 / 5.0);
}

#[test]
fn more_work_is_never_faster() {
    let (small, large) = (mpt("125m"), mpt("350m"));
    for card in all() {
        let tokens = |run: &Run| estimate(run, &card).tokens_per_second;
        let base = run(&small);
        assert!(tokens(&base) > tokens(&run(&large)), "{}", card.name);
        assert!(tokens(&base) > tokens(&Run { recompute: true, ..base }));
        assert!(tokens(&base) > tokens(&Run { operations: Operations::Composed, ..base }));
        assert!(tokens(&base) > tokens(&Run { sequence_length: 2048, micro_batch: 4, ..base }));
        assert!(tokens(&base) >= tokens(&Run { precision: Precision::F32, ..base }));
        let sizes = [1, 2, 4, 8, 64].map(|micro_batch| tokens(&Run { micro_batch, ..base }));
        assert!(sizes.is_sorted(), "{}: {sizes:?}", card.name);
    }
}

#[test]
fn a_faster_card_of_the_same_kind_is_faster() {
    let config = mpt("1b");
    let order = ["t4", "a10g", "a100-40", "a100-80", "h100-sxm", "h200", "b200"];
    let speeds = order.map(|gpu| speed(&Run { precision: Precision::F16, ..run(&config) }, gpu));
    assert!(speeds.is_sorted(), "{speeds:?}");
}

#[test]
fn adapters_are_faster_and_a_quantized_base_costs_a_little() {
    let config = mpt("7b");
    let lora = |quantize_base| LoraSettings {
        rank: 16,
        alpha: 32.0,
        dropout: 0.0,
        targets: vec![ALL_LINEAR.to_owned()],
        rslora: false,
        quantize_base,
    };
    let (plain, blocks) = (lora(None), lora(Some(BlockFormat::Q4_0)));
    let small = Run { micro_batch: 1, sequence_length: 128, ..run(&config) };
    assert!(speed(&Run { lora: Some(&plain), ..small }, "a100-40") > 1.3 * speed(&small, "a100-40"));
    let of = |lora| speed(&Run { lora: Some(lora), ..small }, "a100-40");
    assert!(of(&blocks) < of(&plain));
}

#[test]
fn what_a_card_lacks_is_said_and_an_hour_is_an_hour() {
    let config = mpt("125m");
    let on = |gpu: &str, precision| estimate(&Run { precision, ..run(&config) }, &find(gpu).unwrap());
    assert_eq!(on("t4", Precision::Bf16).warnings, [Warning::NoArithmetic(Precision::Bf16)]);
    assert!(on("t4", Precision::F16).warnings.is_empty());
    assert_eq!(on("mi300x", Precision::F32).warnings, [Warning::NoCuda]);
    assert!(Warning::NoArithmetic(Precision::Bf16).to_string().contains("use f16"));
    let estimate = on("l4", Precision::Bf16);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole rate")]
    let an_hour = (estimate.tokens_per_second * 3600.0) as u64;
    assert!((estimate.hours(an_hour) - 1.0).abs() < 1e-3);
    assert!(estimate.seconds_per_step.total() > 0.0 && (0.05..0.8).contains(&estimate.utilization));
}
