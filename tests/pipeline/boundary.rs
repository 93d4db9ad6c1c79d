//! The largest micro-batch is the largest: it runs, and a little more is out of memory.

use diapason::arch::ModelConfig;
use diapason::space::Margin;
use diapason::space::{DeviceSpec, Precision};
use diapason::trial::{Event, Measurement, Outcome, Task};
use diapason::units::Bytes;

use crate::child::{run, spec};
use crate::common::{TinyStudy, config};

/// Probes may hold 20 MiB of it: 40 examples in bf16 take 19, and 20 examples in f32 take 21.
const CAP: Bytes = Bytes::mib(28);
const LIMIT: usize = 40;
/// What the threads of attention may or may not hold at a peak.
const SCRATCH: Bytes = Bytes::mib(1);

/// So wide that five examples take more memory than scratch does.
fn wide() -> ModelConfig {
    ModelConfig { hidden_size: 128, intermediate_size: 512, head_dim: 32, ..config() }
}

/// How a probe of `micro` examples ends under the cap of the study's probes.
fn probe(study: &TinyStudy, precision: Precision, micro: usize) -> (Outcome, Bytes) {
    let task = Task::Probe { steps: 2, max_length: None, timed: vec![], scratch: study.path("scratch") };
    let mut spec = spec(study, (micro, 1), task);
    spec.device = DeviceSpec::Cpu { cap: Some(CAP.saturating_sub(Margin::default().0)) };
    spec.hyperparams.precision = precision;
    let events = run(&spec);
    let mut measurement = Measurement::default();
    for event in &events {
        measurement.fold(event);
    }
    let outcome = events.last().and_then(Outcome::from_last_word).unwrap();
    (outcome, measurement.peak_bytes())
}

fn largest(fitted: &serde_json::Value, precision: &str) -> usize {
    let points = fitted["frontier"].as_array().unwrap();
    let point = points.iter().find(|point| point["precision"] == precision).unwrap();
    assert!(point["peak_bytes"].as_u64().unwrap() <= CAP.saturating_sub(Margin::default().0).0, "{point}");
    usize::try_from(point["max_micro_batch"].as_u64().unwrap()).unwrap()
}

#[test]
fn the_largest_micro_batch_runs_and_one_more_is_over_the_cap() {
    let study = TinyStudy::of(&wide())
        .set("study.device", "cpu:28MiB")
        .set("data.max_length", 128)
        .set("search.max_micro_batch_size", i64::try_from(LIMIT).unwrap());
    let fitted = study.run(&["fit", "--json"]).json();
    assert_eq!(largest(&fitted, "bf16"), LIMIT, "half the activations: all of the limit fits");
    let largest = largest(&fitted, "f32");
    assert!((10..LIMIT).contains(&largest), "{largest}");
    let (outcome, one_more) = probe(&study, Precision::F32, largest + 1);
    let room = CAP.saturating_sub(Margin::default().0).saturating_sub(one_more);
    assert!(outcome != Outcome::Finished || room < SCRATCH, "{} fits with {room} to spare", largest + 1);
    let (outcome, _) = probe(&study, Precision::F32, largest + 5);
    assert!(matches!(outcome, Outcome::OutOfMemory { requested: Some(_), .. }), "{outcome:?}");
    // A trial of the largest has the margin on top, whatever threads hold.
    let mut spec = spec(
        &study,
        (largest, 1),
        Task::Probe { steps: 2, max_length: None, timed: vec![], scratch: study.path("scratch") },
    );
    spec.device = DeviceSpec::Cpu { cap: Some(CAP) };
    assert_eq!(run(&spec).last(), Some(&Event::Finished));
}
