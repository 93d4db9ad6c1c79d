//! What a program is told when it is wrong.

use serde_json::{Value, json};

use super::{Service, answer, ask, started};

const RATE: &str = r#"{"lr":{"type":"float","low":1e-5,"high":1e-3,"log":true}}"#;

/// The error that a line gives.
fn error(service: &mut Service, line: &str) -> String {
    let told = answer(service, line);
    told["error"].as_str().unwrap_or_else(|| unreachable!("{line} gives {told}")).to_owned()
}

fn check(service: &mut Service, line: &str, expected: &str) {
    assert_eq!(error(service, line), expected, "{line}");
}

/// The error of an `init` with this space and this besides.
fn refused(space: &str, rest: &str, expected: &str) {
    let line = format!(r#"{{"op":"init","space":{space}{rest}}}"#);
    check(&mut Service::new(), &line, expected);
}

/// The error of an `init` with one hyperparameter `h`.
fn refused_domain(domain: &str, expected: &str) {
    refused(&format!(r#"{{"h":{domain}}}"#), "", expected);
}

#[test]
fn an_error_is_an_answer_and_the_search_goes_on() {
    let mut service = started(RATE, "");
    for line in
        ["", "nonsense", "{}", r#"{"op":"init","space":{}}"#, r#"{"op":"tell","id":5,"outcome":"failed"}"#]
    {
        error(&mut service, line);
    }
    assert_eq!(ask(&mut service)["id"], json!(0));
    error(&mut service, r#"{"op":"tell","id":0,"points":[[-1,2]],"outcome":"completed"}"#);
    let told = answer(&mut service, r#"{"op":"tell","id":0,"points":[[1,2]],"outcome":"completed"}"#);
    assert_eq!(told, json!({"ok": true}));
    assert_eq!(ask(&mut service)["id"], json!(1));
}

#[test]
fn lines_that_are_no_request() {
    let mut service = Service::new();
    let known = "one of `init`, `ask`, `tell`, `best`";
    for (line, expected) in [
        ("hello", "this is no JSON object: expected value at line 1 column 1"),
        (r#"{"op":"ask""#, "this is no JSON object: EOF while parsing an object at line 1 column 11"),
        ("[1]", "this is no JSON object: [1]"),
        (
            r#"{"op":"tell","id":0,"points":[[1,NaN]]}"#,
            "this is no JSON object: expected value at line 1 column 34",
        ),
        (
            r#"{"op":"tell","id":0,"points":[[1,1e400]]}"#,
            "this is no JSON object: number out of range at line 1 column 38",
        ),
        (r#"{"space":{}}"#, &format!("`op` is missing; it is {known}")),
        (r#"{"op":7}"#, &format!("`op` is 7; it is {known}")),
        (r#"{"op":"aks"}"#, "`op` is `aks`; did you mean `ask`?"),
        (r#"{"op":"reconfigure"}"#, &format!("`op` is `reconfigure`; it is {known}")),
        (r#"{"op":"ask"}"#, "no search was started; `init` comes first"),
        (r#"{"op":"ask","count":4}"#, "in `ask`: unknown field `count`, expected `op` at line 1 column 19"),
    ] {
        check(&mut service, line, expected);
    }
}

#[test]
fn settings_that_can_not_be() {
    let levels = |told: &str, shown: &str| {
        let expected =
            format!("`fidelity.levels` is {shown}; give rising lengths above 0, such as [1, 3, 9]");
        refused(RATE, &format!(r#","fidelity":{{"levels":{told}}}"#), &expected);
    };
    levels("[]", "[]");
    levels("[0,1]", "[0.0, 1.0]");
    levels("[-1,1]", "[-1.0, 1.0]");
    levels("[9,3,1]", "[9.0, 3.0, 1.0]");
    levels("[1,1]", "[1.0, 1.0]");
    refused(
        RATE,
        r#","sampler":"gpp""#,
        "`gpp` is no sampler, maybe `gp`; there are random, sobol, grid, tpe, gp",
    );
    refused(
        RATE,
        r#","pruner":"hyperbnad""#,
        "`hyperbnad` is no pruner, maybe `hyperband`; there are none, halving, asha, hyperband, median, auto",
    );
    let starts = |rest: &str, expected: &str| {
        let line = format!(r#"{{"op":"init","space":{RATE}{rest}}}"#);
        let told = error(&mut Service::new(), &line);
        assert!(told.starts_with(expected), "{told}");
    };
    starts(r#","direction":"max""#, "in `init`: unknown variant `max`, expected `minimize` or `maximize`");
    starts(r#","budget":5"#, "in `init`: unknown field `budget`, expected one of `op`, `space`");
    starts(r#","seed":-1"#, "in `init`: invalid value: integer `-1`, expected u64");
    starts(r#","seed":1,"seed":2"#, "in `init`: duplicate field `seed`");
    starts(r#","ablate":["luck"]"#, "in `init`: unknown variant `luck`");
}

#[test]
fn first_trials_that_are_no_points() {
    for (first, expected) in [
        (r#"{"lr":1}"#, "`lr` is 1, which is not in its domain"),
        (r#"{"lr":"fast"}"#, "`lr` is \"fast\", which is not in its domain"),
        (r"{}", "`lr` has no value"),
        (r#"{"lr":1e-4,"rank":8}"#, "`rank` is no hyperparameter of this space"),
    ] {
        refused(RATE, &format!(r#","suggest_first":[{first}]"#), &format!("in `suggest_first`: {expected}"));
    }
    refused(
        r#"{"a":{"type":"int","low":1,"high":8},"b":{"type":"int","low":1,"high":8}}"#,
        r#","constraints":[{"product":["a","b"],"equals":8}],"suggest_first":[{"a":2,"b":2}]"#,
        "in `suggest_first`: the product of a × b is 4, which is not in [8, 8]",
    );
}

#[test]
fn domains_that_can_not_be() {
    for (domain, expected) in [
        (r#"{"type":"float","low":2,"high":1}"#, "`space.h` has low 2 and high 1; low may not be above high"),
        (
            r#"{"type":"float","low":0,"high":1,"log":true}"#,
            "`space.h` has low 0; on a logarithmic scale it must be above 0",
        ),
        (r#"{"type":"float","low":0}"#, "`space.h` has neither `choices` nor both `low` and `high`"),
        (r#"{"type":"float","low":-1e308,"high":1e308}"#, &far(-1e308)),
        (r#"{"type":"float","low":1e-308,"high":1e308,"log":true}"#, &far(1e-308)),
        (r#"{"type":"int","low":0.5,"high":2}"#, "`space.h` has low 0.5 and high 2; an int has whole bounds"),
        (r#"{"type":"categorical","low":0,"high":1}"#, "`space.h` has no `choices`"),
        (r#"{"type":"categorical","choices":[]}"#, "`space.h` has empty `choices`; give at least one"),
        (r#"{"type":"categorical","choices":["a","a"]}"#, "`space.h` has \"a\" twice in `choices`"),
        (r#"{"type":"int","choices":[8,8.0]}"#, "`space.h` has 8.0 twice in `choices`"),
        (
            r#"{"type":"int","choices":["a"]}"#,
            "`space.h` has `choices` that are no numbers; its type is `categorical`",
        ),
        (r#"{"type":"float","low":0,"high":1,"ordered":true}"#, "`space.h` has `ordered` without `choices`"),
        (
            r#"{"type":"real","low":0,"high":1}"#,
            "in `space.h`: unknown variant `real`, expected one of `float`, `int`, `categorical`, `ordinal`",
        ),
        (
            r#"{"type":"float","min":0,"high":1}"#,
            "in `space.h`: unknown field `min`, expected one of `type`, `low`, `high`, `log`, `choices`, `ordered`, `when`",
        ),
    ] {
        refused_domain(domain, expected);
    }
    refused("{}", "", "`space` is empty; give at least one hyperparameter");
    let twice = r#"{"h":{"type":"float","low":0,"high":1},"h":{"type":"float","low":0,"high":2}}"#;
    let told = error(&mut Service::new(), &format!(r#"{{"op":"init","space":{twice}}}"#));
    assert!(told.starts_with("in `init`: `h` is there twice"), "{told}");
}

fn far(low: f64) -> String {
    format!("`space.h` has low {low} and high {}; they are too far apart", 1e308)
}

#[test]
fn conditions_that_can_not_be() {
    let h = |when: &str| {
        format!(
            r#"{{"h":{{"type":"float","low":0,"high":1,"when":{when}}},"kind":{{"type":"categorical","choices":["a","b"]}},"x":{{"type":"float","low":0,"high":1}}}}"#
        )
    };
    for (when, expected) in [
        (r#"{"color":"red"}"#, "`space.h.when` names no hyperparameter, or itself in a circle"),
        (r#"{"h":1}"#, "`space.h.when` names no hyperparameter, or itself in a circle"),
        (r#"{"kind":"c"}"#, "`space.h.when` has \"c\", which `kind` can't be"),
        (r#"{"kind":["a","c"]}"#, "`space.h.when` has \"c\", which `kind` can't be"),
        (r#"{"kind":[]}"#, "`space.h.when` has no value of `kind`"),
        (r#"{"kind":"a","x":0.5}"#, "`space.h.when` names several hyperparameters or none; name one"),
        (r"{}", "`space.h.when` names several hyperparameters or none; name one"),
        (r#"{"x":0.5}"#, "`space.h.when` names `x`, which has no list of values"),
    ] {
        refused(&h(when), "", expected);
    }
}

#[test]
fn constraints_that_can_not_be() {
    let needs = "a constraint needs `product` with names, and `equals`, or `low` up to `high`";
    let space = r#"{"a":{"type":"int","low":1,"high":8},"kind":{"type":"categorical","choices":["x","y"]}}"#;
    for (constraint, expected) in [
        (r#"{"product":["b"],"equals":8}"#, "`constraints` name `b`, which is no hyperparameter"),
        (r#"{"product":["kind"],"equals":8}"#, "`constraints` name `kind`, whose values are no numbers"),
        (r#"{"product":[],"equals":8}"#, needs),
        (r#"{"product":["a"]}"#, needs),
        (r#"{"product":["a"],"low":3,"high":2}"#, needs),
        (r#"{"product":["a"],"equals":4,"high":5}"#, needs),
    ] {
        refused(space, &format!(r#","constraints":[{constraint}]"#), expected);
    }
}

#[test]
fn tells_that_can_not_be() {
    let mut service = started(RATE, r#","fidelity":{"levels":[1,3,9]}"#);
    ask(&mut service);
    let tell = |rest: &str| format!(r#"{{"op":"tell",{rest}}}"#);
    for (rest, expected) in [
        (r#""id":1,"outcome":"failed""#, "there is no trial 1; `id` is one that `ask` gave"),
        (
            r#""id":99999999999,"outcome":"failed""#,
            "there is no trial 99999999999; `id` is one that `ask` gave",
        ),
        (
            r#""id":0,"outcome":"completed""#,
            "a completed run has no `points`; give at least its last [fidelity, value]",
        ),
        (
            r#""id":0,"points":[[-1,2]],"outcome":"running""#,
            "a point's fidelity is -1; it must be a number above 0",
        ),
        (
            r#""id":0,"points":[[0,2]],"outcome":"running""#,
            "a point's fidelity is 0; it must be a number above 0",
        ),
        (
            r#""id":0,"points":[[-1,null]],"outcome":"running""#,
            "a point's fidelity is -1; it must be a number above 0",
        ),
        (
            r#""id":0,"points":[[1000,2]],"outcome":"completed""#,
            "a point's fidelity is 1000; the full run is 9, see `fidelity.levels`",
        ),
        (
            r#""id":0,"points":[[0.5,2]],"outcome":"completed""#,
            "a completed run has reached fidelity 0.5, below the lowest of `fidelity.levels`, 1",
        ),
        (
            r#""id":0,"points":[[1,2]],"outcome":"running","seconds":-1"#,
            "`seconds` is -1; it can't be below 0",
        ),
    ] {
        check(&mut service, &tell(rest), expected);
    }
    for (rest, start) in [
        (r#""id":-1,"outcome":"failed""#, "in `tell`: invalid value: integer `-1`, expected u64"),
        (r#""id":0"#, "in `tell`: missing field `outcome`"),
        (
            r#""id":0,"outcome":"oom""#,
            "in `tell`: unknown variant `oom`, expected one of `completed`, `running`",
        ),
        (r#""id":0,"outcome":"failed","points":[[1]]"#, "in `tell`: invalid length 1"),
        (r#""id":0,"outcome":"failed","loss":1"#, "in `tell`: unknown field `loss`"),
    ] {
        let told = error(&mut service, &tell(rest));
        assert!(told.starts_with(start), "{told}");
    }
    let done = tell(r#""id":0,"points":[[9,2]],"outcome":"completed""#);
    assert_eq!(answer(&mut service, &done), json!({"ok": true}));
    check(&mut service, &done, "trial 0 is not running; `ask` gives it again if it is to go on");
}

#[test]
fn an_init_that_fails_leaves_the_search_there_was() {
    let mut service = started(RATE, "");
    let first = ask(&mut service);
    error(&mut service, r#"{"op":"init","space":{}}"#);
    let second: Value = ask(&mut service);
    assert_eq!((&first["id"], &second["id"]), (&json!(0), &json!(1)));
}
