//! How an effective batch is cut into micro-batches changes no loss.

use diapason::space::Precision;
use diapason::trial::{Event, Task};

use crate::child::{run, spec};
use crate::common::TinyStudy;

const STEPS: usize = 5;

/// Losses of every step, then of every evaluation.
fn losses(study: &TinyStudy, batch: (usize, usize)) -> Vec<f64> {
    losses_in(Precision::F32, study, batch)
}

fn losses_in(precision: Precision, study: &TinyStudy, batch: (usize, usize)) -> Vec<f64> {
    let (micro, accumulation) = batch;
    let task = Task::Train {
        stop_at_step: STEPS,
        evaluate_every: 1,
        checkpoint: study.path(&format!("checkpoint-{precision}-{micro}-{accumulation}")),
        best: None,
        examples: false,
        also_on: Vec::new(),
    };
    let mut spec = spec(study, batch, task);
    spec.hyperparams.precision = precision;
    let events = run(&spec);
    assert_eq!(events.last(), Some(&Event::Finished));
    let steps = events.iter().filter_map(|event| match event {
        Event::Step(step) => Some(step.loss_nats),
        _ => None,
    });
    let evals = events.iter().filter_map(|event| match event {
        Event::Eval(eval) => Some(eval.loss_nats),
        _ => None,
    });
    steps.chain(evals).collect()
}

#[test]
fn eight_examples_at_once_or_two_by_two_give_the_same_losses() {
    let study = TinyStudy::new().set("space.precision", "f32").set("search.max_micro_batch_size", 1);
    study.run(&["fit", "--json"]).json();
    let at_once = losses(&study, (8, 1));
    assert_eq!(at_once.len(), 2 * STEPS);
    assert!(at_once[0] - at_once[STEPS - 1] > 0.05, "training must have changed the model: {at_once:?}");
    for batch in [(2, 4), (1, 8), (3, 3)] {
        let cut = losses(&study, batch);
        let largest = at_once.iter().zip(&cut).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert_eq!(largest < 1e-4, batch.0 * batch.1 == 8, "{batch:?}: {largest}");
    }
}

#[test]
fn a_study_in_f16_by_its_other_name_trains_as_one_in_f32_does() {
    let study = TinyStudy::new().set("space.precision", "fp16").set("search.max_micro_batch_size", 2);
    let summary = study.run(&["run", "--json"]).json();
    assert_eq!(summary["frontier"][0]["precision"], "f16");
    assert_eq!(summary["best"]["hyperparameters"]["precision"], "f16");
    let [narrow, wide] =
        [Precision::F16, Precision::F32].map(|precision| losses_in(precision, &study, (8, 1)));
    let differences = narrow.iter().zip(&wide).map(|(a, b)| (a / b - 1.0).abs());
    let largest = differences.fold(0.0, f64::max);
    assert!(largest > 0.0 && largest < 1e-3, "{largest}");
}
