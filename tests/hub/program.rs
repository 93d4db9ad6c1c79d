//! The real program, with models by hub id.

use std::fs;
use std::process::Command;

use crate::common::{Ran, TinyStudy, diapason};
use crate::server::{COMMIT, Fault, ID, OTHER, Server};

/// The program where `server` is the hub.
fn at(server: &Server, study: &TinyStudy, arguments: &[&str]) -> Command {
    let mut command = diapason(arguments);
    command.current_dir(study.path(".")).env("HF_ENDPOINT", server.endpoint()).env("HF_HOME", server.home());
    command.env_remove("HF_HUB_OFFLINE");
    command
}

fn run(server: &Server, study: &TinyStudy, arguments: &[&str]) -> Ran {
    Ran::of(at(server, study, arguments).output().unwrap())
}

#[test]
fn a_model_of_the_hub_has_the_loss_of_its_folder() {
    let study = TinyStudy::new();
    let server = Server::of_folder(&study.path("base"));
    let local = run(&server, &study, &["eval", "base", "--data", "rows.csv", "--json"]).json();
    let ran = run(&server, &study, &["eval", ID, "--data", "rows.csv", "--json"]);
    assert_eq!(ran.json(), local);
    let told = format!("fetching {ID}@{COMMIT}");
    assert!(ran.stderr.contains(&told) && ran.stderr.contains("model.safetensors"), "{}", ran.stderr);
    let offline = at(&server, &study, &["eval", ID, "--data", "rows.csv", "--json"])
        .env("HF_HUB_OFFLINE", "1")
        .output();
    let offline = Ran::of(offline.unwrap());
    assert_eq!(offline.json(), local);
    assert!(!offline.stderr.contains("fetching"), "{}", offline.stderr);
}

#[test]
fn a_folder_wins_over_the_hub_and_what_is_neither_is_told() {
    let study = TinyStudy::new();
    let server = Server::of_folder(&study.path("base"));
    fs::create_dir_all(study.path("ada")).unwrap();
    fs::rename(study.path("base"), study.path(ID)).unwrap();
    run(&server, &study, &["eval", ID, "--data", "rows.csv", "--json"]).json();
    assert_eq!(server.requests(), [""; 0]);
    let ran = run(&server, &study, &["eval", "a/b/c", "--data", "rows.csv"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no such file or folder, and it is no hub id"), "{}", ran.stderr);
}

#[test]
fn a_quantized_model_of_the_hub_is_named_after_it_and_lies_here() {
    let study = TinyStudy::new();
    let server = Server::of_folder(&study.path("base"));
    let ran = run(&server, &study, &["quantize", ID, "-t", "q8_0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(study.path("tiny-q8_0.gguf").is_file(), "{:?}", study.files());
}

#[test]
fn exit_codes_tell_a_wrong_name_from_a_hub_that_is_away() {
    let study = TinyStudy::new();
    let server = Server::of_folder(&study.path("base"));
    let eval = |id: &str| run(&server, &study, &["eval", id, "--data", "rows.csv"]);
    for (id, code) in [("ada/none", 2), ("ada/tiny@none", 2)] {
        let ran = eval(id);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    }
    server.fault("/api/", 9, Fault::Status(418, ""));
    assert_eq!(eval(ID).code, Some(1));
}

/// Also shows that trials need no network: between the first command and the second the branch
/// moves, and the third finds no hub at all.
#[test]
fn a_study_keeps_the_commit_it_began_with() {
    let study = TinyStudy::new()
        .set("model.source", ID)
        .set("search.trials", 1)
        .set("search.rungs", 1)
        .set("space.precision", "f32")
        .set("space.effective_batch_size", 2)
        .set("quantize.types", toml::value::Array::new());
    let server = Server::of_folder(&study.path("base"));
    let fit = run(&server, &study, &["fit", "study.toml", "--json"]);
    fit.json();
    assert!(fit.stderr.contains(&format!("fetching {ID}@{COMMIT}")), "{}", fit.stderr);
    server.commit(
        "main",
        OTHER,
        &[("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors", b"")],
    );
    server.requests();
    let ran = run(&server, &study, &["run", "study.toml", "--json"]);
    let summary = ran.json();
    assert_eq!(summary["hub_model"], format!("{ID}@{COMMIT}"), "{summary}");
    assert_eq!(server.requests(), [""; 0]);
    let page = fs::read_to_string(summary["report"].as_str().unwrap()).unwrap();
    assert!(page.contains(&format!("{ID}@{COMMIT}")));
    // Removed from the cache it is fetched again, at that commit.
    fs::remove_dir_all(server.cached()).unwrap();
    run(&server, &study, &["run", "study.toml", "--json"]).json();
    assert!(server.requests().iter().any(|line| line.contains(COMMIT)));
}

#[cfg(unix)]
#[test]
fn a_study_that_is_interrupted_while_it_fetches_ends_and_goes_on_from_there() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let study = TinyStudy::new().set("model.source", ID);
    let server = Server::of_folder(&study.path("base"));
    server.fault("/cdn/", 1, Fault::Late(Duration::from_secs(2)));
    let mut command = at(&server, &study, &["fit", "study.toml"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !server.requests().iter().any(|line| line.contains("/cdn/")) {
        assert!(begun.elapsed() < Duration::from_mins(1) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("interrupted; what has arrived is kept"), "{}", ran.stderr);
    run(&server, &study, &["fit", "study.toml", "--json"]).json();
}

#[test]
fn the_doctor_knows_the_hub() {
    let study = TinyStudy::new();
    let server = Server::of_folder(&study.path("base"));
    let found = &run(&server, &study, &["doctor", "--json"]).json()["hub"];
    assert_eq!(found["endpoint"], server.endpoint());
    assert_eq!(found["access"], "reachable");
    let ran = run(&server, &study, &["doctor"]);
    let told = format!("{} is reachable", server.endpoint());
    assert!(ran.stdout.contains(&told), "{}", ran.stdout);
    server.only_for("hf_right");
    let with = |token: &str| {
        let ran = at(&server, &study, &["doctor", "--json"]).env("HF_TOKEN", token).output();
        let ran = Ran::of(ran.unwrap());
        assert!(!ran.stdout.contains(token) && !ran.stderr.contains(token), "{}", ran.stdout);
        let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let checks = found["checks"].as_array().unwrap().clone();
        (ran.code, checks.into_iter().find(|check| check["id"] == "hub.token").unwrap())
    };
    let (code, check) = with("hf_right");
    assert_eq!((code, &check["verdict"]), (Some(0), &"ok".into()));
    let (code, check) = with("hf_wrong");
    assert_eq!((code, &check["verdict"]), (Some(1), &"problem".into()));
    assert!(check["fix"].as_str().unwrap().contains("HF_TOKEN"));
}
