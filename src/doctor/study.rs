//! What one study needs beside a sound machine: its devices, model, data, trainer, and room for what it writes.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::json;

use super::check::{Check, Subject};
use super::slurm::is_on_path;
use crate::arch::{self, ModelConfig};
use crate::data::{self, Tokenizer};
use crate::device;
use crate::hub::{Access, Hub, HubSettings, HubSpec, Source};
use crate::model::{self, TensorFiles, trainable_specs};
use crate::quantize;
use crate::space::{CardName, DeviceSpec, ModelSettings, NewModel, Optimizer, Study};
use crate::units::{Bytes, grouped};

/// Reading more than this would take longer than a doctor's patience.
const READ_AT_MOST: u64 = 256 << 20;

/// The line about the study's devices; `cards` are those that can be used, or why there are none.
pub(super) fn devices(study: &Study, cards: &Result<Vec<usize>, String>) -> Check {
    let subject = Subject::new("study.device", "study: devices");
    let mut names: Vec<String> = study.slots.iter().map(DeviceSpec::to_string).collect();
    names.dedup();
    let names = names.join(", ");
    if !study.executor.is_local() {
        return subject.not_checked(format!("{names}: jobs of Slurm have it, not this machine"));
    }
    for slot in &study.slots {
        let DeviceSpec::Cuda { card, .. } = slot else { continue };
        // A trainer brings its own CUDA.
        if study.trainer.is_none()
            && let Err(error) = device::check_built(slot)
        {
            let (what, fix) = told(&error);
            return subject.problem(what, fix);
        }
        // Whether there is a card with an identity, its first run tells.
        if let (Ok(cards), CardName::Index(index)) = (cards, card)
            && !cards.contains(index)
        {
            let measured = format!("cuda:{index} is not among the {} cards that are visible", cards.len());
            return subject.problem(measured, "correct `study.device`, or CUDA_VISIBLE_DEVICES");
        }
    }
    subject.ok(names)
}

/// The line about its model, and the model's configuration where that is at hand.
pub(super) fn base(study: &Study, hub: &Hub, access: &Access) -> (Check, Option<ModelConfig>) {
    let subject = Subject::new("study.model", "study: model");
    if study.own_examples().is_some() {
        return (subject.not_checked("model and data are the trainer's own"), None);
    }
    match &study.model {
        ModelSettings::New(new) => of_new(subject, new, study),
        ModelSettings::Source(source) => match Source::find(&source.typed, &source.path) {
            Ok(Source::Local(path)) => of_path(subject, &path),
            Ok(Source::Hub(spec)) => of_hub(subject, &spec, hub, access),
            Err(error) => (problem(subject, &error), None),
        },
    }
}

fn of_new(subject: Subject, new: &NewModel, study: &Study) -> (Check, Option<ModelConfig>) {
    match ModelConfig::new(new, 4 * study.data.max_length, 0) {
        Ok(config) => {
            let parameters = grouped(arch::parameter_count(&config));
            (subject.ok(format!("a new one of {parameters} parameters")), Some(config))
        }
        Err(error) => (problem(subject, &error), None),
    }
}

fn of_path(subject: Subject, path: &Path) -> (Check, Option<ModelConfig>) {
    if quantize::is_gguf(path) {
        let bytes = path.metadata().map_or(Bytes(0), |file| Bytes(file.len()));
        return (subject.ok(format!("{}, a GGUF file of {bytes}", path.display())), None);
    }
    match sound_folder(path) {
        Ok(config) => {
            let parameters = grouped(arch::parameter_count(&config));
            (subject.ok(format!("{}, {parameters} parameters", path.display())), Some(config))
        }
        Err(check) => (check(subject), None),
    }
}

/// By headers and configuration alone: a study reads the weights themselves before its first trial.
fn sound_folder(folder: &Path) -> Result<ModelConfig, impl FnOnce(Subject) -> Check + use<>> {
    let look = || -> Result<ModelConfig, Box<dyn std::error::Error>> {
        let config = model::read_config(folder)?;
        let files = TensorFiles::of_model(folder)?;
        for spec in arch::parameters(&config) {
            files.check(&spec.name, &spec.shape)?;
        }
        Tokenizer::from_folder(folder)?.check_against(&config)?;
        Ok(config)
    };
    look().map_err(|error| {
        let (what, fix) = told(&error);
        move |subject: Subject| subject.problem(what, fix)
    })
}

