//! What foreign trainers do, injected with small shell scripts.

use super::super::super::run_to_end;
use super::super::*;
use crate::executor::testing::{train, trainer};
use crate::space::{MetricsForm, MetricsKeys, MetricsSettings, Template};
use crate::trial::{Event, Outcome};

/// A script in place of a trainer, whose metrics file is `m.jsonl` or `trainer_state.json` in its folder.
fn run_trainer(script: &str, file: Option<&str>) -> (Outcome, Vec<Event>) {
    let folder = tempfile::tempdir().unwrap();
    let typed = |text: &str| Template::parse(text).unwrap();
    let script = script.replace('{', "{{").replace('}', "}}");
    let metrics = file.map(|file| MetricsSettings {
        file: typed(&format!("{{checkpoint}}/{file}")),
        form: if file.ends_with('l') { MetricsForm::Lines } else { MetricsForm::TrainerState },
        keys: MetricsKeys::default(),
    });
    let settings = TrainerSettings {
        command: ["sh", "-c", &script, "{checkpoint}"].map(typed).to_vec(),
        metrics,
        silence_minutes: 2.0 / 60.0,
        ..trainer(&[])
    };
    let mut local = Local::new("false".into(), vec![], Duration::from_secs(99), Arc::default())
        .with_trainer(Some(settings), None);
    let mut events = Vec::new();
    let spec = train(4, folder.path().to_str().unwrap());
    let job = Job { slot: 0, name: "run", spec: &spec, is_alone: true };
    let outcome = run_to_end(&mut local, &job, &mut |event| events.push(event.clone())).unwrap();
    (outcome, events)
}

/// The evaluations of a run.
fn evals(events: &[Event]) -> Vec<(usize, f64)> {
    let eval = |event: &Event| match event {
        Event::Eval(eval) => Some((eval.step, eval.loss_nats)),
        _ => None,
    };
    events.iter().filter_map(eval).collect()
}

#[test]
fn a_trainer_gets_the_specification_and_its_events_are_heard() {
    let script = r#"grep -q '"stop_at_step":4' && echo loading... && echo '{"event":"eval","step":4,"loss_nats":2.5}' &&
        echo '{"event":"finished"}'; sleep 9"#;
    let (outcome, events) = run_trainer(script, None);
    assert_eq!((outcome, evals(&events)), (Outcome::Finished, vec![(4, 2.5)]));
}

#[test]
fn a_trainer_that_writes_metrics_has_finished_when_it_has_told_an_evaluation_at_its_last_step() {
    let script = |last: usize| {
        format!(
            r#"cd $0; echo '{{"step":2,"eval_loss":3.0}}' > m.jsonl; printf '{{"step":{last},"ev' >> m.jsonl; sleep 0.4;
            printf 'al_loss":2.0}}' >> m.jsonl"#
        )
    };
    let (outcome, events) = run_trainer(&script(4), Some("m.jsonl"));
    assert_eq!((outcome, evals(&events)), (Outcome::Finished, vec![(2, 3.0), (4, 2.0)]));
    let (outcome, events) = run_trainer(&script(3), Some("m.jsonl"));
    let crash = Outcome::Crashed { signal: None, exit_code: Some(0), stderr_tail: String::new() };
    assert_eq!(outcome, crash, "{events:?}");
}

#[test]
fn a_trainer_that_closes_its_output_is_still_heard_by_its_metrics() {
    let script = r#"exec > $0/log 2>&1; cd $0
        for n in 1 2 3 4; do sleep 0.7; echo "{\"step\":$n,\"eval_loss\":$n}" >> m.jsonl; done"#;
    let (outcome, events) = run_trainer(script, Some("m.jsonl"));
    assert_eq!((outcome, evals(&events).len()), (Outcome::Finished, 4), "2.8 s, of which 2 may be silent");
}

#[test]
fn a_state_that_is_written_anew_while_the_trainer_runs_tells_each_entry_once() {
    let script = r#"cd $0; echo '{"log_history":[{"step":2,"eval_loss":3.0}]}' > trainer_state.json; sleep 0.4;
        mkdir checkpoint-4;
        echo '{"log_history":[{"step":2,"eval_loss":3.0},{"step":4,"eval_loss":2.0}]}' > checkpoint-4/trainer_state.json"#;
    let (outcome, events) = run_trainer(script, Some("trainer_state.json"));
    assert_eq!((outcome, evals(&events)), (Outcome::Finished, vec![(2, 3.0), (4, 2.0)]));
}

