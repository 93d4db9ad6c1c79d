//! A study belongs to the data and the base model it began with.

use std::fs;
use std::path::Path;

use super::{Folder, device, drive};
use crate::space::{ModelSettings, ModelSource, Study};
use crate::study::StudyError;

/// The error names `file` and both ways out.
fn check_refused(study: &Study, file: &Path) {
    let error = drive(study, &mut device()).unwrap_err();
    assert!(matches!(error, StudyError::Changed { .. }), "{error}");
    for words in [&*file.to_string_lossy(), "`[study] name`", "remove the output folder"] {
        assert!(error.to_string().contains(words), "{error}");
    }
}

fn existing(base: &Path) -> ModelSettings {
    ModelSettings::Source(ModelSource { typed: base.to_string_lossy().into_owned(), path: base.to_owned() })
}

#[test]
fn a_data_file_that_has_changed_is_noticed_and_one_that_was_only_touched_is_not() {
    let folder = Folder::new();
    let (study, file) = (folder.study(|_| ()), folder.path("rows.csv"));
    drive(&study, &mut device()).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("word 7,", "word x,")).unwrap();
    check_refused(&study, &file);
    fs::write(&file, text).unwrap();
    assert!(drive(&study, &mut device()).is_ok());
}

#[test]
fn a_base_model_that_has_changed_is_noticed() {
    for (name, from, to) in [
        ("config.json", "\"eos_token_id\": 0", "\"eos_token_id\": 1"),
        ("tokenizer.json", "version", "Version"),
    ] {
        let folder = Folder::new();
        drive(&folder.study(|study| study.output = folder.path("first")), &mut device()).unwrap();
        let base = folder.path("first/base");
        let study = folder.study(|study| study.model = existing(&base));
        drive(&study, &mut device()).unwrap();
        let text = fs::read_to_string(base.join(name)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(base.join(name), text.replacen(from, to, 1)).unwrap();
        check_refused(&study, &base);
    }
}

#[test]
fn weights_that_have_changed_are_noticed() {
    let folder = Folder::new();
    let study = folder.study(|_| ());
    drive(&study, &mut device()).unwrap();
    let file = folder.path("results/base/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    check_refused(&study, &folder.path("results/base"));
}

#[test]
fn data_that_is_mended_before_the_study_could_begin_is_welcome() {
    let folder = Folder::new();
    let (study, file) = (folder.study(|_| ()), folder.path("rows.csv"));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, "prompt,completion\na,b\n").unwrap();
    assert!(matches!(drive(&study, &mut device()), Err(StudyError::Data(_))));
    fs::write(&file, text).unwrap();
    assert!(drive(&study, &mut device()).is_ok());
}
