//! Text with `{placeholders}`: the arguments of a foreign trainer, filled in for each trial.

use std::fmt;

use serde::Serialize;

use crate::spelling::nearest;

/// What may stand between braces. What each one means is said once more in the README.
pub const PLACEHOLDERS: [&str; 25] = [
    "learning_rate",
    "precision",
    "micro_batch_size",
    "gradient_accumulation_steps",
    "effective_batch_size",
    "seed",
    "total_steps",
    "stop_at_step",
    "evaluate_every",
    "schedule",
    "warmup_fraction",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "gradient_checkpointing",
    "validation_examples",
    "eval_micro_batch_size",
    "lora_rank",
    "lora_alpha",
    "model",
    "dataset",
    "device",
    "task",
    "checkpoint",
    "best",
];

/// One argument: text, and the names of what is put into it. `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Template {
    typed: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(&'static str),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name that stands for nothing.
    #[error("the placeholder `{{{name}}}`, which stands for nothing")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A brace without its partner.
    #[error("a brace without its partner")]
    Unpaired,
}

impl TemplateError {
    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> String {
        let meant = match self {
            Self::Unknown { name } => nearest(name, PLACEHOLDERS),
            Self::Unpaired => return "write `{{` and `}}` for braces that mean themselves".to_owned(),
        };
        let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
        let meant = meant.map(|name| format!("did you mean `{{{name}}}`? ")).unwrap_or_default();
        format!("{meant}the placeholders are {known}; a brace that means itself is written twice")
    }
}

impl Template {
    /// Finds the placeholders of `typed`.
    ///
    /// # Errors
    /// A name that is not one of [`PLACEHOLDERS`], or a single brace.
    pub fn parse(typed: &str) -> Result<Self, TemplateError> {
        let (mut parts, mut text) = (Vec::new(), String::new());
        let mut rest = typed;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let (brace, behind) = rest[at..].split_at(1);
            if let Some(behind) = behind.strip_prefix(brace) {
                text.push_str(brace);
                rest = behind;
                continue;
            }
            let end = behind.find('}').filter(|_| brace == "{").ok_or(TemplateError::Unpaired)?;
            let name = &behind[..end];
            let known = PLACEHOLDERS.into_iter().find(|known| *known == name);
            let known = known.ok_or_else(|| TemplateError::Unknown { name: name.to_owned() })?;
            parts.extend([Part::Text(std::mem::take(&mut text)), Part::Placeholder(known)]);
            rest = &behind[end + 1..];
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self { typed: typed.to_owned(), parts })
    }

    /// The names it holds.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder(name) => Some(*name),
        })
    }

    /// The text with the `value` of each name put in.
    #[must_use]
    pub fn filled(&self, value: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Placeholder(name) => value(name),
        };
        self.parts.iter().map(part).collect()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.typed
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(typed: &str) -> String {
        Template::parse(typed).unwrap().filled(|name| format!("<{name}>"))
    }

    #[test]
    fn names_in_braces_are_filled_and_doubled_braces_stay() {
        for (typed, expected) in [
            ("train.py", "train.py"),
            ("--lr={learning_rate}", "--lr=<learning_rate>"),
            ("{model}:{seed}", "<model>:<seed>"),
            ("{{\"lr\": {learning_rate}}}", "{\"lr\": <learning_rate>}"),
            ("", ""),
        ] {
            assert_eq!(filled(typed), expected);
        }
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_told_with_those_that_do() {
        let error = Template::parse("--lr={learning_rat}").unwrap_err();
        assert_eq!(error, TemplateError::Unknown { name: "learning_rat".to_owned() });
        let hint = error.hint();
        assert!(hint.starts_with("did you mean `{learning_rate}`?"), "{hint}");
        assert!(PLACEHOLDERS.iter().all(|name| hint.contains(&format!("{{{name}}}"))), "{hint}");
        for single in ["{", "a}b", "{model"] {
            assert_eq!(Template::parse(single), Err(TemplateError::Unpaired), "{single}");
        }
    }
}
