//! A realistic report for tests and for eyes: invented, deterministic.

use crate::report::{
    DataSummary, FrontierRow, ModelSummary, Provenance, QuantizedRow, Setting, StudyReport, TunedModel,
};
use crate::space::{BatchPlan, HardwareSetting, Hyperparams, Precision};
use crate::trial::{
    EvalPoint, History, Measurement, Outcome, Phase, PhasePeak, ProbeRecord, RungRecord, StepPoint, Trial,
    TrialId,
};
use crate::units::Bytes;

/// Examples of the training split and length of the full run in examples.
const TRAIN: usize = 1200;
const HORIZON: usize = 3 * TRAIN;
const CAP: Bytes = Bytes::gib(1);
/// What the study tries.
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// A number in [-1, 1] that follows from `seed` (the finalizer of `SplitMix64`).
#[expect(clippy::cast_precision_loss, reason = "noise")]
fn noise(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// The study of the example, with 24 trials.
pub(super) fn study() -> StudyReport {
    with_trials(24)
}

/// The example with so many trials; the best is the one that `History` calls so.
pub(super) fn with_trials(count: TrialId) -> StudyReport {
    let history = History { trials: (0..count).map(|id| trial(id, count)).collect() };
    let best = history.best().map(|(trial, _)| trial.id);
    let (frontier, probes) = (frontier(), probes());
    StudyReport {
        study: "devils-dictionary".to_owned(),
        provenance: Provenance {
            device: "cpu, 2 threads, AVX2".to_owned(),
            cap: Some(CAP),
            version: "0.1.0".to_owned(),
            seed: 42,
            date: "2026-11-24".to_owned(),
            wall_seconds: 4321.0,
        },
        model: model(),
        data: data(),
        frontier,
        probes,
        confirmation: None,
        stopped: None,
        untested: None,
        cut_short: None,
        history,
        best,
        full_run: None,
        tuned: Some(TunedModel {
            path: "results/devils-dictionary/model".to_owned(),
            bytes: Bytes::mib(51),
            base_test_loss_nats: 4.9123,
            test_loss_nats: 3.8714,
        }),
        quantized: quantized(),
        settings: settings(),
    }
}

/// A study that has not begun.
pub(super) fn empty() -> StudyReport {
    StudyReport {
        frontier: Vec::new(),
        probes: Vec::new(),
        history: History::default(),
        best: None,
        tuned: None,
        quantized: Vec::new(),
        settings: Vec::new(),
        ..study()
    }
}

fn model() -> ModelSummary {
    ModelSummary {
        source: "new model".to_owned(),
        digest: "sha256:5f1c9a…e2".to_owned(),
        parameters: 13_370_112,
        vocabulary: 8192,
        layers: 8,
        hidden: 288,
    }
}

fn data() -> DataSummary {
    DataSummary {
        source: "search-spaces/quickstart/devils-dictionary.csv".to_owned(),
        digest: "sha256:07aa31…9c".to_owned(),
        rows_read: 1620,
        empty: 3,
        duplicate: 17,
        too_long: 100,
        kept: 1500,
        train: TRAIN,
        validation: 150,
        test: 150,
    }
}

fn quantized() -> Vec<QuantizedRow> {
    let row = |gguf_type: &str, mib: u64, test_loss_nats| QuantizedRow {
        gguf_type: gguf_type.to_owned(),
        path: format!("results/devils-dictionary/model-{gguf_type}.gguf"),
        bytes: Bytes::mib(mib),
        test_loss_nats,
    };
    vec![
        row("f16", 26, 3.8715),
        row("q8_0", 14, 3.8722),
        row("q6_k", 11, 3.8741),
        row("q5_k_m", 10, 3.8795),
        row("q4_k_m", 8, 3.9012),
        row("q4_0", 8, 3.9103),
        row("q2_k", 5, 4.1377),
    ]
}

fn settings() -> Vec<Setting> {
    let setting = |key: &str, value: &str, is_default| Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        is_default,
    };
    vec![
        setting("study.seed", "42", true),
        setting("data.path", "search-spaces/quickstart/devils-dictionary.csv", false),
        setting("space.learning_rate", "1e-5 … 3e-3 (log)", false),
        setting("space.effective_batch_size", "8, 16, 32, 64", true),
        setting("train.epochs", "3", false),
        setting("train.schedule", "cosine", true),
        setting("train.warmup_fraction", "0.03", true),
    ]
}

