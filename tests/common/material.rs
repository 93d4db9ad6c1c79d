//! What a tiny study is made of: rows of text, and a random model with a tokenizer of its own.

use std::fmt::Write as _;
use std::path::Path;

use candle_core::{DType, Device};
use diapason::arch::ModelConfig;
use diapason::data::{END_TOKEN, Tokenizer};
use diapason::model::{self, Decoder};
use diapason::space::Precision;

/// The middle of a row that is too long for 64 tokens.
const LONGEST: &str = "and on and on and on and on";

/// Entries of the vocabulary: 256 bytes, the end token, and merges.
const VOCABULARY: usize = 300;
/// Longest context of the model.
const POSITIONS: usize = 128;

const ANIMALS: [(&str, &str); 15] = [
    ("cat", "sleeps"),
    ("dog", "barks"),
    ("hen", "clucks"),
    ("cow", "moos"),
    ("ant", "digs"),
    ("bee", "hums"),
    ("owl", "hoots"),
    ("fox", "hunts"),
    ("pig", "grunts"),
    ("élan", "browses"),
    ("rat", "gnaws"),
    ("bat", "flits"),
    ("eel", "glides"),
    ("yak", "plods"),
    ("emu", "runs"),
];

/// 60 good rows; then one empty, one repeated, one too long; quotes, commas, line breaks, CR LF.
pub(crate) fn table() -> String {
    let mut table = String::from("term,definition\r\n");
    for (animal, does) in ANIMALS {
        let _ = write!(
            table,
            "{animal},\"The {animal}, as all know, {does}.\"\r\n\
             the young {animal},\"It says \"\"I am the {animal}\"\" and {does}\nall day.\"\n\
             old {animal},The old {animal} {does} no more.\n\
             two {animal}s,\"One {animal} {does}, and the other {animal} looks on.\"\n"
        );
    }
    let _ = write!(
        table,
        "silence,\n  CAT ,\"The cat, as all know, sleeps.\"\nthe road,It goes {} to the sea.\n",
        format!("{LONGEST} ").repeat(20).trim_end()
    );
    table
}

/// The model's configuration: about 22 thousand parameters, tied, grouped heads.
pub(crate) fn config() -> ModelConfig {
    let json = format!(
        r#"{{"architectures":["LlamaForCausalLM"],"vocab_size":{VOCABULARY},"hidden_size":32,"intermediate_size":32,
        "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"tie_word_embeddings":true,
        "max_position_embeddings":{POSITIONS},"bos_token_id":0,"eos_token_id":0,"rms_norm_eps":1e-5}}"#
    );
    ModelConfig::from_json(&json).unwrap()
}

/// A folder as `save_pretrained` leaves it: configuration, bf16 weights, tokenizer.
pub(crate) fn write_model(folder: &Path, config: &ModelConfig) {
    let tokenizer =
        Tokenizer::train_bpe(table().lines().map(str::to_owned).collect::<Vec<_>>().into_iter(), VOCABULARY);
    let tokenizer = tokenizer.unwrap();
    assert_eq!(tokenizer.token_id(END_TOKEN), Some(0));
    tokenizer.save(folder).unwrap();
    let model = Decoder::random(config.clone(), 7, Precision::F32, &Device::Cpu).unwrap();
    model::write_model(folder, &model, DType::BF16, folder).unwrap();
}
