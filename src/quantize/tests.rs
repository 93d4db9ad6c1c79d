//! Out and in again: what an exported file holds.

mod tokenizers;
mod unpacked;

use std::collections::HashMap;
use std::fs;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Tensor};
use tempfile::TempDir;

use super::fixture::{config, folder, weights};
use super::{GgufReport, GgufType, QuantizeError, export, read};
use crate::arch::ModelConfig;

/// The folder is kept alive with its report; the file lies in it.
fn exported(config: &ModelConfig, kind: GgufType) -> (TempDir, GgufReport) {
    let folder = folder(config);
    let report = export(folder.path(), kind, &folder.path().join("out.gguf")).unwrap();
    (folder, report)
}

fn content(path: &Path) -> Content {
    Content::read(&mut BufReader::new(fs::File::open(path).unwrap())).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// √(Σ(a−b)² / Σb²)
fn relative_rmse(found: &Tensor, right: &Tensor) -> f64 {
    let sum = |tensor: &Tensor| {
        tensor.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    (sum(&(found - right).unwrap()) / sum(right)).sqrt()
}

fn types(report: &GgufReport) -> HashMap<&str, usize> {
    report.tensors_by_type.iter().map(|(name, count)| (name.as_str(), *count)).collect()
}

#[test]
fn every_f32_tensor_comes_back_exactly_with_its_configuration() {
    for (tied, head_dim) in [(false, 64), (true, 64), (false, 32)] {
        let config = ModelConfig { tie_word_embeddings: tied, head_dim, ..config() };
        let (_folder, report) = exported(&config, GgufType::F32);
        let model = read(&report.path).unwrap();
        assert_eq!(model.config, config);
        let originals = weights(&config);
        assert_eq!(model.tensors.len(), originals.len());
        for (name, original) in &originals {
            assert_eq!(flat(&model.tensors[name]), flat(original), "{name}");
        }
    }
}

/// Heads of width 64: llama.cpp's rows 0, 1, 2 of a head are Hugging Face's 0, 32, 1.
#[test]
fn query_and_key_rows_lie_in_the_order_llama_cpp_rotates_them() {
    let (_folder, report) = exported(&config(), GgufType::F32);
    let content = content(&report.path);
    let mut file = fs::File::open(&report.path).unwrap();
    let originals = weights(&config());
    for (gguf, hugging_face) in [("attn_q", "q_proj"), ("attn_k", "k_proj")] {
        let stored = content.tensor(&mut file, &format!("blk.0.{gguf}.weight"), &Device::Cpu).unwrap();
        let stored = stored.dequantize(&Device::Cpu).unwrap();
        let original = &originals[&format!("model.layers.0.self_attn.{hugging_face}.weight")];
        for (row, right) in [(0, 0), (1, 32), (2, 1), (63, 63), (64, 64), (65, 96)] {
            let (found, right) = (stored.get(row).unwrap(), original.get(right).unwrap());
            assert_eq!(flat(&found), flat(&right), "{gguf} row {row}");
        }
    }
}

/// Errors of normal weights, with a margin of a tenth around what candle's rounding gives.
#[test]
fn quantized_matrices_are_as_near_as_their_bits_allow() {
    let originals = weights(&config());
    for (kind, right) in [
        (GgufType::F16, 0.0002),
        (GgufType::Bf16, 0.0017),
        (GgufType::Q8_0, 0.0056),
        (GgufType::Q6K, 0.0183),
        (GgufType::Q5KM, 0.0369),
        (GgufType::Q4KM, 0.0745),
        (GgufType::Q4_0, 0.0876),
    ] {
        let (_folder, report) = exported(&config(), kind);
        let model = read(&report.path).unwrap();
        let name = "model.layers.0.self_attn.q_proj.weight";
        let error = relative_rmse(&model.tensors[name], &originals[name]);
        assert!((error / right - 1.0).abs() < 0.1, "{kind}: {error:.4} where {right} was expected");
        let norm = "model.layers.1.input_layernorm.weight";
        assert_eq!(flat(&model.tensors[norm]), flat(&originals[norm]), "{kind}");
        assert_eq!(report.fallbacks, 0, "{kind}");
    }
}

#[test]
fn a_tied_model_has_no_head_of_its_own() {
    let tied = ModelConfig { tie_word_embeddings: true, ..config() };
    for (config, has_head) in [(tied, false), (config(), true)] {
        let (_folder, report) = exported(&config, GgufType::Q8_0);
        assert_eq!(content(&report.path).tensor_infos.contains_key("output.weight"), has_head);
        assert_eq!(read(&report.path).unwrap().config.tie_word_embeddings, !has_head);
    }
}

#[test]
fn rows_that_k_blocks_do_not_divide_take_other_types_and_are_counted() {
    let narrow = ModelConfig { hidden_size: 96, head_dim: 24, ..config() };
    let (_folder, report) = exported(&narrow, GgufType::Q4KM);
    // Layer 1 of 2 is sensitive: its value matrix wants Q6_K and gets Q8_0, as does the head;
    // its down matrix has rows of 512.
    let right = HashMap::from([("F32", 5), ("Q4_K", 1), ("Q5_0", 12), ("Q6_K", 1), ("Q8_0", 2)]);
    assert_eq!(types(&report), right);
    assert_eq!(report.fallbacks, 14);
    assert_eq!(read(&report.path).unwrap().config, narrow);
}

#[test]
fn the_file_is_as_long_as_the_report_says_and_gives_the_keys_llama_cpp_needs() {
    let (folder, report) = exported(&ModelConfig { head_dim: 32, ..config() }, GgufType::Q4KM);
    assert_eq!(fs::metadata(&report.path).unwrap().len(), report.bytes.0);
    assert_eq!(report.warnings, Vec::<String>::new());
    let keys = content(&report.path).metadata;
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    for (key, right) in [
        ("general.architecture", r#"String("llama")"#),
        ("general.name", &format!("String({name:?})")),
        ("general.file_type", "U32(15)"),
        ("llama.vocab_size", "U32(320)"),
        ("llama.attention.key_length", "U32(32)"),
        ("llama.rope.dimension_count", "U32(32)"),
        ("tokenizer.ggml.model", r#"String("gpt2")"#),
        ("tokenizer.ggml.pre", r#"String("gpt-2")"#),
        ("tokenizer.ggml.eos_token_id", "U32(0)"),
        ("tokenizer.ggml.add_bos_token", "Bool(false)"),
    ] {
        assert_eq!(format!("{:?}", keys[key]), right, "{key}");
    }
    assert_eq!(keys["tokenizer.ggml.tokens"].to_vec().unwrap().len(), 320);
}

fn names_in(folder: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

#[test]
fn an_export_that_fails_leaves_nothing_behind_and_an_older_file_as_it_was() {
    let model = folder(&config());
    let mut diverged = weights(&config());
    let norm = diverged.get_mut("model.norm.weight").unwrap();
    *norm = norm.affine(f64::NAN, 0.0).unwrap();
    candle_core::safetensors::save(&diverged, model.path().join("model.safetensors")).unwrap();
    let out = model.path().join("out.gguf");
    fs::write(&out, "older").unwrap();
    let before = names_in(model.path());
    let error = export(model.path(), GgufType::Q8_0, &out).unwrap_err();
    assert!(matches!(&error, QuantizeError::NotFinite { name } if name == "model.norm.weight"), "{error}");
    assert_eq!(names_in(model.path()), before);
    assert_eq!(fs::read_to_string(&out).unwrap(), "older");
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_named() {
    let model = folder(&config());
    for (change, right) in [
        (ModelConfig { num_hidden_layers: 3, ..config() }, "model.layers.2.input_layernorm.weight"),
        (ModelConfig { intermediate_size: 256, ..config() }, "[512, 256]"),
        (ModelConfig { vocab_size: 200, ..config() }, "200 rows"),
    ] {
        fs::write(model.path().join("config.json"), change.to_json()).unwrap();
        let error = export(model.path(), GgufType::F16, &model.path().join("out.gguf")).unwrap_err();
        assert!(error.to_string().contains(right), "{error}");
    }
    fs::write(model.path().join("config.json"), config().to_json()).unwrap();
}

#[test]
fn the_folder_of_the_file_is_made_and_one_that_cannot_be_is_named() {
    let model = folder(&config());
    let deep = model.path().join("gguf").join("out.gguf");
    assert_eq!(export(model.path(), GgufType::F16, &deep).unwrap().path, deep);
    let below_a_file = model.path().join("config.json").join("out.gguf");
    let error = export(model.path(), GgufType::F16, &below_a_file).unwrap_err();
    assert!(matches!(&error, QuantizeError::Io { path, .. } if *path == below_a_file), "{error}");
}

#[test]
fn tensors_outside_the_architecture_are_left_out_with_a_warning() {
    let config = ModelConfig { tie_word_embeddings: true, ..config() };
    let model = folder(&config);
    let mut more = weights(&config);
    let norm = more["model.norm.weight"].clone();
    for name in ["lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "model.extra.weight"] {
        more.insert(name.to_owned(), norm.clone());
    }
    candle_core::safetensors::save(&more, model.path().join("model.safetensors")).unwrap();
    let report = export(model.path(), GgufType::F16, &model.path().join("out.gguf")).unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("model.extra.weight"));
}

#[test]
fn a_file_that_is_cut_off_or_no_gguf_gives_a_clear_error() {
    let (folder, report) = exported(&config(), GgufType::Q8_0);
    let whole = fs::read(&report.path).unwrap();
    let path = folder.path().join("bad.gguf");
    let bad = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        read(&path).unwrap_err()
    };
    let cut = bad(&whole[..whole.len() - 1000]);
    assert!(
        matches!(&cut, QuantizeError::Truncated { found, .. } if found.0 == whole.len() as u64 - 1000),
        "{cut}"
    );
    assert!(cut.to_string().contains("bad.gguf: cut off"), "{cut}");
    for kept in [20, 500, 5000] {
        let error = bad(&whole[..kept]);
        assert!(matches!(error, QuantizeError::Header { .. }), "{kept}: {error}");
    }
    for other in [&b"PK\x03\x04"[..], b"", b"{}"] {
        let error = bad(other);
        assert!(matches!(error, QuantizeError::NotGguf { .. }), "{error}");
    }
}

/// Replaces `from` by a text of the same length, so that the rest of the file stays in place.
fn with(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut changed = bytes.to_vec();
    changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    changed
}

#[test]
fn a_gguf_of_another_make_is_refused_with_what_is_supported() {
    let (folder, report) = exported(&config(), GgufType::F16);
    let whole = fs::read(&report.path).unwrap();
    let path = folder.path().join("other.gguf");
    let other = |from: &str, to: &str| {
        fs::write(&path, with(&whole, from, to)).unwrap();
        read(&path).unwrap_err().to_string()
    };
    let family = other("\u{5}\0\0\0\0\0\0\0llama", "\u{5}\0\0\0\0\0\0\0qwen2");
    assert!(family.contains("`qwen2`") && family.contains("supported is: llama"), "{family}");
    let key = other("llama.block_count", "llama.block_kount");
    assert!(key.contains("`llama.block_count` is missing"), "{key}");
    let tensor = other("blk.1.attn_v.weight", "blk.1.attn_v.wait!!");
    assert!(tensor.contains("`blk.1.attn_v.weight` is missing"), "{tensor}");
    let head = other("\r\0\0\0\0\0\0\0output.weight", "\r\0\0\0\0\0\0\0output.voight");
    assert!(head.contains("`output.voight` has no place"), "{head}");
}
