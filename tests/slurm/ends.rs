//! A job ends without a last word.

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::cluster::{Cluster, study};

/// How the trials of a study ended in which something happens to the job of trial 1, and how many jobs that took.
fn disturbed(happens: impl Fn(&Cluster, usize)) -> (Value, usize) {
    let (study, cluster) = (study(100, 1), Cluster::new());
    let driver = cluster.drive(&study, &["tune", "--json"]);
    let job = cluster.wait_for(&study, "trial-1-rung-0");
    happens(&cluster, job);
    let ran = driver.end();
    let trials = ran.json()["trials"].clone();
    (trials, cluster.names().iter().filter(|name| *name == "trial-1-rung-0").count())
}

#[test]
fn a_job_that_is_killed_or_cancelled_costs_its_trial_alone() {
    let crashed = (json!({ "crashed": 1, "finished": 3 }), 1);
    let killed = |cluster: &Cluster, id| kill_process(cluster.process(id), Signal::KILL).unwrap();
    assert_eq!(disturbed(killed), crashed);
    assert_eq!(disturbed(|cluster, id| cluster.call("scancel", &[&id.to_string()])), crashed);
}

#[test]
fn slurms_own_words_for_an_end_become_outcomes() {
    // There is one batch size: where it is too large once, nothing more is tried.
    let too_large = (json!({ "out_of_memory": 1, "finished": 1 }), 1);
    assert_eq!(disturbed(|cluster, id| cluster.end(id, "OUT_OF_MEMORY", "0:125")), too_large);
    let too_long = (json!({ "timed_out": 1, "finished": 3 }), 1);
    assert_eq!(disturbed(|cluster, id| cluster.end(id, "TIMEOUT", "0:0")), too_long);
}

#[test]
fn a_job_whose_node_fails_is_run_again_and_one_that_slurm_puts_back_goes_on() {
    let all = json!({ "finished": 4 });
    assert_eq!(disturbed(|cluster, id| cluster.end(id, "NODE_FAIL", "1:0")), (all.clone(), 2));
    assert_eq!(disturbed(|cluster, id| cluster.call("scontrol", &["requeue", &id.to_string()])), (all, 1));
}
