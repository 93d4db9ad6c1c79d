//! Bytes that the replay of a step predicts, against those that the core holds.
//!
//! `cargo bench --bench estimate_error` prints a table of all settings and a summary.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, missing_docs)]

use diapason::device::CountingAllocator;
use diapason::space::{ALL_LINEAR, BlockFormat, Optimizer, Precision};

#[path = "../tests/common/measured.rs"]
mod measured;
#[path = "../tests/common/models.rs"]
mod models;

use measured::{Model, Setting, highest, lora};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn settings() -> Vec<Setting> {
    let mut all = Vec::new();
    for (precision, micro_batch, length) in [
        (Precision::F32, 2, 96),
        (Precision::F32, 7, 160),
        (Precision::Bf16, 4, 128),
        (Precision::Bf16, 8, 200),
        (Precision::F16, 3, 256),
    ] {
        let full = Setting::full(precision, micro_batch, length);
        all.push(full.clone());
        all.push(Setting { recompute: true, max_grad_norm: Some(1.0), ..full.clone() });
        let adapters = lora(8, &[ALL_LINEAR], None);
        all.push(Setting { lora: Some(adapters), ..full.clone() });
        let few = lora(4, &["q_proj", "v_proj", "qkv_proj"], Some(BlockFormat::Q8_0));
        all.push(Setting { lora: Some(few), recompute: true, ..full.clone() });
        all.push(Setting { optimizer: Optimizer::AdamW8Bit, accumulation: 2, ..full });
    }
    all
}

fn main() {
    let verbose = std::env::args().any(|arg| arg == "--phases");
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with("--"));
    let mut errors = Vec::new();
    for (name, config, dtype) in models::all() {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let model = Model::new(&config, dtype);
        let _ = model.measured(&Setting::full(Precision::F32, 1, 32));
        for mut setting in settings() {
            if let Some(lora) = &mut setting.lora {
                models::fit_targets(lora, &model.config);
            }
            let (found, predicted) = (model.measured(&setting), model.predicted(&setting));
            let error = highest(&predicted) as f64 / highest(&found) as f64 - 1.0;
            errors.push(error);
            println!(
                "| {name} | {} | {} | {} | {}×{} | {} | {} | {:+.3} % |",
                setting.precision,
                if setting.recompute { "again" } else { "kept" },
                setting
                    .lora
                    .as_ref()
                    .map_or("full".to_owned(), |lora| format!("r={} {:?}", lora.rank, lora.quantize_base)),
                setting.micro_batch,
                setting.length,
                highest(&found),
                highest(&predicted),
                100.0 * error
            );
            if verbose {
                for peak in &found {
                    let other = predicted
                        .iter()
                        .find(|other| other.phase == peak.phase)
                        .map_or(0, |peak| peak.peak_bytes.0);
                    println!(
                        "    {:?}: {} {} {:+.3} %",
                        peak.phase,
                        peak.peak_bytes.0,
                        other,
                        100.0 * (other as f64 / peak.peak_bytes.0 as f64 - 1.0)
                    );
                }
            }
        }
    }
    errors.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let (n, under) = (errors.len(), errors.iter().filter(|error| **error < 0.0).count());
    println!(
        "{n} settings: median {:.3} %, worst {:+.3} %, {under} under",
        100.0 * errors[n / 2].abs(),
        100.0 * errors[n - 1]
    );
}
