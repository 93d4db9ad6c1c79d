//! A study file that is missing, is not TOML, or says what can't be.

use crate::common::{Ran, TinyStudy, diapason};
use crate::refusal::{check, refused};

#[test]
fn a_missing_study_file_is_named_with_an_example() {
    let ran = Ran::of(diapason(&["run", "no/such.toml"]).output().unwrap());
    check(&ran, 2, &["no/such.toml", "search-spaces/quickstart.toml"]);
}

#[test]
fn a_folder_in_place_of_the_study_file_is_named() {
    let ran = Ran::of(diapason(&["run", "src"]).output().unwrap());
    check(&ran, 2, &["src", "directory"]);
}

#[test]
fn toml_that_does_not_parse_is_shown_with_its_line() {
    let study = TinyStudy::new();
    study.write("study.toml", b"[model]\nsource = \"base\"\n[data]\nsource = rows.csv\n");
    refused(&study, &["run"], 2, &["study.toml:4:"]);
    study.write("study.toml", b"[model]\nsource = \"base\n[data]\nsource = \"rows.csv\"\n");
    refused(&study, &["run"], 2, &["study.toml:2:"]);
    study.write("study.toml", b"[model\nsource = \"base\"\n");
    refused(&study, &["run"], 2, &["study.toml:1:"]);
    study.write("study.toml", b"\xff\xfe[model]\n");
    refused(&study, &["run"], 2, &["study.toml"]);
}

#[test]
fn a_section_or_key_that_is_missing_is_named() {
    let study = TinyStudy::new();
    study.write("study.toml", b"[model]\nsource = \"base\"\n");
    refused(&study, &["run"], 2, &["study.toml", "`data`"]);
    study.write("study.toml", b"[model]\nsource = \"base\"\n[data]\nformat = \"csv\"\n");
    refused(&study, &["run"], 2, &["study.toml:3:", "`source`"]);
    study.write("study.toml", b"[model]\n[data]\nsource = \"rows.csv\"\n");
    refused(&study, &["run"], 2, &["study.toml", "`model`", "[model.new]"]);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_right_one() {
    let study = TinyStudy::new().set("train.epoch", 3);
    refused(&study, &["run"], 2, &["study.toml:", "unknown key `epoch`", "did you mean `epochs`?"]);
    let study = TinyStudy::new().set("trian.epochs", 3);
    refused(&study, &["run"], 2, &["study.toml:", "unknown key `trian`", "did you mean `train`?"]);
    let study = TinyStudy::new().set("train.zebra", 3);
    refused(&study, &["run"], 2, &["study.toml:", "unknown key `zebra`"]);
    let study = TinyStudy::new().set("space.learning_rate.min", 1e-5);
    refused(&study, &["run"], 2, &["study.toml:", "low", "high"]);
}

#[test]
fn a_trainer_that_can_not_be_understood_is_refused_with_what_would_be_right() {
    let study = TinyStudy::new().set("trainer.comand", "t");
    refused(&study, &["run"], 2, &["study.toml:", "unknown key `comand`", "did you mean `command`?"]);
    let study = TinyStudy::new().set("trainer.command", vec!["t", "{lr}"]);
    refused(&study, &["run"], 2, &["`trainer.command` is `{lr}`", "stands for nothing", "{learning_rate}"]);
    let study = TinyStudy::new().set("trainer.command", "python train.py");
    refused(&study, &["run"], 2, &["study.toml:", "python train.py", "sequence"]);
}

#[test]
fn a_value_of_another_type_is_shown_with_the_right_one() {
    let study = TinyStudy::new().set("train.epochs", "three");
    refused(&study, &["run"], 2, &["study.toml:", "three"]);
    let study = TinyStudy::new().set("space.learning_rate", "high");
    refused(&study, &["run"], 2, &["study.toml:", "low"]);
    let study = TinyStudy::new().set("space.effective_batch_size", "many");
    refused(&study, &["run"], 2, &["study.toml:"]);
    let study = TinyStudy::new().set("study.seed", -1);
    refused(&study, &["run"], 2, &["study.toml:", "-1"]);
}

#[test]
fn a_value_out_of_range_is_shown_with_the_range() {
    let study = TinyStudy::new().set("train.epochs", -1);
    refused(&study, &["run"], 2, &["study.toml", "`train.epochs` is -1", "between 0.01 and 10000"]);
    let study = TinyStudy::new().set("space.precision", "fp8");
    refused(&study, &["run"], 2, &["study.toml", "space.precision", "fp8", "`bf16`"]);
    let study = TinyStudy::new().set("data.validation_fraction", 0.9);
    refused(&study, &["run"], 2, &["`data.validation_fraction` is 0.9", "0.5"]);
    let study = TinyStudy::new().set("study.device", "gpu");
    refused(&study, &["run"], 2, &["`study.device`", "gpu", "`cuda:0`"]);
    let study = TinyStudy::new().set("quantize.types", "q9");
    refused(&study, &["run"], 2, &["quantize.types", "`q9`", "q4_k_m"]);
}
