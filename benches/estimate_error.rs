//! Bytes that the replay of a step predicts, against those that the core holds.
//!
//! `cargo bench --bench estimate_error` measures 150 settings (six families, three precisions, with and without
//! checkpointing, all weights and adapters), then runs each in a child that may hold its prediction and the stated
//! margin. It prints a table and a summary in Markdown; `-- NAME` takes only the families of that name, `--phases` adds
//! each phase.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that measures, not a part of the product"
)]
#![expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]

use diapason::device::CountingAllocator;
use diapason::space::Precision;
use diapason::trial::{Outcome, PhasePeak};

#[path = "../tests/common/measured.rs"]
mod measured;
#[path = "../tests/common/models.rs"]
mod models;

use measured::{MARGIN, Model, Setting, highest};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let shows_phases = arguments.iter().any(|argument| argument == "--phases");
    let only = arguments.iter().find(|argument| !argument.starts_with("--"));
    println!(
        "| family | precision | activations | trained | batch × length | measured | predicted | error | capped |"
    );
    println!("|---|---|---|---|---:|---:|---:|---:|---|");
    let (mut errors, mut finished) = (Vec::new(), 0);
    for (name, config, dtype) in models::all() {
        if only.is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let model = Model::new(&config, dtype);
        // The first run of a process makes what later ones find there.
        let _ = model.measured(&Setting::full(Precision::F32, 1, 32));
        for setting in models::settings(&model.config) {
            let (found, predicted) = (model.measured(&setting), model.predicted(&setting));
            let error = 100.0 * (highest(&predicted) as f64 / highest(&found) as f64 - 1.0);
            let ran = model.capped(&setting) == Some(Outcome::Finished);
            errors.push(error);
            finished += usize::from(ran);
            println!("{}", row(name, &setting, [&found, &predicted], error, ran));
            if shows_phases {
                phases(&found, &predicted);
            }
        }
    }
    summary(errors, finished);
}

fn row(
    name: &str,
    setting: &Setting,
    [found, predicted]: [&[PhasePeak]; 2],
    error: f64,
    ran: bool,
) -> String {
    let trained = setting.lora.as_ref().map_or_else(
        || format!("all, {}", setting.optimizer),
        |lora| {
            let base = lora.quantize_base.map_or_else(String::new, |format| format!(" on {format}"));
            format!("LoRA r={}{base}", lora.rank)
        },
    );
    format!(
        "| {name} | {} | {} | {trained} | {} × {} | {} | {} | {error:+.3} % | {} |",
        setting.precision,
        if setting.recompute { "again" } else { "kept" },
        setting.micro_batch,
        setting.length,
        highest(found),
        highest(predicted),
        if ran { "finished" } else { "**refused**" },
    )
}

fn phases(found: &[PhasePeak], predicted: &[PhasePeak]) {
    for PhasePeak { phase, peak_bytes } in found {
        let other = predicted.iter().find(|other| other.phase == *phase).map_or(0, |peak| peak.peak_bytes.0);
        println!("    {}: {} {other}", phase.name(), peak_bytes.0);
    }
}

fn summary(mut errors: Vec<f64>, finished: usize) {
    errors.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let (n, under) = (errors.len(), errors.iter().filter(|error| **error < 0.0).count());
    let signed = errors.iter().sum::<f64>() / n as f64;
    println!(
        "\n{n} settings: median error {:.3} %, worst {:+.3} %, mean {signed:+.3} %,",
        errors[n / 2].abs(),
        errors[n - 1]
    );
    println!(
        "{under} predictions below what was held; {finished} of {n} children finish under the prediction + {MARGIN}."
    );
}
