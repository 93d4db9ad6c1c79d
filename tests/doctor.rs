//! `doctor` as the real program, on this machine and on ones that were spoiled on purpose.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails its test")]

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::process::Command;

use serde_json::Value;

use common::{Ran, TinyStudy, diapason};

/// What `doctor --json` said, whatever the exit code was.
fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", ran.stdout, ran.stderr))
}

fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no `{id}` in {report:#}"))
}

/// Verdict, measured and fix of a check.
fn told<'a>(report: &'a Value, id: &str) -> (&'a str, &'a str, &'a str) {
    let check = check(report, id);
    let text = |key: &str| check[key].as_str().unwrap_or_default();
    (text("verdict"), text("measured"), text("fix"))
}

fn here(command: &mut Command) -> Ran {
    Ran::of(command.output().unwrap())
}

#[test]
fn a_sound_machine_is_told_so_in_a_table_and_nothing_is_left_behind() {
    let (place, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ran = here(diapason(&["doctor"]).current_dir(place.path()).env("TMPDIR", temporary.path()));
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    let line = |title: &str| {
        let found = ran.stdout.lines().find(|line| line.contains(title));
        found.unwrap_or_else(|| panic!("no `{title}` in {}", ran.stdout))
    };
    for (title, verdict, words) in [
        ("cpu: training in f32 ", "ok", "8 steps, loss "),
        ("cpu: training in bf16 ", "ok", "off the processor's f32"),
        ("cpu: kernels against tensor operations ", "ok", "20 weights, off by "),
        ("cpu: every weight gets a gradient ", "ok", "all 20 weights"),
        ("cpu: out of memory, and on ", "ok", "told as out of memory; the next run finished"),
        ("cpu: predicted against measured peak ", "ok", " MiB predicted, "),
        // How fast a disk is, is its own affair.
        ("results folder ", "", "MB/s"),
    ] {
        let line = line(title);
        assert!(line.trim_start().starts_with(verdict) && line.contains(words), "{line}");
        // Named while it runs, before anything is known of it.
        assert!(
            title == "results folder " || ran.stderr.contains(&format!("  {title}…\n")),
            "{}",
            ran.stderr
        );
    }
    if cfg!(not(feature = "cuda")) {
        let line = line("cuda: NVML against the pool");
        assert!(line.contains("not checked") && line.contains("no CUDA support"), "{line}");
    }
    assert!(ran.stdout.lines().last().unwrap().contains(" 0 problem, "), "{}", ran.stdout);
    for folder in [&place, &temporary] {
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}

#[test]
fn a_script_reads_every_check_and_the_facts_of_old() {
    let ran = here(&mut diapason(&["doctor", "--json", "--quiet"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let report = report(&ran);
    let mut ids: Vec<&str> = vec![];
    for check in report["checks"].as_array().unwrap() {
        let verdict = check["verdict"].as_str().unwrap();
        assert!(["ok", "warning", "not_checked"].contains(&verdict), "{check}");
        assert_eq!(check["fix"].is_string(), verdict == "warning", "{check}");
        assert!(!check["measured"].as_str().unwrap().is_empty(), "{check}");
        ids.push(check["id"].as_str().unwrap());
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
    let peak = &check(&report, "cpu.peak")["values"];
    assert!(peak["predicted_bytes"].as_u64().unwrap() > 16 << 20, "{peak}");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["cpu"]["total_bytes"].as_u64() > report["cpu"]["free_bytes"].as_u64());
    for key in ["cards", "nvml_problem", "cuda", "cuda_problem", "hub", "seconds"] {
        assert!(report.get(key).is_some(), "{key}");
    }
    assert!(report["seconds"].as_f64().unwrap() < 120.0);
}

/// The hub is not there, so that its address is in messages.
#[test]
fn neither_token_nor_address_credentials_are_told_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/bundle.json");
    let mut command = diapason(&["doctor", "--bundle", file.to_str().unwrap()]);
    command
        .env("HF_TOKEN", "hf_sesame")
        .env("HF_ENDPOINT", "http://ali:open-up@127.0.0.1:9/x?key=forty-thieves");
    command.env("OMP_NUM_THREADS", "3").env_remove("HF_HUB_OFFLINE");
    let ran = here(&mut command);
    let bundle = fs::read_to_string(&file).unwrap();
    assert!(ran.stdout.contains("http://…@127.0.0.1:9/x?…"), "{}", ran.stdout);
    for secret in ["hf_sesame", "open-up", "forty-thieves"] {
        for text in [&bundle, &ran.stdout, &ran.stderr] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let bundle: Value = serde_json::from_str(&bundle).unwrap();
    assert_eq!(bundle["environment"]["OMP_NUM_THREADS"], "3");
    assert_eq!(bundle["environment"]["HF_TOKEN"], "(set, not told)");
    assert_eq!(bundle["program"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told(&bundle["report"], "cpu.cap").0, "ok");
    assert_eq!(bundle["report"]["hub"]["token"], true);
}

#[test]
fn results_that_cannot_be_written_are_a_problem_with_a_fix_and_a_code() {
    let study = TinyStudy::new();
    fs::write(study.path("file"), "").unwrap();
    let study = {
        let output = study.path("file/results").to_str().unwrap().to_owned();
        study.set("study.output", output)
    };
    let ran = study.run(&["doctor", "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    let report = report(&ran);
    let (verdict, measured, fix) = told(&report, "disk.writing");
    assert_eq!(verdict, "problem");
    assert!(
        measured.contains("file/results: nothing can be written") && fix.contains("study.output"),
        "{measured}"
    );
    assert_eq!(told(&report, "cpu.training.f32").0, "ok", "the rest is looked at all the same");
}

#[test]
fn a_study_that_can_run_here_is_told_so_and_not_begun() {
    let study = TinyStudy::new();
    let before = study.files();
    let ran = study.run(&["doctor", "--json"]);
    let report = ran.json();
    for id in ["study.device", "study.model", "study.data", "study.room"] {
        assert_eq!(told(&report, id).0, "ok", "{}", check(&report, id));
    }
    assert!(told(&report, "study.model").1.contains("parameters"));
    assert!(told(&report, "study.data").1.contains("rows read"));
    assert_eq!(study.files(), before);
}

#[test]
fn what_a_study_lacks_is_a_problem_each() {
    let study = TinyStudy::new()
        .set("model.source", "nowhere")
        .set("data.source", "nothing.csv")
        .set("trainer.command", vec!["no-such-python".to_owned(), "{learning_rate}".to_owned()]);
    let ran = study.run(&["doctor", "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let report = report(&ran);
    for (id, words) in
        [("study.model", "nowhere"), ("study.data", "nothing.csv"), ("study.trainer", "no-such-python")]
    {
        let (verdict, measured, fix) = told(&report, id);
        assert!(
            verdict == "problem" && measured.contains(words) && !fix.is_empty(),
            "{}",
            check(&report, id)
        );
    }
    assert_eq!(told(&report, "study.room").0, "not_checked");
    let table = study.run(&["doctor", "--quiet"]);
    assert!(table.stdout.contains("problem      study: trainer") && table.stdout.contains("→ install it"));
    study.write("study.toml", b"[modle]\n");
    let ran = study.run(&["doctor"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "a study file that can't be read is none");
}

#[test]
fn a_weight_of_another_shape_is_found_before_a_study_begins() {
    let study = TinyStudy::new();
    let config = fs::read_to_string(study.path("base/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["intermediate_size"] = 8.into();
    study.write("base/config.json", config.to_string().as_bytes());
    let ran = study.run(&["doctor", "--json"]);
    let report = report(&ran);
    let (verdict, measured, _) = told(&report, "study.model");
    assert!(verdict == "problem" && measured.contains("shape"), "{measured}");
}

#[test]
fn without_room_for_the_tiny_model_that_is_the_problem() {
    let ran = here(diapason(&["doctor", "--json"]).env("TMPDIR", "/no/such/folder"));
    assert_eq!(ran.code, Some(1));
    let report = report(&ran);
    let (verdict, _, fix) = told(&report, "tiny");
    assert!(verdict == "problem" && fix.contains("TMPDIR"));
}

#[test]
fn a_processor_that_is_held_to_less_is_a_warning_and_no_failure() {
    let ran =
        here(diapason(&["doctor", "--json"]).env("DIAPASON_CPU", "portable").env("RAYON_NUM_THREADS", "1"));
    let report = ran.json();
    if check(&report, "cpu.instructions")["values"]["detected"] != "portable" {
        let (verdict, _, fix) = told(&report, "cpu.instructions");
        assert!(verdict == "warning" && fix.contains("unset DIAPASON_CPU"), "{fix}");
    }
    assert_eq!(told(&report, "cpu.gradients.f32").0, "ok");
}

#[cfg(unix)]
mod unix {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// A folder with an `sbatch` that says this and ends so, put before all others.
    fn with_sbatch(study: &TinyStudy, script: &str) -> Ran {
        let folder = study.path("bin");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("sbatch");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut command = diapason(&["doctor", "--json"]);
        here(command.current_dir(study.path(".")).arg("study.toml").env("PATH", path))
    }

    #[test]
    fn slurm_is_asked_for_the_job_of_the_study_and_begins_none() {
        let study = TinyStudy::new().set("executor.kind", "slurm").set("executor.partition", "gpu");
        let asked = study.path("asked");
        let ran = with_sbatch(
            &study,
            &format!("echo \"$@\" > {}; echo 'sbatch: Job 7 to start' >&2", asked.display()),
        );
        let report = ran.json();
        assert_eq!(told(&report, "slurm"), ("ok", "it would take a job: Job 7 to start", ""));
        let asked = fs::read_to_string(asked).unwrap();
        assert!(asked.starts_with("--test-only --partition=gpu --mem=768M"), "{asked}");
        let ran = with_sbatch(&study, "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1");
        let report = super::report(&ran);
        assert_eq!(ran.code, Some(1));
        let (verdict, measured, fix) = told(&report, "slurm");
        assert!(verdict == "problem" && measured.contains("invalid partition") && fix.contains("[executor]"));
    }

    #[test]
    fn an_interruption_ends_it_with_its_children_and_leaves_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = diapason(&["doctor"]);
        command.env("TMPDIR", temporary.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("cpu: training in f32")));
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let rest: Vec<String> = lines.collect();
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(130), ""), "{rest:?}");
        assert_eq!(rest.last().map(String::as_str), Some("error: interrupted; nothing is left behind"));
        assert!(fs::read_dir(temporary.path()).unwrap().next().is_none());
    }
}
