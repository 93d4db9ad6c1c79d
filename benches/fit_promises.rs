//! What `fit` promises, over seeded random settings on capped processors.
//!
//! `cargo bench --bench fit_promises` runs 220 settings, each with one example more than its answer, and every third
//! with a full fine-tune; `-- N` runs so many. It prints a summary in Markdown and, last, one line of JSON.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures, not a part of the product"
)]
#![expect(clippy::cast_precision_loss, reason = "counts of settings")]

#[path = "../tests/common/promise.rs"]
mod promise;

use diapason::search::Boundary;
use diapason::trial::Outcome;
use promise::{Kept, kept};

/// Bytes that threads may or may not hold at a peak.
const SCRATCH: u64 = 1 << 20;

fn main() {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let settings: u64 = number.unwrap_or(220);
    let all: Vec<Kept> = (0..settings).map(|seed| told(seed, kept(seed, seed % 3 == 0))).collect();
    let of = |is: fn(&Kept) -> bool| all.iter().filter(|kept| is(kept)).count();
    let found = of(|kept| kept.point.is_some());
    let mean = |of: fn(&Kept) -> usize| all.iter().map(of).sum::<usize>() as f64 / all.len() as f64;
    let refused = of(|kept| kept.one_more.as_ref().is_some_and(|outcome| *outcome != Outcome::Finished));
    let at_limit = of(|kept| kept.point.as_ref().is_some_and(|point| point.boundary == Boundary::Limit));
    let within = of(|kept| kept.room.is_some_and(|room| room.0 < SCRATCH));
    let (full, whole) =
        (of(|kept| kept.full_run.is_some()), of(|kept| kept.full_run == Some(Outcome::Finished)));
    println!("| | |\n|---|---:|");
    println!("| settings | {settings} |\n| in which something fits | {found} |");
    println!(
        "| mean probes | {:.2} |\n| mean out-of-memory | {:.2} |",
        mean(|kept| kept.probes),
        mean(|kept| kept.refusals)
    );
    println!("| one example more is refused | {refused} |\n| the limit of the search fits | {at_limit} |");
    println!("| one more fits by less than 1 MiB of threads' scratch | {within} |");
    println!("| full fine-tunes at the answer | {full} |\n| of which ran to their end | {whole} |");
    let summary = serde_json::json!({
        "bench": "fit_promises", "settings": settings, "found": found, "mean_probes": mean(|kept| kept.probes),
        "mean_out_of_memory": mean(|kept| kept.refusals), "one_more_refused": refused, "at_limit": at_limit,
        "one_more_within_scratch": within, "full_runs": full, "full_runs_finished": whole,
    });
    println!("{summary}");
}

fn told(seed: u64, kept: Kept) -> Kept {
    let max = kept.point.as_ref().map_or(0, |point| point.max_micro_batch);
    let name = |outcome: &Option<Outcome>| outcome.as_ref().map_or("–", Outcome::name);
    eprintln!(
        "{seed:>3} {:<60} {max:>3} in {} probes, {} refused; one more: {} {:?}; full: {}",
        kept.setting,
        kept.probes,
        kept.refusals,
        name(&kept.one_more),
        kept.room,
        name(&kept.full_run)
    );
    kept
}
