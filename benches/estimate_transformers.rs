//! What is predicted for Transformers, PEFT and PyTorch beside what was measured, as Markdown.
//!
//! `cargo bench --bench estimate_transformers > results/kept/estimate-transformers/README.md`
#![expect(clippy::print_stdout, reason = "the table is the output")]
#![expect(clippy::unwrap_used, reason = "a row that can't be read ends the program")]
#![expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]

use diapason::memory::transformers::{CardModel, Kernels, device_peak, replay};
use diapason::trial::Phase;
use diapason::units::Bytes;

#[path = "../tests/common/transformers.rs"]
mod rows;

use rows::{Row, error, median_and_worst, peak, rows};

const MIB: f64 = 1_048_576.0;

/// The columns of the first table.
const PHASES: [(&str, Phase); 6] = [
    ("load", Phase::Load),
    ("forward", Phase::Forward),
    ("loss", Phase::Loss),
    ("backward", Phase::Backward),
    ("optimizer", Phase::Optimizer),
    ("evaluate", Phase::Evaluate),
];

fn main() {
    println!("# Memory of Transformers, PEFT and PyTorch: predicted and measured\n");
    println!("Written by `cargo bench --bench estimate_transformers`. Errors are predicted over measured.\n");
    on_cpu();
    on_a_t4();
}

fn on_cpu() {
    let text = include_str!("../tests/fixtures/transformers_memory.json");
    let document: serde_json::Value = serde_json::from_str(text).unwrap();
    println!("## On the CPU, by PyTorch's allocator\n");
    println!("Measured by `tests/peers/transformers_memory.py` with {}.\n", document["versions"]);
    println!(
        "| setup | measured peak MiB | predicted | load | forward | loss | backward | optimizer | evaluate |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut errors = Vec::new();
    for row in rows(text, "rows", Kernels::Cpu) {
        let peaks = replay(&row.config, &row.setup);
        let measured = |name: &str| row.figures["peak_bytes"][name].as_f64().unwrap();
        let of = |(name, phase): (&str, Phase)| error(peak(&peaks, &[phase]), measured(name));
        let by_phase = PHASES.map(of);
        errors.extend(by_phase);
        let most = PHASES.map(|(name, _)| measured(name)).into_iter().fold(0.0, f64::max);
        let predicted = peak(&peaks, &Phase::ALL) as f64;
        let cells: Vec<String> = by_phase.iter().map(|error| format!("{error:+.2} %")).collect();
        println!("| {} | {:.1} | {:.1} | {} |", row.name, most / MIB, predicted / MIB, cells.join(" | "));
    }
    summary("phases", &errors);
}

fn on_a_t4() {
    let text = include_str!("../tests/fixtures/published_memory.json");
    let document: serde_json::Value = serde_json::from_str(text).unwrap();
    println!("## On a T4, as published\n\nSource: {}. {}\n", document["source"], document["notes"]);
    println!(
        "These rows were at hand while the model of a card was written; two things were learnt from them:"
    );
    println!("that the backward of softmax on a card holds one more product, and that the driver hands out");
    println!("segments from high addresses down. Nothing was fitted.\n");
    println!("| run | allocated MiB | predicted | error | process MiB | predicted | error |");
    println!("|---|---|---|---|---|---|---|");
    let (mut allocated, mut process) = (Vec::new(), Vec::new());
    for row in rows(text, "rows", Kernels::Cuda(7, 5)) {
        let device = device_peak(&row.config, &row.setup, CardModel::of((7, 5)));
        let cells = [cell(&row, "allocated", device.live().0), cell(&row, "process", device.total().0)];
        println!("| {} | {} | {} |", row.name, cells[0].0, cells[1].0);
        allocated.push(cells[0].1);
        process.push(cells[1].1);
    }
    summary("allocated", &allocated);
    summary("process", &process);
    verdicts(text);
}

fn verdicts(text: &str) {
    println!("### Does it fit a T4?\n\n| run | outcome | process MiB | predicted to fit | predicted MiB |");
    println!("|---|---|---|---|---|");
    let card = CardModel::of((7, 5)).with_visible(Bytes::mib(14_912));
    for row in rows(text, "verdicts", Kernels::Cuda(7, 5)) {
        let device = device_peak(&row.config, &row.setup, card);
        let outcome = row.figures["outcome"].as_str().unwrap();
        let measured =
            row.figures["process_mib"].as_f64().map_or("–".to_owned(), |mib| format!("{mib:.0}"));
        let predicted = device.total().as_mib();
        println!("| {} | {outcome} | {measured} | {} | {predicted:.0} |", row.name, device.fits);
    }
    println!(
        "\nOf the one that is wrong, Qwen2.5-7B with a batch of 2, 39 MiB are left by the prediction. The same"
    );
    println!(
        "model with a batch of 1 was seen to take 11,887, 12,021 and 13,413 MiB in three runs: with the"
    );
    println!(
        "Transformers of these rows 4-bit weights arrived by several threads, in another order each time."
    );
}

fn cell(row: &Row, figure: &str, predicted: u64) -> (String, f64) {
    let measured = row.figures["mib"][figure].as_f64().unwrap();
    let error = error(predicted, measured * MIB);
    (format!("{measured:.0} | {:.0} | {error:+.2} %", predicted as f64 / MIB), error)
}

fn summary(what: &str, errors: &[f64]) {
    let (median, worst) = median_and_worst(errors);
    let under = errors.iter().filter(|error| **error < -0.05).count();
    println!(
        "\n{what}: {} figures, median {median:.3} %, worst {worst:.2} %, {under} under by more than 0.05 %.\n",
        errors.len()
    );
}
