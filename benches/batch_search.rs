//! This program's search for the largest micro-batch, on memory that was measured before.
//!
//! `cargo bench --bench batch_search -- CURVES` reads from its standard input a JSON list of cases,
//! `{"curve": NAME, "cap": BYTES}`, and writes one of what the search did: `{"probes": [SIZE…], "result": SIZE}`,
//! the result null where nothing fits. `CURVES` is the file of `memory_curves`; sizes beyond those in it are not
//! asked for. As `fit` does it, evaluation's peak is no part of the question: its batch is a separate answer. Used by `benches/peers/batch_finders.sh`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use diapason::search::{NextProbe, next_probe};
use diapason::space::{HardwareSetting, Precision};
use diapason::trial::{Measurement, Outcome, Phase, PhasePeak, ProbeRecord};
use diapason::units::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Parser)]
struct Arguments {
    /// What `memory_curves` wrote.
    curves: PathBuf,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Deserialize)]
struct Curves {
    curves: Vec<Curve>,
}

/// Position 0 of each list is size 1.
#[derive(Deserialize)]
struct Curve {
    name: String,
    precision: Precision,
    measured: BTreeMap<Phase, Vec<u64>>,
    predicted: BTreeMap<Phase, Vec<u64>>,
}

#[derive(Deserialize)]
struct Case {
    curve: String,
    cap: u64,
}

#[derive(Serialize)]
struct Answer {
    probes: Vec<usize>,
    result: Option<usize>,
}

fn main() -> Result<()> {
    let Arguments { curves: file, .. } = Arguments::parse();
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let Curves { curves } = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    let mut cases = String::new();
    io::stdin().read_to_string(&mut cases)?;
    let cases: Vec<Case> = serde_json::from_str(&cases).context("cases on standard input")?;
    let answers = cases.iter().map(|case| {
        let curve = curves.iter().find(|curve| curve.name == case.curve);
        Ok(search(curve.with_context(|| format!("no curve `{}`", case.curve))?, Bytes(case.cap)))
    });
    let answers = answers.collect::<Result<Vec<Answer>>>()?;
    Ok(writeln!(io::stdout(), "{}", serde_json::to_string(&answers)?)?)
}

/// The search as `fit` runs it, each probe answered by the curve.
fn search(curve: &Curve, cap: Bytes) -> Answer {
    let mut records: Vec<ProbeRecord> = Vec::new();
    loop {
        let known: Vec<&ProbeRecord> = records.iter().collect();
        match next(&known, cap, curve) {
            NextProbe::Probe(size) => records.push(curve.probe(size, cap)),
            NextProbe::Done(result) => {
                return Answer {
                    probes: records.iter().map(|record| record.micro_batch_size).collect(),
                    result,
                };
            }
        }
    }
}

/// The one place that knows how the search is called.
fn next(known: &[&ProbeRecord], cap: Bytes, curve: &Curve) -> NextProbe {
    next_probe(known, Some(cap), curve.largest(), &|size| at(&curve.predicted, size))
}

/// The peaks of training's phases at a size; an evaluation's batch is a separate answer.
fn at(phases: &BTreeMap<Phase, Vec<u64>>, size: usize) -> Vec<PhasePeak> {
    let training = phases.iter().filter(|(phase, _)| **phase != Phase::Evaluate);
    training.map(|(phase, bytes)| PhasePeak { phase: *phase, peak_bytes: Bytes(bytes[size - 1]) }).collect()
}

impl Curve {
    fn largest(&self) -> usize {
        self.measured.values().map(Vec::len).min().unwrap_or(0)
    }

    fn probe(&self, micro_batch_size: usize, cap: Bytes) -> ProbeRecord {
        let measurement =
            Measurement { peaks: at(&self.measured, micro_batch_size), ..Measurement::default() };
        let outcome = if measurement.peak_bytes() <= cap {
            Outcome::Finished
        } else {
            Outcome::OutOfMemory { requested: None, live: cap, cap: Some(cap) }
        };
        // A probe that was refused has not seen the peaks it did not reach.
        let measurement = if outcome == Outcome::Finished { measurement } else { Measurement::default() };
        ProbeRecord {
            setting: HardwareSetting::plain(self.precision),
            micro_batch_size,
            eval_micro_batch_size: micro_batch_size,
            budget: Some(cap),
            outcome,
            measurement,
        }
    }
}