fn frontier() -> Vec<FrontierRow> {
    let row = |precision, max, knee, mib, tokens_per_second, probes| FrontierRow {
        setting: HardwareSetting::plain(precision),
        max_micro_batch_size: max,
        max_eval_micro_batch_size: 64,
        is_lower_bound: false,
        knee_micro_batch_size: knee,
        peak_bytes: Bytes::mib(mib),
        tokens_per_second,
        probes,
    };
    vec![row(Precision::F32, 37, 8, 1011, 1176.0, 7), row(Precision::Bf16, 66, 16, 1012, 1516.2, 8)]
}

/// Peaks affine in the micro-batch, throughput that saturates, and three refusals.
fn probes() -> Vec<ProbeRecord> {
    let sizes = |precision| match precision {
        Precision::F32 => ([1, 2, 4, 8, 16, 37].as_slice(), 38),
        Precision::Bf16 | Precision::F16 => ([1, 2, 4, 8, 16, 32, 66].as_slice(), 67),
    };
    let of_precision = |precision| {
        let (fit, refused) = sizes(precision);
        let ran = fit.iter().map(move |size| probe(precision, *size));
        ran.chain([refused_probe(precision, refused)])
    };
    let mut probes: Vec<ProbeRecord> = PRECISIONS.into_iter().flat_map(of_precision).collect();
    probes.push(refused_probe(Precision::F32, 128));
    probes
}

/// A probe that fits.
pub(super) fn probe(precision: Precision, micro_batch_size: usize) -> ProbeRecord {
    let (per_example, speed) = match precision {
        Precision::F32 => (24, 1400.0),
        Precision::Bf16 => (13, 1800.0),
        Precision::F16 => (13, 1300.0),
    };
    let saturation = f64::from(u32::try_from(micro_batch_size).unwrap());
    let tokens_per_second = speed * saturation / (saturation + 1.5);
    let peak_bytes = Bytes::mib(150 + per_example * micro_batch_size as u64);
    ProbeRecord {
        setting: HardwareSetting::plain(precision),
        micro_batch_size,
        eval_micro_batch_size: micro_batch_size,
        budget: Some(CAP),
        outcome: Outcome::Finished,
        measurement: Measurement {
            steps: vec![step(1, 9.0, 1e-5, 1000.0 / tokens_per_second); 3],
            peaks: vec![PhasePeak { phase: Phase::Loss, peak_bytes }],
            ..measurement()
        },
    }
}

/// A probe that does not.
pub(super) fn refused_probe(precision: Precision, micro_batch_size: usize) -> ProbeRecord {
    let outcome = Outcome::OutOfMemory {
        requested: Some(Bytes::mib(3 * micro_batch_size as u64)),
        live: Bytes::mib(980),
        cap: Some(CAP),
    };
    ProbeRecord {
        setting: HardwareSetting::plain(precision),
        micro_batch_size,
        eval_micro_batch_size: micro_batch_size,
        budget: Some(CAP),
        outcome,
        measurement: measurement(),
    }
}

fn measurement() -> Measurement {
    Measurement { device: "cpu".to_owned(), version: "0.1.0".to_owned(), ..Measurement::default() }
}

fn step(step: usize, loss_nats: f64, learning_rate: f64, seconds: f64) -> StepPoint {
    StepPoint {
        step,
        loss_nats,
        learning_rate,
        grad_norm: Some(1.0),
        update_ratio: None,
        noise: None,
        tokens: 1000,
        seconds,
    }
}

