//! A model folder that is missing, damaged, or not of the kind we can train.

use std::fs;

use crate::common::{TinyStudy, config};
use crate::refusal::refused;

/// A study whose `config.json` has `from` replaced by `to`.
fn with_config(from: &str, to: &str) -> TinyStudy {
    let study = TinyStudy::new();
    let text = config().to_json();
    assert!(text.contains(from), "{text}");
    study.write("base/config.json", text.replace(from, to).as_bytes());
    study
}

#[test]
fn a_missing_model_folder_is_named() {
    let study = TinyStudy::new().set("model.source", "no-model");
    refused(&study, &["run"], 2, &["no-model", "relative to"]);
}

#[test]
fn a_model_file_that_is_missing_is_named_with_what_belongs_there() {
    for (name, told) in [
        ("config.json", "has no `config.json`"),
        ("model.safetensors", "has no `model.safetensors`"),
        ("tokenizer.json", "tokenizer.json: "),
    ] {
        let study = TinyStudy::new();
        fs::remove_file(study.path("base").join(name)).unwrap();
        refused(&study, &["run"], 2, &["base", told]);
    }
}

#[test]
fn an_architecture_that_is_not_supported_is_named_with_those_that_are() {
    let study = with_config("LlamaForCausalLM", "BertForMaskedLM");
    refused(&study, &["run"], 2, &["base/config.json", "`BertForMaskedLM`", "LlamaForCausalLM"]);
}

#[test]
fn a_target_of_adapters_that_the_model_has_not_is_named_with_those_it_has() {
    let study = TinyStudy::new().set("lora.targets", "query_key_value");
    refused(&study, &["run"], 2, &["`query_key_value`", "lora.targets", "`q_proj`", "all-linear"]);
}

#[test]
fn rotary_embeddings_that_are_not_implemented_are_refused() {
    let scaled =
        |scaling| with_config("\"rope_theta\"", &format!("\"rope_scaling\": {scaling}, \"rope_theta\""));
    let study = scaled(r#"{"rope_type": "yarn", "factor": 8}"#);
    refused(&study, &["run"], 2, &["base/config.json", "`rope_type`", "yarn", "`llama3`"]);
    let study = scaled(r#"{"rope_type": "llama3", "factor": 8}"#);
    refused(&study, &["run"], 2, &["base/config.json", "`low_freq_factor` is missing"]);
}

#[test]
fn a_family_that_no_gguf_is_written_of_is_refused_before_anything_is_trained() {
    let study = with_config(
        "\"rope_theta\"",
        r#""rope_scaling": {"rope_type": "linear", "factor": 2}, "rope_theta""#,
    );
    refused(&study, &["run"], 2, &["base", "LlamaForCausalLM", "scaled rotary", "quantize.types = []"]);
}

#[test]
fn a_configuration_that_is_not_json_is_named() {
    let study = TinyStudy::new();
    study.write("base/config.json", b"{\"architectures\": [");
    refused(&study, &["run"], 2, &["base/config.json", "not a model configuration"]);
    let study = with_config("\"hidden_size\"", "\"hidden_sizes\"");
    refused(&study, &["run"], 2, &["base/config.json", "`hidden_size`"]);
}

#[test]
fn a_broken_safetensors_header_is_named() {
    let study = TinyStudy::new();
    study.write("base/model.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7fnot a header");
    refused(&study, &["run"], 2, &["base/model.safetensors", "damaged"]);
    study.write("base/model.safetensors", b"");
    refused(&study, &["run"], 2, &["base/model.safetensors", "damaged"]);
}

#[test]
fn a_safetensors_file_that_is_cut_short_is_named() {
    let study = TinyStudy::new();
    let bytes = fs::read(study.path("base/model.safetensors")).unwrap();
    study.write("base/model.safetensors", &bytes[..bytes.len() - 100]);
    refused(&study, &["run"], 2, &["base/model.safetensors", "damaged"]);
}

#[test]
fn a_weight_of_another_shape_is_named_with_both_shapes() {
    let study = with_config("\"intermediate_size\": 32", "\"intermediate_size\": 64");
    refused(
        &study,
        &["run"],
        2,
        &["base/model.safetensors: ", "model.layers.0.mlp.gate_proj.weight", "[32, 32]", "[64, 32]"],
    );
    let study = with_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    refused(&study, &["run"], 2, &["base", "model.layers.2.input_layernorm.weight", "missing"]);
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_does_not_match_it() {
    let study = with_config("\"bos_token_id\": 0", "\"bos_token_id\": 300");
    refused(&study, &["run"], 2, &["tokenizer", "`bos_token_id` is 300", "vocabulary"]);
    let study = TinyStudy::new();
    let text = fs::read_to_string(study.path("base/tokenizer.json")).unwrap();
    let larger = text.replacen("\"vocab\": {", "\"vocab\": { \"zebra\": 300,", 1);
    assert_ne!(text, larger);
    study.write("base/tokenizer.json", larger.as_bytes());
    refused(&study, &["run"], 2, &["its highest token is 300", "vocabulary ends at 300"]);
}

#[test]
fn a_tokenizer_that_is_cut_short_is_named() {
    let study = TinyStudy::new();
    let text = fs::read(study.path("base/tokenizer.json")).unwrap();
    study.write("base/tokenizer.json", &text[..text.len() / 2]);
    refused(&study, &["run"], 2, &["base/tokenizer.json", "not a tokenizer"]);
}

#[test]
fn a_tokenizer_that_no_gguf_can_hold_is_refused_before_anything_is_trained() {
    let words = r#"{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},
        "model":{"type":"WordLevel","vocab":{"<unk>":0,"cat":1},"unk_token":"<unk>"}}"#;
    let study = TinyStudy::new();
    study.write("base/tokenizer.json", words.as_bytes());
    refused(
        &study,
        &["run"],
        2,
        &["base/tokenizer.json", "`WordLevel`", "byte-level BPE", "quantize.types = []"],
    );
    let study = study
        .set("quantize.types", toml::value::Array::new())
        .set("search.trials", 1)
        .set("space.precision", "f32");
    assert!(study.run(&["run", "--json"]).json()["test_loss_nats"]["tuned"].is_number());
}

#[test]
fn examples_longer_than_the_context_are_refused_with_the_context() {
    let study = TinyStudy::new().set("data.max_length", 129);
    refused(&study, &["run"], 2, &["`data.max_length` is 129", "128 or less"]);
}

#[test]
fn a_gguf_that_is_missing_or_none_is_named() {
    let study = TinyStudy::new().set("model.source", "base.gguf");
    refused(&study, &["run"], 2, &["base.gguf: there is no such file", "relative to"]);
    study.write("base.gguf", b"PK");
    refused(&study, &["run"], 2, &["base.gguf", "not a GGUF file"]);
}