#[test]
fn a_trainer_that_is_refused_memory_says_so_in_its_own_words() {
    let script = "echo 'RuntimeError: DefaultCPUAllocator: can'\"'\"'t allocate memory: you tried to allocate 9 bytes.' >&2; exit 1";
    let (outcome, _) = run_trainer(script, None);
    assert!(matches!(outcome, Outcome::OutOfMemory { requested: Some(Bytes(9)), .. }), "{outcome:?}");
    let (outcome, _) = run_trainer("echo 'ValueError: no' >&2; exit 1", None);
    assert!(matches!(outcome, Outcome::Crashed { exit_code: Some(1), .. }), "{outcome:?}");
}

#[test]
fn a_loss_that_is_no_number_ends_a_trainer_at_once() {
    let script = r#"echo '{"step":3,"loss":NaN}' > $0/m.jsonl; while :; do sleep 0.1; echo alive; done"#;
    assert_eq!(run_trainer(script, Some("m.jsonl")).0, Outcome::Diverged { step: 3 });
}

#[test]
fn what_a_trainer_prints_is_a_sign_of_life_and_silence_is_none() {
    let script = r#"for n in 1 2 3 4 5 6 7 8; do sleep 0.4; echo $n; done; echo '{"event":"finished"}'"#;
    assert_eq!(run_trainer(script, None).0, Outcome::Finished);
    let silent = Outcome::TimedOut { seconds: 2, stderr_tail: "loading".to_owned() };
    assert_eq!(run_trainer("echo loading >&2; sleep 60", None).0, silent);
}

#[test]
fn what_was_written_before_a_last_word_is_heard_before_it() {
    let script = r#"echo '{"step":4,"eval_loss":2.0}' > $0/m.jsonl; echo '{"event":"finished"}'; sleep 9"#;
    let (outcome, events) = run_trainer(script, Some("m.jsonl"));
    assert_eq!((outcome, evals(&events)), (Outcome::Finished, vec![(4, 2.0)]));
}

/// What two trainers, or a single one, are told of their cards by their environments and arguments.
fn cards(slots: usize, devices: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let typed = |text: &str| Template::parse(text).unwrap();
    let script = "echo ${{CUDA_VISIBLE_DEVICES:-all}} $1 > $0/seen";
    let command = ["sh", "-c", script, "{checkpoint}", "{device}"].map(typed).to_vec();
    let mut local = Local::new("false".into(), vec![], Duration::from_mins(1), Arc::default())
        .with_slots(slots)
        .with_trainer(Some(TrainerSettings { command, ..trainer(&[]) }), None);
    let folders = devices.iter().map(|device| folder.path().join(device)).collect::<Vec<_>>();
    for (slot, (device, folder)) in devices.iter().zip(&folders).enumerate() {
        std::fs::create_dir(folder).unwrap();
        let spec = TrialSpec { device: device.parse().unwrap(), ..train(4, folder.to_str().unwrap()) };
        local.start(&Job { slot, name: device, spec: &spec, is_alone: false }).unwrap();
    }
    while local.next(None).unwrap().is_some() {}
    let seen = |folder: &PathBuf| std::fs::read_to_string(folder.join("seen")).unwrap().trim().to_owned();
    folders.iter().map(seen).collect()
}

#[test]
fn trainers_in_several_slots_see_a_card_each_and_one_alone_sees_all() {
    let outer = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let of_outer = |index: usize| {
        let name = outer.split(',').nth(index).map(str::trim).filter(|name| !name.is_empty());
        name.map_or_else(|| index.to_string(), str::to_owned)
    };
    let expected = [0, 1].map(|index| format!("{} cuda:0", of_outer(index)));
    assert_eq!(cards(2, &["cuda:0", "cuda:1"]), expected);
    let all = if outer.is_empty() { "all" } else { outer.as_str() };
    assert_eq!(cards(1, &["cuda:1"]), [format!("{all} cuda:1")]);
}
