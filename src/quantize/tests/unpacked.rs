//! A GGUF as a model folder.

use std::fs;

use candle_core::{DType, Device};

use super::super::fixture::config;
use super::super::{GgufType, QuantizeError, is_gguf, read, unpack};
use super::{exported, flat, names_in, with};
use crate::arch::ModelConfig;
use crate::model::{self, TensorFiles};
use crate::units::Bytes;

/// As PyTorch calls it.
fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        _ => "float32",
    }
}

#[test]
fn an_unpacked_folder_holds_every_value_of_the_file_exactly() {
    let tied = ModelConfig { tie_word_embeddings: true, ..config() };
    for (kind, dtype, config) in [
        (GgufType::F32, DType::F32, config()),
        (GgufType::F16, DType::F16, tied.clone()),
        (GgufType::Bf16, DType::BF16, config()),
        (GgufType::Q8_0, DType::F32, tied),
        (GgufType::Q4KM, DType::F32, config()),
    ] {
        let (folder, report) = exported(&config, kind);
        let out = folder.path().join("deep/out");
        let mut heard = Vec::new();
        unpack(&report.path, &out, &mut |done, total| heard.push((done, total))).unwrap();
        let text = fs::read_to_string(out.join("config.json")).unwrap();
        let name = text.split("dtype\": \"").nth(1).unwrap();
        assert!(name.starts_with(dtype_name(dtype)), "{kind}: {text}");
        let right = read(&report.path).unwrap();
        assert_eq!(model::read_config(&out).unwrap(), config, "{kind}");
        let files = TensorFiles::of_model(&out).unwrap();
        assert_eq!((files.dtype(), files.names().count()), (dtype, right.tensors.len()), "{kind}");
        for (name, tensor) in &right.tensors {
            assert_eq!(flat(&files.load(name, &Device::Cpu).unwrap()), flat(tensor), "{kind}: {name}");
        }
        assert_eq!((heard.len(), heard[0].0), (right.tensors.len(), Bytes(0)), "{kind}");
        assert!(heard.is_sorted_by(|a, b| a.0 < b.0 && a.1 == b.1) && heard[1].0 < heard[1].1, "{heard:?}");
        let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(names_in(&out), names, "{kind}");
    }
}

#[test]
fn a_file_that_cannot_be_unpacked_leaves_no_weights() {
    let (folder, report) = exported(&config(), GgufType::Q8_0);
    let out = folder.path().join("out");
    let whole = fs::read(&report.path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&report.path, bytes).unwrap();
        unpack(&report.path, &out, &mut |_, _| ()).unwrap_err()
    };
    let cut = refused(&whole[..whole.len() - 64]);
    assert!(matches!(cut, QuantizeError::Truncated { .. }), "{cut}");
    let none = refused(&with(&whole, "tokenizer.ggml.model", "tokenizer.ggml.muddl"));
    assert!(none.to_string().contains("`tokenizer.ggml.model` is missing"), "{none}");
    assert!(!out.exists());
}

#[test]
fn a_gguf_is_told_by_its_ending_and_by_being_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("folder.gguf")).unwrap();
    assert!(is_gguf(&path("a.gguf")) && is_gguf(&path("A.GGUF")));
    assert!(!is_gguf(&path("a.bin")) && !is_gguf(&path("folder.gguf")) && !is_gguf(&path("gguf")));
}
