//! Bad input to the commands that take no study.

use std::path::Path;

use crate::common::{Ran, TinyStudy, diapason};
use crate::refusal::check;

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(diapason(arguments).current_dir(folder).output().unwrap())
}

#[test]
fn an_unknown_gguf_type_is_refused_with_those_that_are_known() {
    let study = TinyStudy::new();
    check(&run(&study.path("."), &["quantize", "base", "-t", "q8_0,q9_0"]), 2, &["`q9_0`", "q4_k_m"]);
    assert!(study.files().iter().all(|file| file.extension().is_none_or(|end| end != "gguf")));
}

#[test]
fn quantizing_what_is_no_model_is_refused() {
    let study = TinyStudy::new();
    check(&run(&study.path("."), &["quantize", "no-model"]), 2, &["no-model"]);
    study.write("base/model.safetensors", b"short");
    check(&run(&study.path("."), &["quantize", "base"]), 2, &["base/model.safetensors"]);
    study.write("base/tokenizer.json", b"{}");
    check(&run(&study.path("."), &["quantize", "base"]), 2, &["base/tokenizer.json"]);
}

#[test]
fn evaluating_what_is_no_model_is_refused() {
    let study = TinyStudy::new();
    let folder = study.path(".");
    check(&run(&folder, &["eval", "no-model", "--data", "rows.csv"]), 2, &["no-model"]);
    check(&run(&folder, &["eval", "base", "--data", "no.csv"]), 2, &["no.csv"]);
    check(&run(&folder, &["eval", "base", "--data", "rows.xls"]), 2, &["xls"]);
    check(
        &run(&folder, &["eval", "rows.csv", "--data", "rows.csv"]),
        2,
        &["rows.csv", "neither a folder nor a GGUF file"],
    );
    study.write("model.gguf", b"no gguf");
    check(
        &run(&folder, &["eval", "model.gguf", "--data", "rows.csv"]),
        2,
        &["model.gguf", "not a GGUF file"],
    );
    check(
        &run(&folder, &["eval", "none.gguf", "--data", "rows.csv"]),
        2,
        &["none.gguf: there is no such file"],
    );
    check(
        &run(&folder, &["eval", "model.gguf", "--data", "rows.csv", "--tokenizer", "base"]),
        2,
        &["model.gguf"],
    );
    let ran = run(&folder, &["eval", "base", "--data", "rows.csv", "--max-length", "1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("'--max-length <N>'") && ran.stderr.contains("2.."), "{}", ran.stderr);
    check(&run(&folder, &["eval", "base", "--data", "rows.csv", "--max-length", "600"]), 2, &["600", "128"]);
}

/// The bytes of a GGUF with a text replaced by one as long.
fn changed(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut changed = bytes.to_vec();
    changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    changed
}

#[test]
fn evaluating_a_damaged_or_foreign_gguf_says_what_is_wrong_with_it() {
    let study = TinyStudy::new();
    let folder = study.path(".");
    assert_eq!(run(&folder, &["quantize", "base", "-t", "f16"]).code, Some(0));
    let whole = std::fs::read(study.path("base/base-f16.gguf")).unwrap();
    for (bytes, told) in [
        (whole[..whole.len() - 64].to_vec(), "cut off"),
        (whole[..1000].to_vec(), "unreadable GGUF header"),
        (changed(&whole, "\u{5}\0\0\0\0\0\0\0llama", "\u{5}\0\0\0\0\0\0\0qwen2"), "architecture `qwen2`"),
        (
            changed(&whole, "tokenizer.ggml.model", "tokenizer.ggml.muddl"),
            "`tokenizer.ggml.model` is missing",
        ),
        (changed(&whole, "gpt-2", "gpt-3"), "known are gpt-2"),
    ] {
        study.write("model.gguf", &bytes);
        let ran = run(&folder, &["eval", "model.gguf", "--data", "rows.csv"]);
        check(&ran, 2, &["model.gguf", told]);
    }
}
