//! What a program can do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Service, answer, ask, complete, started};

const RATE: &str = r#"{"lr":{"type":"float","low":1e-5,"high":1e-3,"log":true}}"#;
const LEVELS: &str = r#","fidelity":{"levels":[1,3,9]}"#;

/// Asks, and completes where it was asked to go.
fn step(service: &mut Service, value: impl Fn(&Value) -> f64) -> Value {
    let trial = ask(service);
    complete(service, &trial["id"], &trial["until_fidelity"], value(&trial["hyperparameters"]));
    trial
}

#[test]
fn a_search_is_begun_asked_told_and_summed_up() {
    let mut service = Service::new();
    let init = format!(r#"{{"op":"init","space":{RATE},"seed":7}}"#);
    assert_eq!(
        service.answer(&init),
        r#"{"ignored":[],"ok":true,"prior":null,"pruner":"auto","sampler":"gp"}"#
    );
    assert_eq!(service.answer(r#"{"op":"best"}"#), r#"{"id":null}"#);
    let first = ask(&mut service);
    assert_eq!((&first["id"], &first["until_fidelity"]), (&json!(0), &json!(1.0)));
    let rate = first["hyperparameters"]["lr"].as_f64().unwrap();
    assert!((rate / 1e-4 - 1.0).abs() < 1e-9, "the middle: {rate}");
    complete(&mut service, &json!(0), &json!(1), 2.5);
    let best = answer(&mut service, r#"{"op":"best"}"#);
    assert_eq!(
        best,
        json!({"id": 0, "hyperparameters": first["hyperparameters"], "fidelity": 1.0, "value": 2.5})
    );
}

#[test]
fn the_same_seed_and_values_give_the_same_search() {
    let trials = |seed: u32| {
        let mut service = started(RATE, &format!(r#","seed":{seed}{LEVELS}"#));
        let value = |values: &Value| values["lr"].as_f64().unwrap();
        (0..12).map(|_| step(&mut service, value)).collect::<Vec<Value>>()
    };
    assert_eq!(trials(3), trials(3));
    assert_ne!(trials(3), trials(4));
}

#[test]
fn to_maximize_is_to_minimize_the_opposite() {
    let trials = |direction: &str, sign: f64| {
        let mut service = started(RATE, &format!(r#","direction":"{direction}"{LEVELS}"#));
        let value = |values: &Value| sign * values["lr"].as_f64().unwrap().ln();
        let trials: Vec<Value> = (0..20).map(|_| step(&mut service, value)).collect();
        (trials, answer(&mut service, r#"{"op":"best"}"#))
    };
    let (down, best_down) = trials("minimize", 1.0);
    let (up, best_up) = trials("maximize", -1.0);
    assert_eq!(down, up);
    assert_eq!(best_down["id"], best_up["id"]);
    assert_eq!(best_down["value"], json!(-best_up["value"].as_f64().unwrap()));
}

#[test]
fn a_trial_that_goes_on_has_its_number_and_its_values() {
    let mut service = started(RATE, LEVELS);
    let value = |values: &Value| (values["lr"].as_f64().unwrap().ln() + 8.0).abs();
    let trials: Vec<Value> = (0..25).map(|_| step(&mut service, value)).collect();
    let mut went_on = 0;
    for (index, trial) in trials.iter().enumerate() {
        for before in trials[..index].iter().filter(|before| before["id"] == trial["id"]) {
            went_on += 1;
            assert_eq!(before["hyperparameters"], trial["hyperparameters"]);
            assert!(before["until_fidelity"].as_f64() < trial["until_fidelity"].as_f64());
        }
    }
    assert!(went_on > 0);
}

#[test]
fn several_asks_may_be_open() {
    let mut service = started(RATE, LEVELS);
    let open: Vec<Value> = (0..4).map(|_| ask(&mut service)).collect();
    let values: BTreeSet<String> = open.iter().map(|trial| trial["hyperparameters"].to_string()).collect();
    assert_eq!(values.len(), 4);
    for trial in open.iter().rev() {
        complete(&mut service, &trial["id"], &trial["until_fidelity"], 1.0);
    }
}

#[test]
fn while_a_trial_under_way_may_go_on_the_search_waits_and_has_not_finished() {
    let space = r#"{"batch":{"type":"categorical","choices":[8,16]}}"#;
    for pruner in ["auto", "asha", "hyperband", "halving", "median"] {
        let mut service = started(space, &format!(r#","pruner":"{pruner}"{LEVELS}"#));
        let open = [ask(&mut service), ask(&mut service)];
        let wait = answer(&mut service, r#"{"op":"ask"}"#);
        let low = open.iter().any(|trial| trial["until_fidelity"].as_f64() < Some(9.0));
        let key = if low { "wait" } else { "finished" };
        assert_eq!(wait[key], json!(true), "{pruner}: {wait}");
        for trial in &open {
            complete(&mut service, &trial["id"], &trial["until_fidelity"], 1.0);
        }
        // From then on one at a time: it never has to wait, and ends.
        for _ in 0..6 {
            let next = answer(&mut service, r#"{"op":"ask"}"#);
            assert_eq!(next.get("wait"), None, "{pruner}");
            if next.get("finished").is_some() {
                break;
            }
            complete(&mut service, &next["id"], &next["until_fidelity"], 1.0);
        }
        let end = answer(&mut service, r#"{"op":"ask"}"#);
        assert_eq!(end["finished"], json!(true), "{pruner}");
    }
}

#[test]
fn a_hyperparameter_is_there_only_when_its_condition_is_met() {
    let space = r#"{
        "rank":{"type":"int","low":1,"high":64,"log":true,"when":{"method":"lora"}},
        "alpha":{"type":"float","low":1,"high":2,"when":{"rank":[1,2,3,4,5,6,7,8]}},
        "method":{"type":"categorical","choices":["full","lora"]}
    }"#;
    let mut service = started(&space.replace('\n', " "), r#","sampler":"random","pruner":"none""#);
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let trial = step(&mut service, |_| 1.0);
        let (values, is_lora) = (&trial["hyperparameters"], trial["hyperparameters"]["method"] == "lora");
        let rank = values["rank"].as_u64();
        assert_eq!(rank.is_some(), is_lora, "{values}");
        assert_eq!(values["alpha"].is_number(), rank.is_some_and(|rank| rank <= 8), "{values}");
        seen.insert((is_lora, values["alpha"].is_number()));
    }
    assert_eq!(seen.len(), 3);
}

const BATCH: &str = r#"{
    "micro":{"type":"int","choices":[1,2,4,8]},"accumulation":{"type":"int","choices":[1,2,4,8,16]}
}"#;

#[test]
fn products_are_kept() {
    for sampler in ["gp", "tpe", "grid", "sobol", "random"] {
        let constraint = r#","constraints":[{"product":["micro","accumulation"],"equals":8}]"#;
        let rest = format!(r#"{constraint},"sampler":"{sampler}","pruner":"none""#);
        let mut service = started(&BATCH.replace('\n', " "), &rest);
        for _ in 0..4 {
            let trial = step(&mut service, |_| 1.0);
            let of = |name: &str| trial["hyperparameters"][name].as_u64().unwrap();
            assert_eq!(of("micro") * of("accumulation"), 8, "{sampler}");
        }
        let end = answer(&mut service, r#"{"op":"ask"}"#);
        assert_eq!(end, json!({"finished": true, "reason": "every point of the space was tried"}));
    }
}

#[test]
fn a_product_may_have_bounds_of_its_own() {
    let constraint = r#","constraints":[{"product":["micro","accumulation"],"low":4,"high":16}]"#;
    let mut service = started(&BATCH.replace('\n', " "), constraint);
    for _ in 0..8 {
        let trial = step(&mut service, |_| 1.0);
        let of = |name: &str| trial["hyperparameters"][name].as_u64().unwrap();
        assert!((4..=16).contains(&(of("micro") * of("accumulation"))));
    }
}

#[test]
fn where_no_point_is_allowed_that_is_said() {
    let constraint = r#","constraints":[{"product":["micro","accumulation"],"equals":7}]"#;
    let mut service = started(&BATCH.replace('\n', " "), constraint);
    let end = answer(&mut service, r#"{"op":"ask"}"#);
    let reason = "no point of the space was found that fulfils the constraints";
    assert_eq!(end, json!({"finished": true, "reason": reason}));
}

/// The middle of three numbers comes first only if they have an order.
#[test]
fn numbers_have_an_order_unless_it_says_no() {
    let firsts = |more: &str| {
        let first = |seed: u32| {
            let space = format!(r#"{{"rank":{{"type":"categorical","choices":[64,8,16]{more}}}}}"#);
            let mut service = started(&space, &format!(r#","seed":{seed}"#));
            ask(&mut service)["hyperparameters"]["rank"].as_u64().unwrap()
        };
        (0..12).map(first).collect::<BTreeSet<u64>>()
    };
    assert_eq!(firsts(""), BTreeSet::from([16]));
    assert!(firsts(r#","ordered":false"#).len() > 1);
}

#[test]
fn what_is_suggested_first_comes_first() {
    let first = r#","suggest_first":[{"lr":3e-4},{"lr":2e-5}]"#;
    let mut service = started(RATE, first);
    for expected in [3e-4, 2e-5] {
        let rate = step(&mut service, |_| 1.0)["hyperparameters"]["lr"].as_f64().unwrap();
        assert!((rate / expected - 1.0).abs() < 1e-9, "{rate}");
    }
}

#[test]
fn a_null_value_means_divergence_and_so_does_the_word() {
    for tell in [
        r#"{"op":"tell","id":0,"points":[[1,null]],"outcome":"completed"}"#,
        r#"{"op":"tell","id":0,"points":[[0.5,3.0],[1,null]],"outcome":"running"}"#,
        r#"{"op":"tell","id":0,"points":[[1,3.0]],"outcome":"diverged"}"#,
        r#"{"op":"tell","id":0,"outcome":"out_of_memory"}"#,
        r#"{"op":"tell","id":0,"outcome":"failed"}"#,
    ] {
        let mut service = started(RATE, "");
        let first = ask(&mut service);
        assert_eq!(answer(&mut service, tell), json!({"ok": true}));
        assert_eq!(answer(&mut service, r#"{"op":"best"}"#), json!({"id": null}), "{tell}");
        // It has ended, and its point is not given again.
        let told = answer(&mut service, tell);
        assert_eq!(told["error"], "trial 0 is not running; `ask` gives it again if it is to go on", "{tell}");
        for _ in 0..6 {
            assert_ne!(ask(&mut service)["hyperparameters"], first["hyperparameters"]);
        }
    }
}

#[test]
fn a_run_may_tell_while_it_is_on_its_way() {
    let mut service = started(RATE, &format!(r#"{LEVELS},"pruner":"none""#));
    ask(&mut service);
    for tell in [
        r#"{"op":"tell","id":0,"points":[],"outcome":"running"}"#,
        r#"{"op":"tell","id":0,"points":[[3,2.0],[1,3.0]],"outcome":"running","seconds":4.5}"#,
        r#"{"op":"tell","id":0,"points":[[1,3.0],[3,2.0],[9.05,1.5]],"outcome":"completed"}"#,
    ] {
        assert_eq!(answer(&mut service, tell), json!({"ok": true}), "{tell}");
    }
    let best = answer(&mut service, r#"{"op":"best"}"#);
    assert_eq!((&best["value"], &best["fidelity"]), (&json!(1.5), &json!(9.0)));
}

#[test]
fn where_all_runs_are_full_ones_a_length_may_be_anything_from_one() {
    let mut service = started(RATE, "");
    ask(&mut service);
    complete(&mut service, &json!(0), &json!(12000), 1.25);
    assert_eq!(answer(&mut service, r#"{"op":"best"}"#)["value"], json!(1.25));
}

#[test]
fn facts_make_a_prior_and_what_is_none_is_named() {
    let mut service = Service::new();
    let context = r#""context":{"method":"lora","model_parameters":"7B","mood":"good"}"#;
    let told = answer(&mut service, &format!(r#"{{"op":"init","space":{RATE},{context}}}"#));
    assert_eq!(told["ignored"], json!(["mood"]));
    assert!((told["prior"]["lr"].as_f64().unwrap() / 2e-4 - 1.0).abs() < 1e-9, "{told}");
    let rate = ask(&mut service)["hyperparameters"]["lr"].as_f64().unwrap();
    assert!((rate / 2e-4).log10().abs() < 0.2, "{rate}");
    let told =
        answer(&mut service, &format!(r#"{{"op":"init","space":{RATE},{context},"ablate":["prior"]}}"#));
    assert_eq!(told["prior"], json!(null));
}

#[test]
fn every_sampler_goes_with_every_pruner() {
    for sampler in ["random", "sobol", "grid", "tpe", "gp"] {
        for pruner in ["none", "halving", "asha", "hyperband", "median", "auto"] {
            let rest = format!(r#"{LEVELS},"sampler":"{sampler}","pruner":"{pruner}""#);
            let mut service = started(RATE, &rest);
            for _ in 0..5 {
                step(&mut service, |values| values["lr"].as_f64().unwrap());
            }
            assert!(answer(&mut service, r#"{"op":"best"}"#)["id"].is_u64(), "{sampler} {pruner}");
        }
    }
}
