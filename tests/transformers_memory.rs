//! What is predicted for Transformers, PEFT and PyTorch, against what they were seen to allocate.
//!
//! On the CPU byte by byte (`tests/peers/transformers_memory.py` writes that fixture), on a Tesla T4
//! as others published it.
#![expect(clippy::unwrap_used, reason = "a row that can't be read fails its test")]

use diapason::memory::transformers::{
    Attention, CardModel, HalfPrecision, Kernels, Method, Optimizer, TrainingLoop, TransformersSetup,
    Weights, device_peak, replay,
};
use diapason::trial::Phase;
use diapason::units::Bytes;

#[path = "common/transformers.rs"]
mod rows;

use rows::{Row, error, median_and_worst, peak, rows};

const T4: Kernels = Kernels::Cuda(7, 5);

fn on_cpu() -> Vec<Row> {
    rows(include_str!("fixtures/transformers_memory.json"), "rows", Kernels::Cpu)
}

fn published() -> Vec<Row> {
    rows(include_str!("fixtures/published_memory.json"), "rows", T4)
}

fn row(name: &str) -> Row {
    on_cpu().into_iter().find(|row| row.name == name).unwrap()
}

/// The largest peak of all phases.
fn live(row: &Row, setup: &TransformersSetup) -> u64 {
    peak(&replay(&row.config, setup), &Phase::ALL)
}

#[test]
fn every_phase_of_every_measured_setup_is_predicted_within_its_bounds() {
    let mut errors = Vec::new();
    let rows = on_cpu();
    assert!(rows.len() >= 40, "{} setups", rows.len());
    for row in rows {
        for peak in replay(&row.config, &row.setup) {
            let phase = serde_json::to_value(peak.phase).unwrap();
            let measured = row.figures["peak_bytes"][phase.as_str().unwrap()].as_f64().unwrap();
            let error = error(peak.peak_bytes.0, measured);
            assert!(error.abs() <= 2.0, "{} {phase}: {error:+.2} %", row.name);
            errors.push(error);
        }
    }
    let (median, _) = median_and_worst(&errors);
    assert!(median <= 0.1, "{median} %");
}

#[test]
fn what_a_t4_allocates_is_predicted_within_half_a_per_cent() {
    let errors: Vec<f64> = published()
        .iter()
        .map(|row| {
            let mib = row.figures["mib"]["allocated"].as_f64().unwrap();
            let error = error(
                device_peak(&row.config, &row.setup, CardModel::of((7, 5))).live().0,
                mib * 1_048_576.0,
            );
            assert!(error.abs() <= 0.5, "{}: {error:+.2} %", row.name);
            error
        })
        .collect();
    let (median, _) = median_and_worst(&errors);
    assert!(median <= 0.1, "{median} %");
}

#[test]
fn what_a_t4_shows_is_predicted_exactly_where_loading_has_an_order_and_nearly_elsewhere() {
    let (mut dense, mut quantized) = (Vec::new(), Vec::new());
    for row in published() {
        let mib = row.figures["mib"]["process"].as_f64().unwrap();
        let predicted = device_peak(&row.config, &row.setup, CardModel::of((7, 5))).total();
        let group =
            if matches!(row.setup.weights, Weights::Nf4 { .. }) { &mut quantized } else { &mut dense };
        group.push(error(predicted.0, mib * 1_048_576.0));
    }
    let (dense, quantized) = (median_and_worst(&dense), median_and_worst(&quantized));
    assert!(dense.0 <= 0.01 && dense.1 <= 0.3, "{dense:?}");
    assert!(quantized.0 <= 3.0 && quantized.1 <= 16.0, "{quantized:?}");
}

