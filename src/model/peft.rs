//! Adapters in and out, as PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`.

use std::fs;
use std::io;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ModelError, Result};
use super::lora::{adapter_specs, check_targets, module};
use super::weights::{at, write_tensors};
use super::{Decoder, TensorFiles};
use crate::arch::{ModelConfig, ParameterSpec};
use crate::files::write_bytes;
use crate::space::LoraSettings;

/// Name of an adapter's configuration.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
const ADAPTER_FILE: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of the model it wraps.
const PREFIX: &str = "base_model.model.";

/// Settings that change what an adapter computes, unless they are off.
const NOT_SUPPORTED: [&str; 9] = [
    "use_dora",
    "use_qalora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "bias",
];

#[derive(Deserialize)]
struct AdapterConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    target_modules: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Writes the adapters of `model` as a folder that PEFT loads onto `base`, the name of its base model.
///
/// # Errors
/// The model has no adapters, or a file can't be written.
pub fn write_adapter(folder: &Path, model: &Decoder, base: &str) -> Result<()> {
    let file = folder.join(ADAPTER_CONFIG_FILE);
    let Some(lora) = model.adapters() else {
        return Err(at(&file)(io::Error::other("the model has no adapters to write")));
    };
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rslora,
        "target_modules": modules(model.trainable().map(|(spec, _)| spec.name.as_str())),
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
    });
    write_bytes(&file, format!("{config:#}\n").as_bytes()).map_err(at(&file))?;
    let (names, tensors): (Vec<String>, Vec<&Tensor>) =
        model.trainable().map(|(spec, tensor)| (in_peft(spec), tensor)).unzip();
    let named: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(tensors).collect();
    write_tensors(&folder.join(ADAPTER_FILE), &named, DType::F32, &[("format", "pt".to_owned())])
}

/// The linear layers that adapters of these names are for, each once, by the last part of their names.
fn modules<'a>(adapters: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut modules: Vec<String> = adapters.map(|name| module(name).to_owned()).collect();
    modules.sort_unstable();
    modules.dedup();
    modules
}

fn in_peft(spec: &ParameterSpec) -> String {
    format!("{PREFIX}{}", spec.name)
}

/// Reads an adapter for a model of `config`: its settings, and its weights in the order of their slots.
///
/// # Errors
/// A file is missing or damaged, the adapter computes what is not supported, or it belongs to another
/// model.
pub fn read_adapter(folder: &Path, config: &ModelConfig) -> Result<(LoraSettings, Vec<Tensor>)> {
    let file = folder.join(ADAPTER_CONFIG_FILE);
    let text = fs::read_to_string(&file).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ModelError::NoAdapter { folder: folder.to_owned() },
        _ => ModelError::Io { file: file.clone(), source },
    })?;
    let wrong = |problem: String| ModelError::Adapter { file: file.clone(), problem };
    let raw: AdapterConfig = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let weights = TensorFiles::open(&folder.join(ADAPTER_FILE))?;
    let lora = settings(&raw, &weights).map_err(wrong)?;
    check_targets(&lora, config)?;
    let specs = adapter_specs(&lora, config);
    if let Some(name) = weights.names().find(|name| !specs.iter().any(|spec| in_peft(spec) == *name)) {
        return Err(wrong(format!("`{name}` of {ADAPTER_FILE} is no adapter of the model's linear layers")));
    }
    let load = |spec: &ParameterSpec| {
        weights.check(&in_peft(spec), &spec.shape)?;
        weights.load(&in_peft(spec), &Device::Cpu)
    };
    Ok((lora, specs.iter().map(load).collect::<Result<_>>()?))
}

fn settings(raw: &AdapterConfig, weights: &TensorFiles) -> std::result::Result<LoraSettings, String> {
    if raw.peft_type != "LORA" {
        return Err(format!("`peft_type` is `{}`, only `LORA` is supported", raw.peft_type));
    }
    let on = |key: &&&str| raw.rest.get(**key).is_some_and(|value| !is_off(value));
    if let Some(key) = NOT_SUPPORTED.iter().find(on) {
        return Err(format!("`{key}` is {}, which is not supported", raw.rest[*key]));
    }
    if raw.r == 0 {
        return Err("`r` is 0, an adapter has at least rank 1".to_owned());
    }
    if raw.target_modules.is_null() {
        return Err("`target_modules` is missing".to_owned());
    }
    Ok(LoraSettings {
        rank: raw.r,
        alpha: raw.lora_alpha,
        dropout: raw.lora_dropout,
        // A pattern may stand for the names; the file has what it matched.
        targets: modules(weights.names()),
        rslora: raw.use_rslora,
        quantize_base: None,
    })
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::String(text) => text == "none",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Precision;

    fn config() -> ModelConfig {
        let json = r#"{"model_type":"llama","vocab_size":19,"hidden_size":16,"intermediate_size":24,
            "num_hidden_layers":2,"num_attention_heads":4,"tie_word_embeddings":false}"#;
        ModelConfig::from_json(json).unwrap()
    }

    fn lora() -> LoraSettings {
        let targets = ["down_proj", "q_proj"].map(str::to_owned).to_vec();
        LoraSettings { rank: 3, alpha: 6.0, dropout: 0.25, targets, rslora: true, quantize_base: None }
    }

    fn written() -> (tempfile::TempDir, Decoder) {
        let folder = tempfile::tempdir().unwrap();
        let model = Decoder::random(config(), 1, Precision::F32, &Device::Cpu).unwrap();
        let model = model.with_adapters(&lora(), 2).unwrap();
        write_adapter(folder.path(), &model, "some/base").unwrap();
        (folder, model)
    }

    #[test]
    fn an_adapter_survives_the_round_trip() {
        let (folder, model) = written();
        let (read, weights) = read_adapter(folder.path(), &config()).unwrap();
        assert_eq!(read, lora());
        assert_eq!(weights.len(), 2 * 2 * 2);
        for ((spec, ours), read) in model.trainable().zip(&weights) {
            assert_eq!(ours.dims(), read.dims(), "{}", spec.name);
            let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(ours), values(read), "{}", spec.name);
        }
    }

    #[test]
    fn an_adapter_that_computes_something_else_is_refused_by_the_key() {
        let (folder, _) = written();
        let file = folder.path().join(ADAPTER_CONFIG_FILE);
        let right: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        for (key, value) in [
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({"q_proj": 8})),
            ("peft_type", json!("IA3")),
            ("r", json!(0)),
        ] {
            let mut wrong = right.clone();
            wrong[key] = value;
            fs::write(&file, wrong.to_string()).unwrap();
            let error = read_adapter(folder.path(), &config()).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("adapter_config.json"), "{error}");
        }
    }

    #[test]
    fn an_adapter_of_another_model_is_refused_by_the_weight() {
        let (folder, _) = written();
        let other = ModelConfig { num_hidden_layers: 1, ..config() };
        let error = read_adapter(folder.path(), &other).unwrap_err().to_string();
        assert!(error.contains("layers.1."), "{error}");
        let other = ModelConfig { intermediate_size: 32, ..config() };
        let error = read_adapter(folder.path(), &other).unwrap_err().to_string();
        assert!(error.contains("down_proj.lora_A"), "{error}");
    }

    #[test]
    fn a_folder_without_an_adapter_says_what_belongs_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_adapter(folder.path(), &config()).unwrap_err().to_string();
        assert!(error.contains(ADAPTER_CONFIG_FILE) && error.contains("hint"), "{error}");
    }
}
