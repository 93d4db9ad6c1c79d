//! Limits of the search on the command line, and commands that ask for more.

use serde_json::{Value, json};

use crate::common::TinyStudy;

/// One precision, one GGUF type.
fn study() -> TinyStudy {
    TinyStudy::new().set("space.precision", "f32").set("quantize.types", "q8_0")
}

fn trials(summary: &Value) -> u64 {
    summary["trials"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

#[test]
fn fewer_trials_may_be_asked_for_and_more_later() {
    let study = study();
    let few = study.run(&["tune", "--json", "--trials", "1"]).json();
    assert_eq!((trials(&few), &few["stopped"]), (1, &json!({ "reason": "trials", "trials": 1 })));
    assert!(few["confirmation"].is_null(), "there is nothing to compare: {few}");
    let ran = study.run(&["tune", "--json", "--for", "9h"]);
    assert!(ran.stderr.contains("stopped: 3 trials, as many as asked for"), "{}", ran.stderr);
    assert_eq!(trials(&ran.json()), 3);
}

#[test]
fn a_search_without_time_saves_what_it_has_and_the_same_command_goes_on() {
    let study = study();
    let ran = study.run(&["run", "--for", "1ms"]);
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    for words in ["stopped: the time is up", "before any trial had finished", "hint:"] {
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
    let tuned = study.run(&["tune", "--json", "--until", "00:00"]);
    let stopped = tuned.json()["stopped"]["reason"].clone();
    // At midnight itself the time is up at once, and the next command has a whole day.
    assert!(stopped == "trials" || stopped == "deadline", "{stopped}");
}

#[test]
fn a_limit_that_is_no_time_is_refused_with_an_example() {
    let study = study();
    for (arguments, words) in [
        (&["tune", "--for", "soon"][..], "such as `8h`"),
        (&["run", "--until", "25:00"], "such as `07:00`"),
        (&["run", "--until", "07:00", "--for", "8h"], "cannot be used with"),
        (&["tune", "--trials", "0"], "0 is not in 1.."),
    ] {
        let ran = study.run(arguments);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
}
