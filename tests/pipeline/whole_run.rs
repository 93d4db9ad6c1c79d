//! `run` from nothing to report, and once more.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use diapason::quantize;
use diapason::store::Store;
use diapason::trial::{Confirmation, Measurement, RunKey};
use serde_json::Value;

use crate::common::{TinyStudy, config};

const CAP: u64 = 256 << 20;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn path(value: &Value) -> &Path {
    Path::new(value.as_str().unwrap())
}

fn check_frontier(frontier: &Value) {
    let points = frontier.as_array().unwrap();
    assert_eq!(points.iter().map(|point| &point["precision"]).collect::<Vec<_>>(), ["f32", "bf16"]);
    for point in points {
        assert!((1..=CAP).contains(&count(&point["peak_bytes"])), "{point}");
        assert_eq!(count(&point["max_micro_batch"]), 8, "the study's limit: {point}");
        assert!((1..=8).contains(&count(&point["knee_micro_batch"])), "{point}");
        assert!(count(&point["probes"]) >= 2 && number(&point["tokens_per_second"]) > 0.0, "{point}");
    }
}

fn check_best(summary: &Value) {
    let counts = summary["trials"].as_object().unwrap();
    assert_eq!(counts.values().map(count).sum::<u64>(), 3, "{counts:?}");
    assert_eq!(count(&counts["finished"]), 3, "{counts:?}");
    let best = &summary["best"];
    assert!(count(&best["trial"]) < 3 && number(&best["eval_loss_nats"]) > 0.0, "{best}");
    let point = &best["hyperparameters"];
    let batch = count(&point["micro_batch_size"]) * count(&point["gradient_accumulation_steps"]);
    assert!([2, 4].contains(&batch), "{point}");
    assert!((1e-3..=1e-2).contains(&number(&point["learning_rate"])), "{point}");
    assert!(["f32", "bf16"].contains(&point["precision"].as_str().unwrap()), "{point}");
}

fn check_quantized(summary: &Value) {
    let files = summary["quantized"].as_array().unwrap();
    assert_eq!(files.iter().map(|file| &file["type"]).collect::<Vec<_>>(), ["q8_0", "q4_k_m"]);
    let tuned = number(&summary["test_loss_nats"]["tuned"]);
    for file in files {
        let bytes = fs::metadata(path(&file["path"])).unwrap().len();
        assert_eq!(count(&file["bytes"]), bytes);
        assert!((number(&file["test_loss_nats"]) - tuned).abs() < 0.5, "{file}, tuned {tuned}");
        let model = quantize::read(path(&file["path"])).unwrap();
        assert_eq!(model.config.hidden_size, config().hidden_size);
        assert!(model.tensors.contains_key("model.embed_tokens.weight"));
    }
    assert!(count(&files[0]["bytes"]) > count(&files[1]["bytes"]));
}

/// The best two were compared on the examples that every run has told of.
fn check_confirmation(summary: &Value, store: &Store) {
    let (history, confirmations) = (store.history().unwrap(), store.confirmations().unwrap());
    let rungs = history
        .trials
        .iter()
        .flat_map(|trial| trial.rungs.iter().map(|record| RunKey::from((trial.id, record.rung))));
    let runs = rungs.chain(confirmations.iter().map(Confirmation::key));
    // A history sums up; what each example lost is asked for run by run.
    let measured: Vec<Measurement> = runs.map(|run| store.partial(run).unwrap()).collect();
    let first = measured[0].examples.as_ref().unwrap();
    for measurement in &measured {
        let examples = measurement.examples.as_ref().unwrap();
        assert!(examples.tokens == first.tokens && examples.nats.len() == first.tokens.len());
        let loss = measurement.eval_loss_nats().unwrap();
        assert!((examples.loss_nats() - loss).abs() < 1e-9, "{examples:?}, loss {loss}");
    }
    let confirmation = &summary["confirmation"];
    let contest = &confirmation["contests"][0];
    assert!(number(&contest["comparison"]["difference_nats"]) >= 0.0, "{confirmation}");
    assert!(
        number(&contest["comparison"]["low"]) <= number(&contest["comparison"]["high"]),
        "{confirmation}"
    );
    assert_eq!(confirmation["winner"], summary["best"]["trial"]);
    assert_eq!(confirmation["runs"].as_array().unwrap().len(), confirmations.len());
    assert_eq!(summary["stopped"], serde_json::json!({ "reason": "trials", "trials": 3 }));
}