#[test]
fn what_ran_on_a_t4_is_predicted_to_fit_and_what_ran_out_is_not_by_more_than_two_per_cent() {
    let text = include_str!("fixtures/published_memory.json");
    let card = CardModel::of((7, 5));
    for row in rows(text, "verdicts", T4) {
        let within = |mib| device_peak(&row.config, &row.setup, card.with_visible(Bytes::mib(mib))).fits;
        if row.figures["outcome"] == "completed" {
            assert!(within(14_912), "{}", row.name);
        } else {
            assert!(!within(14_912 * 98 / 100), "{}", row.name);
        }
    }
}

#[test]
fn memory_grows_with_batch_sequence_and_rank() {
    let row = row("llama-bf16-lora-attention");
    let setups = |change: &dyn Fn(&mut TransformersSetup, usize)| {
        let with = |size| {
            let mut setup = row.setup.clone();
            change(&mut setup, size);
            live(&row, &setup)
        };
        [1, 2, 3, 4, 8].map(with)
    };
    let by_batch = setups(&|setup, size| setup.micro_batch_size = size);
    let by_length = setups(&|setup, size| setup.sequence_length = 64 * size);
    let by_rank = setups(&|setup, size| {
        if let Method::Lora { rank, .. } = &mut setup.method {
            *rank = 8 * size;
        }
    });
    for peaks in [by_batch, by_length, by_rank] {
        assert!(peaks.is_sorted_by(|a, b| a < b), "{peaks:?}");
    }
    // From two sequences on, each one more takes as much.
    assert_eq!(by_batch[3] - by_batch[2], by_batch[2] - by_batch[1]);
}

#[test]
fn what_saves_memory_is_predicted_to_save_it() {
    let row = row("llama-f32-eager");
    let saves = |change: &dyn Fn(&mut TransformersSetup)| {
        let mut setup = TransformersSetup { sequence_length: 512, ..row.setup.clone() };
        let before = live(&row, &setup);
        change(&mut setup);
        assert!(live(&row, &setup) < before, "{setup:?}");
    };
    saves(&|setup| setup.gradient_checkpointing = true);
    saves(&|setup| setup.attention = Attention::Sdpa);
    saves(&|setup| setup.training_loop = TrainingLoop::Trainer);
    saves(&|setup| {
        let targets = vec!["all-linear".to_owned()];
        setup.method = Method::Lora { rank: 8, targets, dropout: false };
    });
    let optimizer = |optimizer| {
        let setup = TransformersSetup { optimizer, kernels: T4, ..row.setup.clone() };
        peak(&replay(&row.config, &setup), &[Phase::Optimizer])
    };
    let ordered = [Optimizer::PagedAdamW8bit, Optimizer::AdamW8bit, Optimizer::AdamWFused, Optimizer::AdamW];
    assert!(ordered.map(optimizer).is_sorted_by(|a, b| a < b));
}

#[test]
fn below_ampere_grouped_heads_without_padding_cost_a_matrix_of_scores() {
    let row = published().into_iter().find(|row| row.name.starts_with("TinyLlama")).unwrap();
    let peak_of = |attention, kernels| {
        let setup = TransformersSetup {
            attention,
            kernels,
            sequence_length: 4096,
            micro_batch_size: 1,
            ..row.setup.clone()
        };
        peak(&replay(&row.config, &setup), &[Phase::Backward])
    };
    let scores = row.config.num_attention_heads as u64 * 4096 * 4096 * 4;
    assert!(peak_of(Attention::SdpaMath, T4) > peak_of(Attention::Sdpa, T4) + scores);
    let on_t4 = TransformersSetup { attention: Attention::Sdpa, ..row.setup.clone() };
    assert!(on_t4.falls_back_to_math(&row.config));
    let half = row_on_ampere_under_autocast(&row);
    assert!(!half.falls_back_to_math(&row.config));
}

fn row_on_ampere_under_autocast(row: &Row) -> TransformersSetup {
    let autocast = Some(HalfPrecision::Bf16);
    TransformersSetup {
        autocast,
        kernels: Kernels::Cuda(8, 0),
        attention: Attention::Sdpa,
        ..row.setup.clone()
    }
}
