//! What `tokenizer_config.json` says beside a tokenizer: special tokens, switches, the chat template.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::QuantizeError;
use super::model_keys::Keys;
use super::vocabulary::Vocabulary;
use crate::arch::ModelConfig;

/// Special tokens by their names in `tokenizer_config.json` and in a GGUF's
/// `tokenizer.ggml.NAME_token_id`.
const SPECIAL: [(&str, &str); 4] =
    [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];

/// Key of whether a text gets a first token of its own accord.
const ADD_FIRST: &str = "tokenizer.ggml.add_bos_token";
/// Key of whether a text gets a last token of its own accord.
const ADD_LAST: &str = "tokenizer.ggml.add_eos_token";
/// Key of whether a text is tokenized as if a space stood before it.
pub(super) const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
/// Key of the chat template.
pub(super) const TEMPLATE: &str = "tokenizer.chat_template";

/// Key of a special token's id.
pub(super) fn id_key(which: &str) -> String {
    format!("tokenizer.ggml.{which}_token_id")
}

/// What `tokenizer_config.json` adds.
#[derive(Deserialize, Default)]
pub(super) struct Settings {
    /// `bos_token` and its like among them.
    #[serde(flatten)]
    tokens: HashMap<String, Json>,
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
    ) -> Vec<(String, Value)> {
        let id = |(named, which): (&str, &str)| {
            let configured = match which {
                "bos" => config.bos_token_id,
                "eos" => config.eos_token_id,
                _ => None,
            };
            let named = self.tokens.get(named);
            let text = named.and_then(|token| token.as_str().or_else(|| token["content"].as_str()));
            let id = text.and_then(|text| vocabulary.id(text)).or(configured)?;
            Some((id_key(which), Value::U32(id)))
        };
        SPECIAL.into_iter().filter_map(id).collect()
    }

    /// Whether texts get a first and a last token of their own accord.
    pub(super) fn switches(&self, post_processor: &Json) -> [(&'static str, Value); 3] {
        let template = template(post_processor);
        let is_special =
            |piece: Option<&Json>| piece.is_some_and(|piece| piece.get("SpecialToken").is_some());
        let first = is_special(template.and_then(|pieces| pieces.first()));
        let last = is_special(template.and_then(|pieces| pieces.last()));
        [
            (ADD_FIRST, Value::Bool(self.add_bos_token.unwrap_or(first))),
            (ADD_LAST, Value::Bool(self.add_eos_token.unwrap_or(last))),
            (SPACE_PREFIX, Value::Bool(false)),
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

/// What a GGUF says beside its vocabulary.
pub(super) struct KeySettings {
    /// Ids by their names in `tokenizer_config.json`.
    ids: Vec<(&'static str, u32)>,
    adds_first: bool,
    adds_last: bool,
    template: Option<String>,
}

impl KeySettings {
    /// Reads the keys; `adds_first` holds where they do not say.
    ///
    /// # Errors
    /// A key has no value of its kind.
    pub(super) fn read(keys: &Keys<'_>, adds_first: bool) -> Result<Self, QuantizeError> {
        let mut ids = Vec::new();
        for (name, which) in SPECIAL {
            ids.extend(keys.token(which)?.map(|id| (name, id)));
        }
        Ok(Self {
            ids,
            adds_first: keys.switch(ADD_FIRST)?.unwrap_or(adds_first),
            adds_last: keys.switch(ADD_LAST)?.unwrap_or(false),
            template: keys.text(TEMPLATE).map(str::to_owned),
        })
    }

    /// Ids of all special tokens that are named.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.ids.iter().map(|(_, id)| *id).collect()
    }

    /// The special token of that name, if it is one of the vocabulary.
    pub(super) fn token<'a>(&self, name: &str, vocabulary: &'a Vocabulary) -> Option<(u32, &'a str)> {
        let (_, id) = self.ids.iter().find(|(own, _)| *own == name)?;
        vocabulary.text(*id).map(|text| (*id, text))
    }

    /// `tokenizer_config.json`.
    pub(super) fn to_config(&self, vocabulary: &Vocabulary, max_positions: usize) -> Json {
        let mut config = Map::new();
        for (name, _) in SPECIAL {
            config.extend(self.token(name, vocabulary).map(|(_, text)| (name.to_owned(), text.into())));
        }
        config.extend(self.template.clone().map(|template| ("chat_template".to_owned(), template.into())));
        let rest = json!({
            // The class that takes tokenizer.json as it is.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": self.adds_first,
            "add_eos_token": self.adds_last,
            "clean_up_tokenization_spaces": false,
            "model_max_length": max_positions,
        });
        config.extend(rest.as_object().cloned().unwrap_or_default());
        config.into()
    }

    /// `post_processor` of a `tokenizer.json`: the first and last token a text gets.
    pub(super) fn to_post_processor(&self, vocabulary: &Vocabulary) -> Json {
        let token = |wanted: bool, name| wanted.then(|| self.token(name, vocabulary)).flatten();
        let (first, last) = (token(self.adds_first, "bos_token"), token(self.adds_last, "eos_token"));
        if first.is_none() && last.is_none() {
            return Json::Null;
        }
        let special = |(_, text): (u32, &str)| json!({"SpecialToken": {"id": text, "type_id": 0}});
        let framed = |id: &str, kind: u32| -> Vec<Json> {
            let text = json!({"Sequence": {"id": id, "type_id": kind}});
            first.map(special).into_iter().chain([text]).chain(last.map(special)).collect()
        };
        let known =
            |(id, text): (u32, &str)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
        let pair = [framed("A", 0), framed("B", 1)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": framed("A", 0),
            "pair": pair,
            "special_tokens": first.into_iter().chain(last).map(known).collect::<Map<_, _>>(),
        })
    }
}
