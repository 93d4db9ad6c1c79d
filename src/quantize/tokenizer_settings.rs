//! What `tokenizer_config.json` says beside a tokenizer: special tokens, switches, the chat template.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::QuantizeError;
use super::vocabulary::Vocabulary;
use crate::arch::ModelConfig;

/// What `tokenizer_config.json` adds.
#[derive(Deserialize, Default)]
pub(super) struct Settings {
    bos_token: Option<Json>,
    eos_token: Option<Json>,
    unk_token: Option<Json>,
    pad_token: Option<Json>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    chat_template: Option<Json>,
}

/// Reads the settings of a model folder, which may have none.
///
/// # Errors
/// A file that is there and cannot be read.
pub(super) fn read(folder: &Path) -> Result<Settings, QuantizeError> {
    let path = folder.join("tokenizer_config.json");
    let mut settings = match read_optional(&path)? {
        Some(text) => parse(&path, &text)?,
        None => Settings::default(),
    };
    // Transformers 5 keeps the template in a file of its own.
    if let Some(template) = read_optional(&folder.join("chat_template.jinja"))? {
        settings.chat_template = Some(Json::String(template));
    }
    Ok(settings)
}

fn read_optional(path: &Path) -> Result<Option<String>, QuantizeError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(QuantizeError::io(path)(error)),
    }
}

fn parse(path: &Path, text: &str) -> Result<Settings, QuantizeError> {
    serde_json::from_str(text).map_err(|error| QuantizeError::Tokenizer {
        path: path.to_owned(),
        message: format!("not the settings of a tokenizer: {error}"),
        hint: "save the tokenizer again with `save_pretrained`",
    })
}

impl Settings {
    /// Ids of special tokens: by the tokenizer's settings first, by the model's configuration else.
    pub(super) fn special_tokens(
        &self,
        vocabulary: &Vocabulary,
        config: &ModelConfig,
    ) -> Vec<(&'static str, Value)> {
        [
            ("tokenizer.ggml.bos_token_id", &self.bos_token, config.bos_token_id),
            ("tokenizer.ggml.eos_token_id", &self.eos_token, config.eos_token_id),
            ("tokenizer.ggml.unknown_token_id", &self.unk_token, None),
            ("tokenizer.ggml.padding_token_id", &self.pad_token, None),
        ]
        .into_iter()
        .filter_map(|(key, named, configured)| {
            let text = named.as_ref().and_then(|token| token.as_str().or_else(|| token["content"].as_str()));
            let id = text.and_then(|text| vocabulary.id(text)).or(configured)?;
            Some((key, Value::U32(id)))
        })
        .collect()
    }

    /// Whether texts get a first and a last token of their own accord.
    pub(super) fn switches(&self, post_processor: &Json) -> [(&'static str, Value); 3] {
        let template = template(post_processor);
        let is_special =
            |piece: Option<&Json>| piece.is_some_and(|piece| piece.get("SpecialToken").is_some());
        let first = is_special(template.and_then(|pieces| pieces.first()));
        let last = is_special(template.and_then(|pieces| pieces.last()));
        [
            ("tokenizer.ggml.add_bos_token", Value::Bool(self.add_bos_token.unwrap_or(first))),
            ("tokenizer.ggml.add_eos_token", Value::Bool(self.add_eos_token.unwrap_or(last))),
            ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
        ]
    }

    /// The chat template, or the one called `default` of several.
    pub(super) fn template(&self) -> Option<&str> {
        match self.chat_template.as_ref()? {
            Json::String(text) => Some(text),
            Json::Array(templates) => {
                templates.iter().find(|one| one["name"] == "default")?["template"].as_str()
            }
            _ => None,
        }
    }
}

/// The pieces a single text is put between, of a post-processor that has such a template.
fn template(post_processor: &Json) -> Option<&Vec<Json>> {
    match post_processor["type"].as_str()? {
        "TemplateProcessing" => post_processor["single"].as_array(),
        "Sequence" => post_processor["processors"].as_array()?.iter().find_map(template),
        _ => None,
    }
}
