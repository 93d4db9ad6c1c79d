//! From `[trainer]` as typed to one that can be started.

use std::path::Path;

use super::{Check, Checked};
use crate::space::study_file::{MetricsKeysSection, StudyFile, TrainerSection};
use crate::space::{MetricsForm, MetricsKeys, MetricsSettings, Template, TrainerSettings};

/// As long as this program's own children may be silent; loading a large model takes minutes.
const SILENCE_MINUTES: f64 = 15.0;
const CHECKPOINT: &str = "checkpoint";

impl Check<'_> {
    pub(super) fn trainer(&self, file: &StudyFile) -> Checked<Option<TrainerSettings>> {
        let Some(section) = &file.trainer else { return Ok(None) };
        let trainer = TrainerSettings {
            command: self.command(section, file.lora.is_some())?,
            folder: self.folder.to_owned(),
            metrics: self.metrics(section)?,
            probes: section.probes.unwrap_or(true),
            examples: section
                .examples
                .map(|examples| self.count("trainer.examples", examples, 1, 1 << 40))
                .transpose()?,
            silence_minutes: self.number(
                "trainer.silence_minutes",
                section.silence_minutes.unwrap_or(SILENCE_MINUTES),
                0.01..=10_080.0,
            )?,
        };
        if !trainer.probes && file.space.micro_batch_size.is_none() {
            return self.wrong(
                "trainer.probes",
                "false, so nobody finds out what fits",
                "list `micro_batch_size` in [space], with `gradient_accumulation_steps`",
            );
        }
        self.own_data(&trainer, file)?;
        Ok(Some(trainer))
    }

    /// What needs the model and the data is not to be had where they are the trainer's.
    fn own_data(&self, trainer: &TrainerSettings, file: &StudyFile) -> Checked<()> {
        if trainer.examples.is_none() {
            return Ok(());
        }
        if file.model.source.is_none() {
            let right =
                "name the model it trains in `model.source`; with `trainer.examples` none is made for it";
            return self.wrong("model.new", "given to a trainer with data of its own", right);
        }
        if file.quantize.types.as_ref().is_some_and(|types| !super::many(types).is_empty()) {
            let right = "leave it out: what GGUF files lose can't be told without a test split. `diapason quantize` \
                         makes them of the folder that the study leaves";
            return self.wrong("quantize.types", "given to a trainer with data of its own", right);
        }
        Ok(())
    }

    fn command(&self, section: &TrainerSection, has_lora: bool) -> Checked<Vec<Template>> {
        let key = "trainer.command";
        if section.command.first().is_none_or(String::is_empty) {
            return self.wrong(
                key,
                "empty",
                "give a program with its arguments, such as [\"python\", \"train.py\"]",
            );
        }
        let command: Vec<Template> =
            section.command.iter().map(|typed| self.template(key, typed)).collect::<Checked<_>>()?;
        let adapters = command.iter().flat_map(Template::names).find(|name| name.starts_with("lora_"));
        match adapters.filter(|_| !has_lora) {
            Some(name) => {
                self.wrong(key, format!("using `{{{name}}}`"), "add a section [lora], which sets it")
            }
            None => Ok(command),
        }
    }

    fn template(&self, key: &str, typed: &str) -> Checked<Template> {
        Template::parse(typed)
            .or_else(|error| self.wrong(key, format!("`{typed}`, with {error}"), &error.hint()))
    }

    fn metrics(&self, section: &TrainerSection) -> Checked<Option<MetricsSettings>> {
        let key = "trainer.metrics_file";
        let Some(typed) = &section.metrics_file else {
            return match section.metrics_keys {
                None => Ok(None),
                Some(_) => {
                    self.wrong("trainer.metrics_keys", "given without a file", "name the `metrics_file`")
                }
            };
        };
        let file = self.template(key, typed)?;
        if !file.names().eq([CHECKPOINT]) {
            let right = "it holds `{checkpoint}` and no other placeholder, such as `{checkpoint}/metrics.jsonl`: each \
                         run has a file of its own";
            return self.wrong(key, format!("`{typed}`"), right);
        }
        let ending = Path::new(typed).extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let form = match ending.as_deref() {
            Some("jsonl" | "ndjson") => MetricsForm::Lines,
            Some("json") => MetricsForm::TrainerState,
            _ => {
                let right =
                    "it ends in `.jsonl` (one object a line) or `.json` (Hugging Face's trainer_state.json)";
                return self.wrong(key, format!("`{typed}`"), right);
            }
        };
        Ok(Some(MetricsSettings { file, form, keys: keys(section.metrics_keys.clone().unwrap_or_default()) }))
    }
}

