//! A child that trains on several devices at once; here they are ranks of the processor.

use diapason::space::DeviceSpec;
use diapason::trial::{Event, FailureClass, Outcome, Task};
use diapason::units::Bytes;

use crate::child::{run, spec};
use crate::common::TinyStudy;

const STEPS: usize = 4;

fn prepared() -> TinyStudy {
    let study = TinyStudy::new().set("space.precision", "f32").set("search.max_micro_batch_size", 1);
    study.run(&["fit", "--json"]).json();
    study
}

/// What a child says that trains from the start on devices of these names, the first its own.
fn train_on(study: &TinyStudy, devices: &[&str], batch: (usize, usize)) -> Vec<Event> {
    let device = |text: &&str| text.parse::<DeviceSpec>().unwrap();
    let task = Task::Train {
        stop_at_step: STEPS,
        evaluate_every: 2,
        checkpoint: study.path(&format!("on-{}-{batch:?}", devices.join("-"))),
        best: None,
        examples: true,
        also_on: devices[1..].iter().map(device).collect(),
    };
    let mut spec = spec(study, batch, task);
    spec.device = device(&devices[0]);
    run(&spec)
}

/// Losses of steps, then of evaluations, then of their examples.
fn losses(events: &[Event]) -> Vec<f64> {
    let mut losses = [vec![], vec![], vec![]];
    for event in events {
        match event {
            Event::Step(step) => losses[0].push(step.loss_nats),
            Event::Eval(eval) => losses[1].push(eval.loss_nats),
            Event::Examples(each) => losses[2].extend(&each.nats),
            _ => {}
        }
    }
    losses.concat()
}

#[test]
fn a_child_of_several_ranks_says_what_one_of_a_single_rank_does_and_is_one_child() {
    let study = prepared();
    let alone = train_on(&study, &["cpu"], (2, 4));
    for devices in [vec!["cpu"; 2], vec!["cpu"; 4]] {
        let together = train_on(&study, &devices, (2, 4));
        assert_eq!(together.last(), Some(&Event::Finished), "{together:?}");
        let named = |event: &&Event| matches!(event, Event::Started { .. });
        let Some(Event::Started { device, .. }) = together.iter().find(named) else { panic!("{together:?}") };
        assert!(device.ends_with(&format!("; {} devices together", devices.len())), "{device}");
        let is_last_word = |event: &&Event| matches!(event, Event::Finished | Event::Failed { .. });
        assert_eq!(together.iter().filter(is_last_word).count(), 1);
        let (ours, right) = (losses(&together), losses(&alone));
        assert_eq!(ours.len(), right.len());
        let largest = ours.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(largest < 1e-4, "{} ranks: {largest}", devices.len());
    }
}

#[test]
fn what_ends_one_rank_ends_the_child_with_its_own_word() {
    let study = prepared();
    // This build has no CUDA, so the second rank has no device.
    #[cfg(not(feature = "cuda"))]
    {
        let events = train_on(&study, &["cpu", "cuda:0"], (2, 4));
        let Some(Event::Failed { class: FailureClass::Device, message }) = events.last() else {
            panic!("{events:?}")
        };
        assert!(message.contains("no CUDA support"), "{message}");
    }
    let events = train_on(&study, &["cpu", "cpu", "cpu"], (2, 2));
    let Some(Event::Failed { class: FailureClass::Internal, message }) = events.last() else {
        panic!("{events:?}")
    };
    assert!(message.contains("4 examples evenly: 3 devices"), "{message}");
}

/// All ranks of the processor are one process with one cap.
#[test]
fn ranks_of_the_processor_run_out_of_the_memory_of_all() {
    let study = prepared();
    let events = train_on(&study, &["cpu:1MiB", "cpu:1MiB"], (2, 4));
    // The allocator says it past all that is on its way, which may still come; the driver goes by the first last word.
    let mut last_words = events.iter().filter(|event| Outcome::from_last_word(event).is_some());
    let Some(Event::OutOfMemory { cap, .. }) = last_words.next() else { panic!("{events:?}") };
    assert_eq!((*cap, last_words.next()), (Some(Bytes::mib(1)), None));
}

#[test]
fn the_full_run_of_a_study_has_all_its_devices_if_that_is_asked_for() {
    let study = |together: bool| {
        let study = TinyStudy::new().set("space.precision", "f32").set("search.trials", 2);
        study.set("study.slots", 2).set("train.data_parallel", together).set("search.confirm.candidates", 1)
    };
    let (alone, together) = (study(false), study(true));
    let loss = |study: &TinyStudy, says: usize| {
        let ran = study.run(&["run", "--json"]);
        let loss = ran.json()["test_loss_nats"]["tuned"].as_f64().unwrap();
        assert_eq!(ran.stderr.matches("the full run has 2 of 2 devices").count(), says, "{}", ran.stderr);
        loss
    };
    let (right, ours) = (loss(&alone, 0), loss(&together, 1));
    assert!((ours - right).abs() < 1e-3, "{ours}, not {right}");
    // Sharing is no part of what a study is: it may change from one command to the next.
    let asked_otherwise = together.set("train.data_parallel", false);
    let again = asked_otherwise.run(&["run", "--json"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}
