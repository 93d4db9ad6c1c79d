//! The output folder of a study: in use, changed, damaged, not writable, not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::TinyStudy;
use crate::refusal::{check, refused};

fn quick() -> TinyStudy {
    TinyStudy::new()
        .set("search.trials", 1)
        .set("space.precision", "f32")
        .set("search.max_micro_batch_size", 1)
}

#[test]
fn a_study_that_never_ran_has_no_status_and_no_report() {
    for command in ["status", "report"] {
        let study = TinyStudy::new();
        refused(&study, &[command], 2, &["study.db", "does not exist", "diapason run"]);
        assert!(!study.path("results").exists());
    }
}

#[test]
fn a_study_file_that_changed_after_the_study_began_is_refused_with_what_changed() {
    let study = quick();
    study.run(&["fit", "--json"]).json();
    let study = study.set("train.epochs", 3);
    refused(&study, &["run"], 2, &["the study changed", "study.db", "train.epochs"]);
    let study = study.set("train.epochs", 2);
    study.run(&["fit", "--json"]).json();
}

#[test]
fn a_second_driver_is_told_which_process_has_the_study() {
    let study = quick().set("train.epochs", 10_000);
    let mut first = study.start(&["run"]);
    while !study.path("results/study.db").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let process = format!("process {}", first.id());
    check(&study.run(&["run"]), 1, &["already being run by", &process, ".lock"]);
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_database_that_is_damaged_or_a_strangers_is_refused_and_left_alone() {
    let study = quick();
    study.run(&["fit", "--json"]).json();
    let mut bytes = fs::read(study.path("results/study.db")).unwrap();
    bytes[8192..].fill(0x5a);
    for bytes in [bytes.as_slice(), b"not a database, but a diary of many words"] {
        study.write("results/study.db", bytes);
        for command in ["run", "status", "report"] {
            refused(&study, &[command], 1, &["results/study.db"]);
            assert!(fs::read(study.path("results/study.db")).unwrap() == bytes);
        }
    }
}

#[test]
fn an_output_folder_that_is_not_writable_is_named() {
    let study = quick();
    let folder = study.path("locked");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    // The administrator writes where nobody may.
    let everything_is_allowed = fs::write(folder.join("try"), "").is_ok();
    let output = if everything_is_allowed { "/proc/1/results" } else { folder.to_str().unwrap() };
    let study = study.set("study.output", output);
    refused(&study, &["run"], 1, &[output, "cannot be written", "permissions"]);
}

#[test]
fn a_file_in_place_of_the_output_folder_is_named() {
    let study = quick();
    study.write("results", b"");
    refused(&study, &["run"], 1, &["results"]);
}
