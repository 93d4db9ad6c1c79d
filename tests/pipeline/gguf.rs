//! A GGUF file in the place of a model folder: evaluated, and as the base of a study.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{Ran, TinyStudy, diapason};

fn run(study: &TinyStudy, arguments: &[&str]) -> Ran {
    Ran::of(diapason(arguments).current_dir(study.path(".")).output().unwrap())
}

/// A study with the GGUF file of its base model beside it.
fn with_gguf(kind: &str) -> TinyStudy {
    let study = TinyStudy::new();
    study.write("base/chat_template.jinja", b"{{ messages }}");
    assert_eq!(run(&study, &["quantize", "base", "-t", kind, "--output", "."]).code, Some(0));
    study
}

fn eval(study: &TinyStudy, model: &str, rest: &[&str]) -> Value {
    run(study, &[&["eval", model, "--json", "--data"], rest].concat()).json()
}

fn loss(evaluated: &Value) -> f64 {
    evaluated["loss_nats"].as_f64().unwrap()
}

#[test]
fn a_gguf_and_its_folder_evaluate_alike_and_each_by_its_own_tokenizer() {
    let study = with_gguf("f32");
    let text = " The élan, as all know, browses.\r\n\n12345 🙂 <|endoftext|> ".repeat(40);
    study.write("text.txt", text.as_bytes());
    for rest in [&["text.txt"][..], &["text.txt", "--max-length", "33"], &["rows.csv"]] {
        let (folder, gguf) = (eval(&study, "base", rest), eval(&study, "base-f32.gguf", rest));
        assert_eq!(folder["tokens"], gguf["tokens"], "{rest:?}");
        let difference = (loss(&folder) - loss(&gguf)).abs();
        assert!(difference < 1e-6 && loss(&folder) > 1.0, "{rest:?}: {folder} {gguf}");
        let perplexity = gguf["perplexity"].as_f64().unwrap();
        assert!((perplexity - loss(&gguf).exp()).abs() < 1e-9 * perplexity, "{gguf}");
    }
    let other = eval(&study, "base-f32.gguf", &["text.txt", "--tokenizer", "base"]);
    assert_eq!(other, eval(&study, "base-f32.gguf", &["text.txt"]));
}

#[test]
fn every_token_of_a_text_but_the_first_of_each_window_is_scored() {
    let study = TinyStudy::new();
    // Bytes that no merge joins: one token each.
    study.write("text.txt", "§¶".repeat(25).as_bytes());
    for (max_length, windows) in [(100, 1), (99, 2), (50, 2), (30, 4), (2, 50)] {
        let length = max_length.to_string();
        let tokens = eval(&study, "base", &["text.txt", "--max-length", &length])["tokens"].as_u64();
        assert_eq!(tokens, Some(100 - windows), "windows of {length}");
    }
}

fn modified(file: &Path) -> std::time::SystemTime {
    fs::metadata(file).unwrap().modified().unwrap()
}

#[test]
fn a_study_whose_source_is_a_gguf_unpacks_it_once_and_tunes_it() {
    let study = with_gguf("q8_0")
        .set("model.source", "base-q8_0.gguf")
        .set("space.precision", "f32")
        .set("search.trials", 1)
        .set("search.max_micro_batch_size", 2)
        .set("quantize.types", "q8_0");
    // Nothing but the file is left of the model.
    fs::remove_dir_all(study.path("base")).unwrap();
    let ran = study.run(&["run", "--json"]);
    let summary = ran.json();
    assert!(ran.stderr.contains("unpacking base-q8_0.gguf"), "{}", ran.stderr);
    let losses = &summary["test_loss_nats"];
    assert!(losses["tuned"].as_f64().unwrap() < losses["base"].as_f64().unwrap() - 0.1, "{losses}");
    let base = study.path("results/base-from-gguf");
    let template = fs::read_to_string(study.path("results/model/tokenizer_config.json")).unwrap();
    assert!(template.contains("{{ messages }}"), "{template}");
    let origin: Value = serde_json::from_slice(&fs::read(base.join("unpacked-from.json")).unwrap()).unwrap();
    assert_eq!(origin["file"], "base-q8_0.gguf");

    let before = modified(&base.join("model.safetensors"));
    let again = study.run(&["run", "--json"]);
    assert!(!again.stderr.contains("unpacking"), "{}", again.stderr);
    assert_eq!(again.json()["test_loss_nats"], *losses);
    assert_eq!(modified(&base.join("model.safetensors")), before);

    let mut bytes = fs::read(study.path("base-q8_0.gguf")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    study.write("base-q8_0.gguf", &bytes);
    let changed = study.run(&["run"]);
    assert_eq!(changed.code, Some(2));
    assert!(changed.stderr.contains("base-q8_0.gguf has changed"), "{}", changed.stderr);
}