/// What is whole in the cache is looked at there; of anything else the hub is asked for its configuration.
fn of_hub(subject: Subject, spec: &HubSpec, hub: &Hub, access: &Access) -> (Check, Option<ModelConfig>) {
    let offline = Hub::new(HubSettings { offline: true, ..hub.settings().clone() });
    let mut silent = |_: crate::hub::HubEvent<'_>| ControlFlow::Continue(());
    match offline.fetch(spec, &mut silent) {
        Ok(fetched) => return of_path(subject, &fetched.folder),
        Err(error) if !matches!(access, Access::Open | Access::TokenRefused) => {
            return (problem(subject, &error), None);
        }
        Err(_) => {}
    }
    let read = hub.fetch_config(spec, &mut silent);
    let config = match read.map(|file| file.parent().map(model::read_config)) {
        Ok(Some(Ok(config))) => config,
        Ok(Some(Err(error))) => return (problem(subject, &error), None),
        Ok(None) => return (subject.not_checked("its configuration lies nowhere"), None),
        Err(error) => return (problem(subject, &error), None),
    };
    let parameters = grouped(arch::parameter_count(&config));
    (subject.ok(format!("{spec}, {parameters} parameters; the study fetches it")), Some(config))
}

/// The line about its data.
pub(super) fn rows(study: &Study) -> Check {
    let subject = Subject::new("study.data", "study: data");
    if study.own_examples().is_some() {
        return subject.not_checked("model and data are the trainer's own");
    }
    let source = study.data.source.display();
    let files = match data::source_files(&study.data) {
        Ok(files) => files,
        Err(error) => return problem(subject, &error),
    };
    let bytes: u64 = files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    if bytes > READ_AT_MOST {
        return subject.ok(format!("{source}, {}, which was not read", Bytes(bytes)));
    }
    match data::read_rows(&study.data) {
        Ok(rows) => {
            let (kept, report) = data::clean(rows);
            if kept.is_empty() {
                let measured = format!("{source}: {report}");
                return subject.problem(
                    measured,
                    "no row is left: correct the file, or `data.prompt` and `data.completion`",
                );
            }
            subject.ok(format!("{source}: {report}"))
        }
        Err(error) => problem(subject, &error),
    }
}

/// The line about the program of a foreign trainer; none where there is none.
pub(super) fn trainer(study: &Study) -> Option<Check> {
    let trainer = study.trainer.as_ref()?;
    let subject = Subject::new("study.trainer", "study: trainer");
    let words: Vec<String> = trainer.command.iter().map(ToString::to_string).collect();
    let program = words.first().cloned().unwrap_or_default();
    let is_there =
        if program.contains('/') { trainer.folder.join(&program).is_file() } else { is_on_path(&program) };
    if !is_there {
        let fix =
            "install it, or write the whole path in `trainer.command`; is the virtual environment active?";
        return Some(subject.problem(format!("there is no program `{program}`"), fix));
    }
    let ends_so = |word: &str| Path::new(word).extension().is_some_and(|ending| ending == "py");
    let is_script = |word: &&String| ends_so(word) && !word.contains('{');
    let script = words.iter().skip(1).find(is_script);
    if let Some(script) = script.filter(|script| !trainer.folder.join(script).is_file()) {
        let measured = format!("`{program}` is there, its script `{script}` is not");
        return Some(subject.problem(measured, "paths in `trainer.command` are relative to the study file"));
    }
    Some(subject.ok(words.join(" ")))
}

/// What a study writes.
#[derive(Clone, Copy, Debug)]
struct Needed {
    /// One checkpoint and the model that is its result.
    least: Bytes,
    /// A checkpoint of each trial and each run that confirms, models and GGUF files.
    most: Bytes,
}

/// The line about room for what it writes, where its model is known.
pub(super) fn room(study: &Study, config: Option<&ModelConfig>, free: Option<Bytes>) -> Check {
    let subject = Subject::new("study.room", "study: room on the disk");
    match (config, free) {
        (None, _) => subject.not_checked("the size of its model is not known here"),
        (_, None) => subject.not_checked("this system does not tell what is free"),
        (Some(config), Some(free)) => judged_room(subject, needed(study, config), free),
    }
}

fn needed(study: &Study, config: &ModelConfig) -> Needed {
    let trained: u64 =
        trainable_specs(config, study.train.lora.as_ref()).iter().map(|spec| spec.elements() as u64).sum();
    // f32 weights with their moments.
    let of_value = match study.train.optimizer {
        Optimizer::AdamW => 12,
        Optimizer::AdamW8Bit => 6,
    };
    let (checkpoint, parameters) = (trained * of_value, arch::parameter_count(config));
    let of_type = |name: &String| match name.as_str() {
        "f32" => 4 * parameters,
        "f16" | "bf16" => 2 * parameters,
        _ => parameters + parameters / 8,
    };
    let gguf: u64 = study.quantize.types.iter().map(of_type).sum();
    let confirm = study.search.confirm;
    let runs = (study.search.trials + confirm.candidates * confirm.seeds) as u64;
    let model = 4 * parameters;
    Needed { least: Bytes(checkpoint + model), most: Bytes(runs * checkpoint + 2 * model + gguf) }
}