fn keys(typed: MetricsKeysSection) -> MetricsKeys {
    let default = MetricsKeys::default();
    MetricsKeys {
        step: typed.step.unwrap_or(default.step),
        loss: typed.loss.unwrap_or(default.loss),
        eval_loss: typed.eval_loss.unwrap_or(default.eval_loss),
        learning_rate: typed.learning_rate.unwrap_or(default.learning_rate),
        grad_norm: typed.grad_norm.unwrap_or(default.grad_norm),
        tokens_seen: typed.tokens_seen.unwrap_or(default.tokens_seen),
        eval_seconds: typed.eval_seconds.unwrap_or(default.eval_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Study, StudyFileError};
    use super::*;

    fn study(more: &str) -> Result<Study, StudyFileError> {
        let text = format!("[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n{more}");
        Study::from_toml(&text, Path::new("spaces/tiny.toml"))
    }

    #[test]
    fn a_command_is_enough() {
        let study = study("[trainer]\ncommand = ['python', 'train.py', '--lr={learning_rate}']\n").unwrap();
        let trainer = study.trainer.as_ref().unwrap();
        let command: Vec<String> = trainer.command.iter().map(Template::to_string).collect();
        assert_eq!(command, ["python", "train.py", "--lr={learning_rate}"]);
        assert_eq!((trainer.folder.as_path(), trainer.probes), (Path::new("spaces"), true));
        assert_eq!((trainer.examples, &trainer.metrics), (None, &None));
        assert_eq!(study.quantize.types, ["q8_0", "q4_k_m"]);
        assert_eq!(trainer.as_typed(&study.data.source), Path::new("rows.csv"));
    }

    #[test]
    fn metrics_are_read_by_the_names_of_hugging_face_unless_others_are_given() {
        let more = "[trainer]\ncommand = ['t']\nmetrics_file = '{checkpoint}/m.jsonl'\nmetrics_keys = { loss = 'nll' }\n";
        let metrics = study(more).unwrap().trainer.unwrap().metrics.unwrap();
        assert_eq!(metrics.form, MetricsForm::Lines);
        assert_eq!((metrics.keys.loss.as_str(), metrics.keys.eval_loss.as_str()), ("nll", "eval_loss"));
    }

    #[test]
    fn the_shipped_studies_with_trainers_are_valid() {
        for (name, text) in [
            ("transformers", include_str!("../../../search-spaces/transformers.toml")),
            ("torchrun", include_str!("../../../search-spaces/torchrun.toml")),
        ] {
            let study = Study::from_toml(text, Path::new("search-spaces/study.toml")).unwrap();
            assert!(study.name == name && study.trainer.is_some());
        }
    }

    #[test]
    fn data_of_its_own_needs_no_format_and_leaves_gguf_files_out() {
        let text =
            "[model]\nsource = 'o/m'\n[data]\nsource = 'o/d'\n[trainer]\ncommand = ['t']\nexamples = 900\n";
        let study = Study::from_toml(text, Path::new("s.toml")).unwrap();
        assert_eq!((study.own_examples(), study.quantize.types.len()), (Some(900), 0));
    }

    #[test]
    fn what_can_not_be_started_or_understood_names_its_key_and_what_would_be_right() {
        for (more, key, hint) in [
            ("command = []", "trainer.command", "such as"),
            ("command = ['t', '{learningrate}']", "trainer.command", "{learning_rate}"),
            ("command = ['t', '{lora_rank}']", "trainer.command", "[lora]"),
            ("command = ['t']\nmetrics_file = 'm.jsonl'", "trainer.metrics_file", "{checkpoint}"),
            ("command = ['t']\nmetrics_file = '{checkpoint}/m.txt'", "trainer.metrics_file", "jsonl"),
            ("command = ['t']\nmetrics_keys = { loss = 'l' }", "trainer.metrics_keys", "metrics_file"),
            ("command = ['t']\nprobes = false", "trainer.probes", "micro_batch_size"),
            ("command = ['t']\nexamples = 0", "trainer.examples", "between"),
            ("command = ['t']\nsilence_minutes = 0", "trainer.silence_minutes", "between"),
            (
                "command = ['t']\nexamples = 9\n[quantize]\ntypes = 'q8_0'",
                "quantize.types",
                "diapason quantize",
            ),
        ] {
            let error = study(&format!("[trainer]\n{more}\n")).unwrap_err();
            assert!(error.message.contains(key), "{error}");
            assert!(error.hint.as_ref().is_some_and(|text| text.contains(hint)), "{error}");
        }
        let error = study("[trainer]\ncomand = ['t']\n").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `command`?"));
    }
}
