//! Memory and time of training steps at every micro-batch size, measured: the ground on which searches for
//! the largest one are compared.
//!
//! `cargo bench --bench memory_curves -- FILE [--largest 64]` trains one small model in eight ways and writes,
//! for each, the peak of every phase at sizes 1 to 64, what a replay of shapes predicts for it, the seconds of
//! an optimizer step and those of a whole probe. `benches/peers/batch_finders.sh` reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::DType;
use clap::Parser;
use diapason::device::CountingAllocator;
use diapason::space::{ALL_LINEAR, BlockFormat, Optimizer, Precision};
use diapason::trial::{Phase, PhasePeak};
use diapason::units::Bytes;
use measured::{Model, Setting, THREADS, highest, lora};
use serde::Serialize;
use serde_json::{Value, json};

#[path = "../tests/common/measured.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "shared with tests, where a helper that can't go on fails")]
mod measured;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[derive(Parser)]
struct Arguments {
    /// JSON file to write.
    file: PathBuf,
    /// Largest micro-batch.
    #[arg(long, default_value_t = 64)]
    largest: usize,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One way to train; position 0 of each list is size 1.
#[derive(Serialize)]
struct Curve {
    name: &'static str,
    precision: Precision,
    sequence_length: usize,
    /// Bytes of each phase.
    measured: BTreeMap<Phase, Vec<u64>>,
    /// The same as a replay predicts them.
    predicted: BTreeMap<Phase, Vec<u64>>,
    /// An optimizer step, not the first.
    step_seconds: Vec<f64>,
    /// Model and data read, two steps, an evaluation, a checkpoint.
    probe_seconds: Vec<f64>,
}

fn main() -> Result<()> {
    let Arguments { file, largest, .. } = Arguments::parse();
    let config = config();
    let model = Model::new(&config, DType::F32);
    // The first probe of a process makes what all later ones share.
    model.measured(&Setting::full(Precision::F32, 1, 64));
    let curves = settings()
        .into_iter()
        .map(|(name, setting)| curve(name, &setting, &model, largest))
        .collect::<Result<Vec<_>>>()?;
    let document = json!({ "threads": THREADS, "model": config, "curves": curves });
    fs::write(&file, format!("{document}\n")).with_context(|| file.display().to_string())
}

fn config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 352,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "tie_word_embeddings": true,
    })
}

/// Full and LoRA, three precisions, two lengths, with and without recomputation, accumulation, clipping.
fn settings() -> Vec<(&'static str, Setting)> {
    let full = |precision, length| Setting::full(precision, 1, length);
    let all = |base| Some(lora(8, &[ALL_LINEAR], base));
    let again = |setting| Setting { recompute: true, ..setting };
    vec![
        ("f32-full-128", full(Precision::F32, 128)),
        ("f32-full-again-128", again(full(Precision::F32, 128))),
        ("f32-lora-64", Setting { lora: all(None), ..full(Precision::F32, 64) }),
        ("bf16-full-128", full(Precision::Bf16, 128)),
        (
            "bf16-full-again-clipped-64",
            again(Setting { max_grad_norm: Some(1.0), ..full(Precision::Bf16, 64) }),
        ),
        (
            "bf16-qlora-again-128",
            again(Setting { lora: all(Some(BlockFormat::Q4_0)), ..full(Precision::Bf16, 128) }),
        ),
        (
            "bf16-adamw8bit-accumulated-64",
            Setting { optimizer: Optimizer::AdamW8Bit, accumulation: 2, ..full(Precision::Bf16, 64) },
        ),
        ("f16-full-64", full(Precision::F16, 64)),
    ]
}

fn curve(name: &'static str, setting: &Setting, model: &Model, largest: usize) -> Result<Curve> {
    let mut curve = Curve {
        name,
        precision: setting.precision,
        sequence_length: setting.length,
        measured: BTreeMap::new(),
        predicted: BTreeMap::new(),
        step_seconds: Vec::new(),
        probe_seconds: Vec::new(),
    };
    for micro_batch in 1..=largest {
        let setting = Setting { micro_batch, ..setting.clone() };
        let started = Instant::now();
        let measurement = model.measurement(&setting);
        curve.probe_seconds.push(started.elapsed().as_secs_f64());
        curve.step_seconds.push(measurement.steps.last().context("a probe has steps")?.seconds);
        writeln!(io::stderr(), "{name} {micro_batch}: {}", Bytes(highest(&measurement.peaks)))?;
        append(&mut curve.measured, &measurement.peaks);
        append(&mut curve.predicted, &model.predicted(&setting));
    }
    Ok(curve)
}

fn append(lists: &mut BTreeMap<Phase, Vec<u64>>, peaks: &[PhasePeak]) {
    for peak in peaks {
        lists.entry(peak.phase).or_default().push(peak.peak_bytes.0);
    }
}