fn judged_room(subject: Subject, needed: Needed, free: Bytes) -> Check {
    let Needed { least, most } = needed;
    let subject =
        subject.with_values(json!({ "least_bytes": least, "most_bytes": most, "free_bytes": free }));
    let measured = format!("{free} free; it writes {least} to {most}");
    if free < least {
        return subject.problem(measured, "free some space, or write another `study.output`");
    }
    if free < most {
        return subject
            .warning(measured, "free some space, or ask for fewer `search.trials` and `quantize.types`");
    }
    subject.ok(measured)
}

fn problem(subject: Subject, error: &dyn Display) -> Check {
    let (what, fix) = told(error);
    subject.problem(what, fix)
}

/// An error's first line, and its hint.
fn told(error: &dyn Display) -> (String, String) {
    let text = error.to_string();
    let (what, hint) = text.split_once("hint: ").unwrap_or((&text, "correct the study file"));
    (what.trim().to_owned(), hint.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn study(more: &str) -> Study {
        let text = format!("[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n{more}");
        Study::from_toml(&text, "my.toml".as_ref()).unwrap()
    }

    #[test]
    fn room_is_held_against_the_least_and_the_most_a_study_writes() {
        let needed = Needed { least: Bytes(100), most: Bytes(1000) };
        for (free, verdict) in
            [(99, Verdict::Problem), (100, Verdict::Warning), (999, Verdict::Warning), (1000, Verdict::Ok)]
        {
            assert_eq!(
                judged_room(Subject::new("id", "title"), needed, Bytes(free)).verdict,
                verdict,
                "{free}"
            );
        }
    }

    #[test]
    fn a_study_writes_checkpoints_of_what_it_trains() {
        let new = NewModel {
            vocab_size: 1000,
            hidden_size: 64,
            intermediate_size: 128,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
        };
        let config = ModelConfig::new(&new, 64, 0).unwrap();
        let parameters = arch::parameter_count(&config);
        let text =
            "[search]\ntrials = 3\nconfirm = { candidates = 2, seeds = 2 }\n[quantize]\ntypes = ['f16']\n";
        let full = needed(&study(text), &config);
        assert_eq!(full.least, Bytes(16 * parameters));
        assert_eq!(full.most, Bytes((7 * 12 + 8 + 2) * parameters));
        let adapters = needed(&study(&format!("{text}[lora]\nrank = 2\n")), &config);
        assert!(adapters.most < full.most && adapters.least.0 > 4 * parameters);
    }

    #[test]
    fn a_card_that_is_not_visible_is_a_problem() {
        let of = |device: &str, cards: Result<Vec<usize>, String>| {
            let text = format!("[study]\ndevice = '{device}'\n[trainer]\ncommand = ['sh', 'train.sh']\n");
            devices(&study(&text), &cards).verdict
        };
        assert_eq!(of("cpu", Err("none".to_owned())), Verdict::Ok);
        assert_eq!(of("cuda:1", Ok(vec![0, 1])), Verdict::Ok);
        assert_eq!(of("cuda:2", Ok(vec![0, 1])), Verdict::Problem);
    }

    #[test]
    fn a_trainer_whose_program_or_script_is_missing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let of = |command: &str| {
            let text = format!(
                "[model]\nsource = 'base'\n[data]\nsource = 'rows.csv'\n[trainer]\ncommand = {command}\n"
            );
            let study = Study::from_toml(&text, &folder.path().join("my.toml")).unwrap();
            trainer(&study).unwrap()
        };
        assert!(of("['no-such-python', 'train.py']").measured.contains("no program `no-such-python`"));
        assert!(
            of("['sh', 'train.py', '{learning_rate}']").measured.contains("its script `train.py` is not")
        );
        std::fs::write(folder.path().join("train.py"), "").unwrap();
        assert_eq!(of("['sh', 'train.py', '{learning_rate}']").verdict, Verdict::Ok);
        assert!(trainer(&study("")).is_none());
    }

    #[test]
    fn an_error_is_what_is_wrong_and_its_hint() {
        assert_eq!(told(&"a: b\n  hint: do c"), ("a: b".to_owned(), "do c".to_owned()));
        assert_eq!(told(&"a"), ("a".to_owned(), "correct the study file".to_owned()));
    }
}
