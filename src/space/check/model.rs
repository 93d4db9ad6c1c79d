//! What `[model]` names: a model that exists, or the sizes of a new one.

use super::{Check, Checked};
use crate::space::study_file::ModelSection;
use crate::space::{ModelSettings, ModelSource, NewModel};

impl Check<'_> {
    pub(super) fn model(&self, section: &ModelSection) -> Checked<ModelSettings> {
        match (&section.source, &section.new) {
            (Some(source), None) => Ok(ModelSettings::Source(ModelSource {
                typed: source.clone(),
                path: self.folder.join(source),
            })),
            (None, Some(new)) => Ok(ModelSettings::New(NewModel {
                vocab_size: self.count("model.new.vocab_size", new.vocab_size, 260, 1 << 20)?,
                hidden_size: self.count("model.new.hidden_size", new.hidden_size, 2, 1 << 16)?,
                intermediate_size: self.count(
                    "model.new.intermediate_size",
                    new.intermediate_size,
                    1,
                    1 << 20,
                )?,
                num_hidden_layers: self.count(
                    "model.new.num_hidden_layers",
                    new.num_hidden_layers,
                    1,
                    1024,
                )?,
                num_attention_heads: self.count(
                    "model.new.num_attention_heads",
                    new.num_attention_heads,
                    1,
                    1024,
                )?,
                num_key_value_heads: new.num_key_value_heads.unwrap_or(new.num_attention_heads),
            })),
            _ => self.wrong(
                "model",
                "incomplete",
                "give either `source = \"folder or owner/name\"` or a table `[model.new]`",
            ),
        }
    }
}
