//! What `[data]` names, and how it is read.

use super::{Check, Checked};
use crate::space::study_file::DataSection;
use crate::space::{ColumnMapping, DataFormat, DataSettings, StudyFile};

impl Check<'_> {
    pub(super) fn data(&self, file: &StudyFile) -> Checked<DataSettings> {
        let section = &file.data;
        let source = self.folder.join(&section.source);
        // Who reads the data knows its format: nothing here does where they are a foreign trainer's own.
        let is_own = file.trainer.as_ref().is_some_and(|trainer| trainer.examples.is_some());
        let format = if is_own { Ok(DataFormat::Text) } else { self.format(section) };
        Ok(DataSettings {
            format: format?,
            source,
            columns: self.columns(section)?,
            // A line end is what most plain completion formats put there.
            separator: section.separator.clone().unwrap_or_else(|| "\n".to_owned()),
            // Long enough for most instruction data, short enough for small cards.
            max_length: self.count("data.max_length", section.max_length.unwrap_or(512), 2, 1 << 20)?,
            // Ten per cent each is the habit of the field for small sets.
            validation_fraction: self.number(
                "data.validation_fraction",
                section.validation_fraction.unwrap_or(0.1),
                0.001..=0.5,
            )?,
            test_fraction: self.number(
                "data.test_fraction",
                section.test_fraction.unwrap_or(0.1),
                0.001..=0.4,
            )?,
        })
    }

    fn format(&self, section: &DataSection) -> Checked<DataFormat> {
        let extension = section.source.extension().map(|e| e.to_string_lossy().to_lowercase());
        let name = section.format.clone().or(extension);
        match name.as_deref() {
            Some("csv") => Ok(DataFormat::Csv),
            Some("jsonl" | "ndjson") => Ok(DataFormat::Jsonl),
            Some("text" | "txt") => Ok(DataFormat::Text),
            other => {
                let found =
                    other.map_or("not clear from the file name".to_owned(), |name| format!("`{name}`"));
                self.wrong("data.format", found, "set it to `csv`, `jsonl` or `text`")
            }
        }
    }

    fn columns(&self, section: &DataSection) -> Checked<ColumnMapping> {
        match (&section.prompt, &section.completion, &section.text) {
            (None, None, None) => Ok(ColumnMapping::Detect),
            (None, None, Some(text)) => Ok(ColumnMapping::Text(text.clone())),
            (Some(prompt), Some(completion), None) => {
                Ok(ColumnMapping::PromptCompletion { prompt: prompt.clone(), completion: completion.clone() })
            }
            _ => self.wrong("data", "mapped in two ways", "name `prompt` and `completion`, or `text` alone"),
        }
    }
}
