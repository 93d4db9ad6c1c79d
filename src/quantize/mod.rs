//! GGUF out and GGUF in: a model folder becomes one file that llama.cpp runs, and back.
//!
//! [`export`] writes the quantized file a fine-tune ends in; [`read`] loads such a file into
//! Hugging Face names, so that what was written can be judged by its evaluation loss; [`unpack`]
//! makes a model folder of one, tokenizer and chat template included, that can be fine-tuned.
//! It quantizes by rounding alone: there is no importance matrix, and nothing is retrained.

mod error;
mod export;
mod gguf_type;
mod interleave;
mod key_lists;
mod model_keys;
mod names;
mod pre_tokenizer;
mod read;
mod recipe;
mod sentence_piece;
mod tokenizer;
mod tokenizer_files;
mod tokenizer_settings;
mod unpack;
mod vocabulary;
mod writer;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use error::QuantizeError;
pub use export::{GgufReport, check_tokenizer, export};
pub use gguf_type::{GgufType, ParseGgufTypeError};
pub use read::{GgufModel, is_gguf, read, read_tokenizer};
pub use unpack::unpack;