/// Trial `id` of `count`: one of nine reaches rung 2, one of three rung 1; high rates diverge.
fn trial(id: TrialId, count: TrialId) -> Trial {
    let unit = f64::midpoint(noise(u64::from(id) + 7), 1.0);
    let learning_rate = if id == 0 { 2e-5 } else { 1e-5 * 300f64.powf(unit) };
    let effective = [8, 16, 32, 64][id as usize % 4];
    let precision = PRECISIONS[id as usize / 2 % 2];
    let batch = BatchPlan {
        micro_batch_size: effective.min(16),
        gradient_accumulation_steps: effective.div_ceil(16),
    };
    let hyperparams = Hyperparams { precision, batch, learning_rate };
    let quality = quality(&hyperparams);
    let top = match (id, quality) {
        _ if learning_rate > 1.6e-3 => 0,
        (_, quality) if quality < 0.06 => 2,
        (id, quality) if quality < 0.2 || id == 0 => 1,
        _ => 0,
    };
    let mut rungs: Vec<RungRecord> = (0..=top).map(|rung| rung_record(id, &hyperparams, rung)).collect();
    if let Some(outcome) = failure(id, count, learning_rate)
        && let Some(last) = rungs.last_mut()
    {
        last.outcome = outcome;
        last.measurement.evals.clear();
    }
    Trial { id, hyperparams, rungs }
}

/// How far the configuration is from the best one: 0 at a rate of 3e-4 × (batch / 16)^0.3.
fn quality(hyperparams: &Hyperparams) -> f64 {
    let batch = f64::from(u32::try_from(hyperparams.batch.effective_batch_size()).unwrap());
    let best = 3e-4 * (batch / 16.0).powf(0.3);
    0.08 * (hyperparams.learning_rate / best).ln().powi(2) + if batch > 32.0 { 0.05 } else { 0.0 }
}

fn failure(id: TrialId, count: TrialId, learning_rate: f64) -> Option<Outcome> {
    match id {
        _ if learning_rate > 1.6e-3 => Some(Outcome::Diverged { step: 11 }),
        5 => Some(Outcome::OutOfMemory {
            requested: Some(Bytes::mib(96)),
            live: Bytes::mib(971),
            cap: Some(CAP),
        }),
        _ if id + 3 == count => Some(Outcome::Crashed {
            signal: Some(9),
            exit_code: None,
            stderr_tail: "memory allocation of 1048576 bytes failed".to_owned(),
        }),
        _ => None,
    }
}

fn rung_record(id: TrialId, hyperparams: &Hyperparams, rung: u32) -> RungRecord {
    let batch = hyperparams.batch.effective_batch_size();
    let end = |rung: u32| HORIZON / 3usize.pow(2 - rung) / batch;
    let first = rung.checked_sub(1).map_or(0, end) + 1;
    let stop_at_step = end(rung);
    let loss_at = |step: usize, seed: u64, spread: f64| {
        let seen = f64::from(u32::try_from(step * batch).unwrap());
        3.7 + quality(hyperparams) + 1.3 * (-seen / 700.0).exp() + spread * noise(seed + step as u64 * 131)
    };
    let evaluate_every = (HORIZON / batch / 18).max(1);
    let seed = u64::from(id) << 32;
    let steps = (first..=stop_at_step)
        .map(|at| step(at, loss_at(at, seed, 0.25) - 0.05, hyperparams.learning_rate, 0.7));
    let evals =
        (first..=stop_at_step).filter(|at| at % evaluate_every == 0 || *at == stop_at_step).map(|at| {
            EvalPoint { step: at, loss_nats: loss_at(at, seed, 0.015) + 0.1, tokens: 9000, seconds: 2.0 }
        });
    let peak_bytes = Bytes::mib(150 + 24 * hyperparams.batch.micro_batch_size as u64);
    let peaks = vec![PhasePeak { phase: Phase::Backward, peak_bytes }];
    RungRecord {
        rung,
        stop_at_step,
        outcome: Outcome::Finished,
        measurement: Measurement { steps: steps.collect(), evals: evals.collect(), peaks, ..measurement() },
    }
}
