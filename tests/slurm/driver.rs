//! The driver is killed, interrupted, or meets a cluster that does not answer.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::test_kill_process;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Driver, study};
use crate::common::Ran;

fn found(summary: &Value) -> Value {
    json!({ "trials": summary["trials"], "best": summary["best"], "losses": summary["test_loss_nats"] })
}

#[test]
fn a_study_finds_on_slurm_what_it_finds_on_its_own_machine() {
    let (on_slurm, local) = (study(20, 1), study(20, 1).set("executor", toml::Table::new()));
    let cluster = Cluster::new();
    let summary = cluster.drive(&on_slurm, &["run", "--json"]).end().json();
    assert_eq!(found(&summary), found(&local.run(&["run", "--json"]).json()));
    let jobs = cluster.names();
    assert_eq!(BTreeSet::from_iter(&jobs).len(), jobs.len(), "each run is one job: {jobs:?}");
    let asked = fs::read_to_string(cluster.path("asked")).unwrap();
    assert!(asked.contains("--dependency=singleton") && asked.contains("--mem=768M"), "{asked}");
    // Only the last run's files are left: nothing was asked after it.
    assert_eq!(fs::read_dir(on_slurm.path("results/slurm")).unwrap().count(), 1);
}

#[test]
fn jobs_outlive_a_killed_driver_and_are_found_again_whether_they_still_run_or_have_ended() {
    for waits_for_their_end in [false, true] {
        let (study, cluster) = (study(300, 2), Cluster::new());
        let driver = cluster.drive(&study, &["tune"]);
        let jobs = ["trial-0-rung-0", "trial-1-rung-0"].map(|name| cluster.wait_for(&study, name));
        driver.kill();
        if waits_for_their_end {
            assert_eq!(jobs.map(|id| cluster.wait_for_end(id)), ["COMPLETED", "COMPLETED"]);
        }
        let summary = cluster.drive(&study, &["tune", "--json"]).end().json();
        assert_eq!(summary["trials"], json!({ "finished": 4 }));
        let names = cluster.names();
        assert_eq!(BTreeSet::from_iter(&names).len(), names.len(), "a job was run again: {names:?}");
    }
}

#[test]
fn ctrl_c_cancels_the_jobs_and_the_same_command_goes_on() {
    let (study, cluster) = (study(300, 2), Cluster::new());
    let driver = cluster.drive(&study, &["tune"]);
    let jobs = ["trial-0-rung-0", "trial-1-rung-0"].map(|name| cluster.wait_for(&study, name));
    driver.interrupt();
    let Ran { code, stderr, .. } = driver.end();
    assert_eq!(code, Some(130), "{stderr}");
    for id in jobs {
        assert_eq!(cluster.state(id), "CANCELLED");
        assert!(test_kill_process(cluster.process(id)).is_err(), "job {id} still runs");
    }
    let summary = cluster.drive(&study, &["tune", "--json"]).end().json();
    assert_eq!(summary["trials"], json!({ "finished": 4 }));
}

#[test]
fn a_controller_that_does_not_answer_for_a_while_is_waited_for() {
    let (study, cluster) = (study(50, 1), Cluster::new());
    let driver = cluster.drive(&study, &["tune", "--json"]);
    cluster.wait_for(&study, "trial-0-rung-0");
    fs::write(cluster.path("away"), "").unwrap();
    thread::sleep(Duration::from_secs(3));
    let before = cluster.names().len();
    fs::remove_file(cluster.path("away")).unwrap();
    assert_eq!(driver.end().json()["trials"], json!({ "finished": 4 }));
    assert!(before < cluster.names().len(), "all was over before the controller went away");
}

#[test]
fn what_slurm_does_not_take_ends_the_study_with_its_own_words() {
    let (study, cluster) = (study(50, 1), Cluster::new());
    let told = |driver: Driver, words: &[&str]| {
        let Ran { code, stderr, .. } = driver.end();
        assert_eq!(code, Some(2), "{stderr}");
        assert!(words.iter().all(|words| stderr.contains(words)), "{stderr}");
    };
    fs::write(cluster.path("refuse"), "").unwrap();
    let refused = "sbatch refuses the job: invalid partition specified: nix";
    told(cluster.drive(&study, &["tune"]), &[refused, "hint: correct `[executor]`"]);
    let no_slurm = "hint: start the study on a machine that submits jobs";
    told(cluster.drive_with("/no/such/folder", &study, &["tune"]), &["`squeue` can't be run", no_slurm]);
}
