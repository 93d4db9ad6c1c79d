//! A tiny random model folder for tests.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use crate::arch::{ModelConfig, Origin, Traits, parameters};

/// Two layers, grouped heads, a head of its own, rows that K blocks divide.
pub(super) fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 320,
        hidden_size: 256,
        intermediate_size: 512,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        max_position_embeddings: 512,
        tie_word_embeddings: false,
        bos_token_id: Some(0),
        eos_token_id: Some(0),
        traits: Traits::default(),
        origin: Origin::default(),
    }
}

/// A folder with configuration, weights and a byte-level BPE tokenizer of 300 tokens.
pub(super) fn folder(config: &ModelConfig) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_json()).unwrap();
    candle_core::safetensors::save(&weights(config), folder.path().join("model.safetensors")).unwrap();
    save_tokenizer(&folder.path().join("tokenizer.json"));
    folder
}

/// Normal weights of standard deviation 0.05; norms near one.
pub(super) fn weights(config: &ModelConfig) -> HashMap<String, Tensor> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let specs = parameters(config).into_iter();
    specs
        .map(|spec| {
            let (mean, deviation) = if spec.is_matrix() { (0.0, 0.05) } else { (1.0, 0.1) };
            let values: Vec<f32> =
                (0..spec.elements()).map(|_| normal(&mut random).mul_add(deviation, mean)).collect();
            (spec.name, Tensor::from_vec(values, spec.shape, &Device::Cpu).unwrap())
        })
        .collect()
}

/// The sum of twelve uniform numbers is normal enough.
fn normal(random: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0
}

fn save_tokenizer(path: &Path) {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(300)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from("<|endoftext|>", true)])
        .build()
        .into();
    let text = "The cat sat on the mat and the hen sat on the other one. It's 12345 o'clock, isn't it?\n";
    tokenizer
        .train(&mut trainer, [text, "Überall dieselbe alte Leier: les élèves s'élèvent."].iter())
        .unwrap();
    tokenizer.save(path, false).unwrap();
}
