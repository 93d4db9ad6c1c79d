//! A study that is looked at while it runs: told as it is, and never disturbed.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::TinyStudy;

/// Long enough to be looked at.
fn study() -> TinyStudy {
    TinyStudy::new().set("space.precision", "f32").set("search.max_micro_batch_size", 4)
}

#[test]
fn who_watches_sees_a_study_to_its_end_and_it_ends_as_if_nobody_had() {
    let (watched, alone) = (study(), study());
    let mut run = watched.start(&["tune"]);
    // The driver makes its database first.
    while watched.run(&["status"]).code != Some(0) {
        thread::sleep(Duration::from_millis(5));
    }
    let looks: Vec<Value> = (0..3).map(|_| watched.run(&["status", "--json"]).json()).collect();
    let ran = watched.run(&["status", "--watch"]);
    assert!(run.wait().unwrap().success());
    assert!(looks.iter().all(|look| look["driver"] == run.id()), "{looks:?}");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for words in [format!("process {} runs it", run.id()), "trial 2 rung 0  finished, loss".to_owned()] {
        assert!(ran.stdout.contains(&words), "`{words}` is missing:\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\u{1b}'), "no terminal, so no control characters");
    let end = watched.run(&["status", "--json"]).json();
    assert_eq!((&end["driver"], end["running"].as_array().unwrap().len()), (&Value::Null, 0));
    let log = end["log"].as_array().unwrap();
    assert_eq!(log.iter().filter(|one| one["trial"].is_u64() && one["outcome"] == "finished").count(), 3);
    alone.run(&["tune", "--json"]).json();
    let undisturbed = alone.run(&["status", "--json"]).json();
    assert_eq!(end["trials"], undisturbed["trials"]);
    let best =
        |look: &Value| (look["rungs"][0]["finished"].as_u64(), look["rungs"][0]["best_loss_nats"].as_f64());
    let (watched, alone) = (best(&end), best(&undisturbed));
    assert_eq!((watched.0, alone.0), (Some(3), Some(3)));
    // The clock may choose another micro-batch for the same effective one, which rounds otherwise.
    assert!((watched.1.unwrap() - alone.1.unwrap()).abs() < 1e-3, "{watched:?} {alone:?}");
}

#[test]
fn a_study_that_nobody_runs_is_shown_once() {
    let study = study();
    study.run(&["fit", "--json"]).json();
    let ran = study.run(&["status", "--watch"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("nobody runs it") && ran.stdout.contains("probe of micro-batch"),
        "{}",
        ran.stdout
    );
}
