//! Our decoder against candle-transformers' Llama, on the same files.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

#[path = "common/logits.rs"]
mod logits;

use std::path::Path;

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use diapason::arch::{ModelConfig, ParameterSpec};
use diapason::model::{self, CONFIG_FILE, Decoder, TensorFiles, WEIGHTS_FILE};
use diapason::space::Precision;
use logits::{TOKENS, TOLERANCE, ours};

fn config(tied: bool) -> ModelConfig {
    let json = format!(
        r#"{{"model_type":"llama","vocab_size":64,"hidden_size":32,"intermediate_size":48,"num_hidden_layers":3,
        "num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":32,"rope_theta":500.0,
        "rms_norm_eps":1e-5,"tie_word_embeddings":{tied}}}"#
    );
    ModelConfig::from_json(&json).unwrap()
}

/// Random weights so large that attention is sharp, and norms that are not all one.
fn weights(tied: bool) -> Vec<Tensor> {
    let fresh = Decoder::random(config(tied), 11, Precision::F32, &Device::Cpu).unwrap();
    let differ = |(weight, spec): (&Tensor, &ParameterSpec)| {
        if spec.is_matrix() {
            return (weight * 10.0).unwrap();
        }
        let wave: Vec<f32> = (0u8..32).map(|n| 1.0 + 0.5 * f32::from(n).sin()).collect();
        Tensor::from_vec(wave, 32, &Device::Cpu).unwrap()
    };
    fresh.trainable().map(|(spec, weight)| differ((weight, spec))).collect()
}

/// The reference returns the last position alone, so every prefix is fed to it.
fn reference(folder: &Path) -> Vec<Vec<f32>> {
    let text = std::fs::read(folder.join(CONFIG_FILE)).unwrap();
    let config = serde_json::from_slice::<LlamaConfig>(&text).unwrap().into_config(false);
    let bytes = std::fs::read(folder.join(WEIGHTS_FILE)).unwrap();
    let builder = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).unwrap();
    let llama = Llama::load(builder, &config).unwrap();
    let last = |length: usize| {
        let mut cache = Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
        let ids = Tensor::new(&TOKENS[..length], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        llama.forward(&ids, 0, &mut cache).unwrap().i(0).unwrap().to_vec1().unwrap()
    };
    (1..=TOKENS.len()).map(last).collect()
}

fn written(tied: bool, dtype: DType) -> (tempfile::TempDir, Vec<Tensor>) {
    let (folder, weights) = (tempfile::tempdir().unwrap(), weights(tied));
    model::write_folder(folder.path(), &config(tied), &weights, dtype, folder.path()).unwrap();
    (folder, weights)
}

#[test]
fn the_logits_of_every_position_are_those_of_candle_transformers() {
    for tied in [true, false] {
        let (folder, _) = written(tied, DType::F32);
        let (ours, reference) = (ours(folder.path()), reference(folder.path()));
        for (position, (a, b)) in ours.iter().zip(&reference).enumerate() {
            let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
            let largest = differences.fold(0.0, f32::max);
            assert!(largest < TOLERANCE, "tied {tied}, position {position}: {largest}");
            let spread = b.iter().fold(0.0, |most: f32, logit| most.max(logit.abs()));
            assert!(spread > 1.0, "logits near zero would show nothing: {spread}");
        }
        assert_eq!((ours.len(), reference.len()), (TOKENS.len(), TOKENS.len()));
    }
}

#[test]
fn a_model_written_as_bf16_is_read_back_as_the_rounded_weights() {
    let (folder, weights) = written(false, DType::BF16);
    assert_eq!(TensorFiles::of_model(folder.path()).unwrap().dtype(), DType::BF16);
    let read = model::read_weights(folder.path(), &config(false)).unwrap();
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut changed = 0;
    for (written, read) in weights.iter().zip(&read) {
        let rounded: Vec<f32> =
            values(written).iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect();
        changed += values(written).iter().zip(&rounded).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert_eq!(values(read), rounded);
    }
    assert!(changed > 1000, "rounding must have changed most weights: {changed}");
}
