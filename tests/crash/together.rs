//! Two trials at the same time, and two drivers that want the same study.

use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::found::ended_rungs;
use crate::running::{Running, study};

#[test]
fn a_driver_killed_with_two_trials_under_way_leaves_no_child_and_loses_nothing() {
    let study = study(200).set("study.slots", 2);
    let mut driver = Running::start(&study);
    driver.wait_for("tune:", "trial  1 rung 0");
    driver.wait_for_children(2);
    driver.wait_for("", "eval loss");
    driver.kill();
    let before = ended_rungs(&study);
    let summary = Running::start(&study).end().json();
    assert_eq!(summary["trials"], json!({ "finished": 4 }));
    let after = ended_rungs(&study);
    assert!(before.iter().all(|rung| after.contains(rung)), "{before:?} {after:?}");
    assert!(summary["test_loss_nats"]["tuned"].is_number(), "{summary}");
}

#[test]
fn a_second_driver_is_told_which_process_drives_the_study_and_disturbs_nothing() {
    let study = study(200);
    let mut first = Running::start(&study);
    first.wait_for("tune:", "trial  0 rung 0");
    let second = study.run(&["tune"]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    let expected = format!("already being run by process {}", first.pid().as_raw_nonzero());
    assert!(second.stderr.contains(&expected) && second.stderr.contains("hint:"), "{}", second.stderr);
    assert_eq!(first.end().json()["trials"], json!({ "finished": 4 }));
}

#[test]
fn a_second_ctrl_c_ends_a_driver_that_the_first_could_not() {
    let study = study(9000);
    let mut driver = Running::start(&study);
    driver.wait_for("tune:", "trial  0 rung 0");
    driver.wait_for_child();
    // Another program keeps the database to itself, so that the driver can't finish its write.
    let other = Connection::open(study.path("results/study.db")).unwrap();
    other.busy_timeout(Duration::from_secs(30)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    driver.wait_until_it_waits();
    kill_process(driver.pid(), Signal::INT).unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(driver.runs(), "the first one has already ended it");
    let asked = Instant::now();
    kill_process(driver.pid(), Signal::INT).unwrap();
    let ran = driver.end();
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
