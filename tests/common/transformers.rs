//! Rows of measured memory: what `tests/peers/transformers_memory.py` wrote, and published ones.

use diapason::arch::ModelConfig;
use diapason::memory::transformers::{
    Attention, HalfPrecision, Kernels, Method, Optimizer, TrainingLoop, TransformersSetup, Weights,
};
use diapason::trial::{Phase, PhasePeak};
use serde_json::Value;

/// One configuration that was measured.
pub(crate) struct Row {
    /// Its name in the file.
    pub(crate) name: String,
    /// The model.
    pub(crate) config: ModelConfig,
    /// How it was trained.
    pub(crate) setup: TransformersSetup,
    /// The row as it stands in the file, with its figures.
    pub(crate) figures: Value,
}

/// The rows of a file's list, for the kernels they were measured with.
pub(crate) fn rows(text: &str, list: &str, kernels: Kernels) -> Vec<Row> {
    let document: Value = serde_json::from_str(text).unwrap();
    let rows = document[list].as_array().unwrap();
    rows.iter().map(|row| read(row, kernels)).collect()
}

/// The largest peak of some phases.
pub(crate) fn peak(peaks: &[PhasePeak], phases: &[Phase]) -> u64 {
    let wanted = peaks.iter().filter(|peak| phases.contains(&peak.phase));
    wanted.map(|peak| peak.peak_bytes.0).max().unwrap()
}

/// Per cent that a prediction is above a measurement.
#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
pub(crate) fn error(predicted: u64, measured: f64) -> f64 {
    (predicted as f64 - measured) / measured * 100.0
}

/// The middle of the sizes of errors, and the largest.
pub(crate) fn median_and_worst(errors: &[f64]) -> (f64, f64) {
    let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    (sizes[sizes.len() / 2], *sizes.last().unwrap())
}

fn read(row: &Value, kernels: Kernels) -> Row {
    let setup = &row["setup"];
    let number = |key: &str| usize::try_from(setup[key].as_u64().unwrap()).unwrap();
    let flag = |key: &str| setup[key].as_bool().unwrap();
    let setup = TransformersSetup {
        weights: weights(setup),
        autocast: half(&setup["autocast"]),
        method: method(setup),
        gradient_checkpointing: flag("gradient_checkpointing"),
        attention: match setup["attention"].as_str().unwrap() {
            "eager" => Attention::Eager,
            "sdpa" => Attention::Sdpa,
            _ => Attention::SdpaMath,
        },
        optimizer: if setup["optimizer"] == "adamw-fused" { Optimizer::AdamWFused } else { Optimizer::AdamW },
        training_loop: if setup["loop"] == "script" { TrainingLoop::Script } else { TrainingLoop::Trainer },
        accumulates_gradients: flag("accumulates_gradients"),
        kernels,
        micro_batch_size: number("micro_batch_size"),
        sequence_length: number("sequence_length"),
    };
    let config = ModelConfig::from_json(&row["config"].to_string()).unwrap();
    Row { name: row["name"].as_str().unwrap().to_owned(), config, setup, figures: row.clone() }
}

fn half(name: &Value) -> Option<HalfPrecision> {
    match name.as_str() {
        Some("bf16") => Some(HalfPrecision::Bf16),
        Some("f16") => Some(HalfPrecision::F16),
        _ => None,
    }
}

fn weights(setup: &Value) -> Weights {
    let nf4 = |double_quantized| Weights::Nf4 { double_quantized, compute: half(&setup["compute"]) };
    match setup["weights"].as_str().unwrap() {
        "f32" => Weights::F32,
        "nf4" => nf4(false),
        "nf4-double" => nf4(true),
        _ => Weights::Half(half(&setup["weights"]).unwrap()),
    }
}

fn method(setup: &Value) -> Method {
    if setup["method"] == "full" {
        return Method::Full;
    }
    let targets = setup["targets"].as_array().unwrap();
    Method::Lora {
        rank: usize::try_from(setup["rank"].as_u64().unwrap()).unwrap(),
        targets: targets.iter().map(|target| target.as_str().unwrap().to_owned()).collect(),
        dropout: setup["dropout"].as_f64().unwrap() > 0.0,
    }
}
