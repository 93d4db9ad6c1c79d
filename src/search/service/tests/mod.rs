//! Conversations, line by line.

mod complaints;
mod searches;

use serde_json::{Value, json};

use super::Service;

/// The answer to one line, as JSON.
fn answer(service: &mut Service, line: &str) -> Value {
    let answer = service.answer(line);
    assert!(!answer.contains('\n'), "{answer}");
    serde_json::from_str(&answer).unwrap()
}

/// A service with a search over this space; `rest` is what `init` says besides.
fn started(space: &str, rest: &str) -> Service {
    let mut service = Service::new();
    let told = answer(&mut service, &format!(r#"{{"op":"init","space":{space}{rest}}}"#));
    assert_eq!(told["ok"], json!(true), "{told}");
    service
}

/// What `ask` gives: a trial.
fn ask(service: &mut Service) -> Value {
    let trial = answer(service, r#"{"op":"ask"}"#);
    assert!(trial["id"].is_u64(), "{trial}");
    trial
}

/// Completes trial `id` at `fidelity` with this value.
fn complete(service: &mut Service, id: &Value, fidelity: &Value, value: f64) {
    let line = format!(r#"{{"op":"tell","id":{id},"points":[[{fidelity},{value}]],"outcome":"completed"}}"#);
    assert_eq!(answer(service, &line), json!({"ok": true}), "{line}");
}