/// Everything the machine-readable end tells, but how long it took.
fn check_summary(study: &TinyStudy, summary: &Value) {
    let mut keys: Vec<&str> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "best",
        "confirmation",
        "critical_batch_sizes",
        "cut_short",
        "device",
        "frontier",
        "hub_model",
        "quantized",
        "report",
        "stopped",
        "study",
        "test_loss_nats",
        "trials",
        "wall_seconds",
    ];
    assert_eq!(keys, expected);
    assert_eq!(summary["study"], "tiny");
    let device = summary["device"].as_str().unwrap();
    assert!(device.starts_with("cpu: ") && device.ends_with(", cap 256 MiB"), "{device}");
    check_frontier(&summary["frontier"]);
    check_best(summary);
    let losses = &summary["test_loss_nats"];
    assert!(number(&losses["tuned"]) < number(&losses["base"]) - 0.5, "{losses}");
    check_quantized(summary);
    let page = fs::read_to_string(path(&summary["report"])).unwrap();
    assert!(page.contains("tiny") && page.trim_end().ends_with("</html>"));
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(study.path("results/model").join(name).is_file(), "{name}");
    }
    assert!(number(&summary["wall_seconds"]) > 0.0);
}

fn without_time(mut summary: Value) -> Value {
    summary.as_object_mut().unwrap().remove("wall_seconds");
    summary
}

#[test]
fn a_study_runs_from_nothing_to_its_report_and_not_twice() {
    let study = TinyStudy::new();
    let first = study.run(&["run", "--json"]);
    let summary = first.json();
    check_summary(&study, &summary);
    assert!(first.stderr.contains("prepare: model and data"), "{}", first.stderr);
    let store = Store::open_read_only(&study.path("results/study.db")).unwrap();
    let remembered = (store.history().unwrap(), store.probes().unwrap());
    check_confirmation(&summary, &store);
    // Nothing goes on from the checkpoints of the others any more.
    let kept = fs::read_dir(study.path("results/trials")).unwrap();
    let kept: Vec<String> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(kept, [count(&summary["best"]["trial"]).to_string()]);

    let started = Instant::now();
    let second = study.run(&["run", "--json", "--quiet"]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(second.stderr, "");
    assert_eq!(without_time(second.json()), without_time(summary.clone()));
    assert!(number(&second.json()["wall_seconds"]) >= number(&summary["wall_seconds"]));
    assert_eq!((store.history().unwrap(), store.probes().unwrap()), remembered);

    let status = study.run(&["status", "--json"]);
    // It tells what runs and what ended last besides.
    let told = without_time(status.json());
    for (key, value) in without_time(summary.clone()).as_object().unwrap() {
        assert_eq!(&told[key], value, "{key}");
    }
    assert!(told["running"].as_array().unwrap().is_empty());
    let report = study.run(&["report"]);
    assert_eq!(report.stdout.trim_end(), summary["report"].as_str().unwrap(), "{}", report.stderr);
    assert!(study.files().iter().all(|file| !file.to_string_lossy().contains("/.writing-")));
}

#[test]
fn each_part_of_a_study_goes_on_where_the_last_one_ended() {
    let study = TinyStudy::new().set("space.precision", "f32").set("quantize.types", "q8_0");
    let fitted = study.run(&["fit", "--json"]).json();
    assert!(fitted["best"].is_null() && fitted["trials"].as_object().unwrap().is_empty());
    let tuned = study.run(&["tune", "--json"]).json();
    assert_eq!(tuned["frontier"], fitted["frontier"]);
    assert!(tuned["best"].is_object() && !study.path("results/model").exists());
    let trained = study.run(&["train", "--json"]).json();
    assert_eq!(trained["best"]["trial"], tuned["best"]["trial"]);
    assert!(
        study.path("results/model/model.safetensors").exists()
            && trained["quantized"] == Value::Array(vec![])
    );
    let finished = study.run(&["run", "--json"]).json();
    assert_eq!(finished["best"], trained["best"]);
    assert_eq!(finished["quantized"][0]["type"], "q8_0");
}
