//! The path of devices without kernels holds what its replay for a card says.
//!
//! Tensors are counted by an allocator that looks at large blocks of the calling thread alone: products on a
//! processor take scratch memory in their own threads, a card's elsewhere.
#![expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use candle_core::Device;

use super::super::{Engine, StepSettings};
use crate::arch::ModelConfig;
use crate::data::{Example, collate};
use crate::memory::{BatchShape, Machine, TrainingSetup, replay};
use crate::model::{Decoder, elsewhere};
use crate::space::{LoraSettings, Optimizer, Precision};
use crate::trial::Phase;

/// Smaller blocks are names, shapes and lists.
const SMALLEST: usize = 1 << 10;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn book(layout: Layout, sign: i64) {
    if layout.size() >= SMALLEST {
        // A thread that ends has no counters any more.
        let _ = LIVE.try_with(|live| {
            live.set(live.get() + sign * i64::try_from(layout.size()).unwrap_or(0));
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
        });
    }
}

#[expect(unsafe_code, reason = "a global allocator can't be had without; every block is the system's own")]
// SAFETY: each method hands its arguments unchanged to `System`; the counters neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        book(layout, 1);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        book(layout, -1);
        // SAFETY: `block` came from `System` with this `layout`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes of each phase of the second of two steps.
fn measured(
    model: impl FnOnce() -> Decoder,
    optimizer: Optimizer,
    clip: Option<f64>,
    batch: &BatchShape,
) -> BTreeMap<Phase, f64> {
    let example = |length: &usize| Example {
        input_ids: (0..=u32::try_from(*length).unwrap()).map(|id| id * 7 % 600).collect(),
        prompt_tokens: 1,
    };
    let examples: Vec<Example> = batch.lengths.iter().map(example).collect();
    let batches = [collate(&examples.iter().collect::<Vec<_>>())];
    elsewhere::pretended(|| {
        let before = LIVE.get();
        let mut engine = Engine::new(model(), optimizer, 0.0, clip, 1).unwrap();
        let mut peaks = BTreeMap::new();
        for step in 1..=2 {
            let mut phase = None;
            PEAK.set(LIVE.get());
            let mut note = |next: Option<Phase>| {
                if let Some(phase) = phase {
                    peaks.insert(phase, (PEAK.get() - before) as f64);
                }
                PEAK.set(LIVE.get());
                phase = next;
            };
            let settings = StepSettings { step, learning_rate: 1e-4 };
            engine
                .step(&batches, settings, &mut |next| {
                    note(Some(next));
                    Ok(())
                })
                .unwrap();
            note(None);
        }
        peaks
    })
}

const MODELS: [&str; 3] = [
    r#""model_type":"llama","tie_word_embeddings":true"#,
    r#""model_type":"qwen3","tie_word_embeddings":false"#,
    r#""model_type":"gemma2","sliding_window":48,"hidden_activation":"gelu_pytorch_tanh""#,
];

fn config(more: &str) -> ModelConfig {
    let json = format!(
        r#"{{"vocab_size":600,"hidden_size":128,"intermediate_size":384,"num_hidden_layers":3,
        "num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"max_position_embeddings":512,{more}}}"#
    );
    ModelConfig::from_json(&json).unwrap()
}

fn check(more: &str, precision: Precision, recompute: bool, lora: Option<&LoraSettings>, clip: Option<f64>) {
    let config = config(more);
    let batch = BatchShape { lengths: vec![96, 96, 96, 64, 40] };
    let optimizer = Optimizer::AdamW;
    let keeps_gradients = TrainingSetup::keeps_gradients(precision, 1, clip);
    let setup = TrainingSetup {
        config: &config,
        precision,
        lora,
        file_bytes: 4,
        optimizer,
        gradient_checkpointing: recompute,
        keeps_gradients,
    };
    let model = || {
        let model = Decoder::random(config.clone(), 3, precision, &Device::Cpu).unwrap();
        let model = lora.map_or(Ok(model), |lora| {
            let fresh = Decoder::random(config.clone(), 3, precision, &Device::Cpu).unwrap();
            fresh.with_adapters(lora, 5)
        });
        model.unwrap().with_recomputation(recompute)
    };
    let found = measured(model, optimizer, clip, &batch);
    let highest = found.values().copied().fold(0.0, f64::max);
    for peak in replay(&setup, Machine::Card, &batch, &batch) {
        let Some(found) = found.get(&peak.phase) else { continue };
        let error = peak.peak_bytes.0 as f64 / found - 1.0;
        // What casts of bf16 products take in the head on a processor is in no phase that matters.
        let most = if found.to_bits() == highest.to_bits() { 0.01 } else { 0.15 };
        assert!(error.abs() < most, "{more}, {precision}, {:?}: {found} bytes, {error:+.4}", peak.phase);
    }
}

#[test]
fn a_step_of_composed_operations_holds_what_its_replay_says() {
    let lora = LoraSettings { dropout: 0.1, ..LoraSettings::of_rank(8) };
    // The first run of a thread makes what later ones find there.
    let warm = Decoder::random(config(MODELS[0]), 3, Precision::F32, &Device::Cpu).unwrap();
    let _ = measured(|| warm.with_recomputation(false), Optimizer::AdamW, None, &BatchShape::equal(2, 9));
    for more in MODELS {
        for precision in Precision::ALL {
            check(more, precision, false, None, Some(1.0));
            check(more, precision, true, Some(&lora), None);
        }
    }
}
