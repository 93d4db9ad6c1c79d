//! What the tests of this module share.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Row, Tokenizer};
use crate::arch::ModelConfig;
use crate::space::{ColumnMapping, DataFormat, DataSettings, NewModel};

pub(super) fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, bytes).unwrap();
    file
}

/// A folder of documents, each of one letter, a hundred times and more, no two of one length.
pub(super) fn folder_of(documents: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..documents {
        let letter = char::from(b'a' + u8::try_from(n).unwrap());
        let text = letter.to_string().repeat(100 + 13 * n);
        write_file(folder.path(), &format!("{letter}.txt"), text.as_bytes());
    }
    folder
}

pub(super) fn settings(source: &Path, format: DataFormat) -> DataSettings {
    DataSettings {
        source: source.to_owned(),
        format,
        columns: ColumnMapping::Detect,
        separator: "\n".to_owned(),
        max_length: 64,
        validation_fraction: 0.1,
        test_fraction: 0.1,
    }
}

/// The table that ships with the program.
pub(super) fn quickstart() -> DataSettings {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("search-spaces/quickstart");
    settings(&folder.join("devils-dictionary.csv"), DataFormat::Csv)
}

pub(super) fn pair(prompt: &str, completion: &str) -> Row {
    Row { prompt: Some(prompt.to_owned()), completion: completion.to_owned(), line: 9 }
}

/// A tokenizer of at most 300 entries that knows ` the` and few other words.
pub(super) fn tokenizer() -> Tokenizer {
    let texts = ["the cat and the dog", "and the hand in the end", "the one and the other"];
    Tokenizer::train_bpe(texts.map(str::to_owned).into_iter(), 300).unwrap()
}

pub(super) fn config(vocab_size: usize, max_positions: usize) -> ModelConfig {
    let new = NewModel {
        vocab_size,
        hidden_size: 8,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 2,
    };
    ModelConfig::new(&new, max_positions, 0).unwrap()
}
