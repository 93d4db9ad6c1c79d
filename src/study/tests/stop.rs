//! The search ends by its rules, between two runs, and goes on where more is allowed.

use super::{Folder, Stage, device, drive, drive_until, spread, trains};
use crate::executor::Synthetic;
use crate::search::StopReason;
use crate::study::StudyError;

/// Long ago, and far in the future.
const PAST: Option<f64> = Some(1e9);
const FUTURE: Option<f64> = Some(1e11);

fn rungs(device: &Synthetic) -> usize {
    device.specs.iter().filter_map(trains).count()
}

#[test]
fn the_number_of_trials_is_told_as_the_reason_once() {
    let (folder, mut device) = (Folder::new(), device());
    let study = folder.study(|_| ());
    let told = drive(&study, &mut device).unwrap();
    assert_eq!(told.summary.stopped, Some(StopReason::Trials { trials: 9 }));
    let stops = |log: &[String]| log.iter().filter(|name| *name == "Stopped").count();
    assert_eq!(stops(&told.log), 1);
    assert_eq!(stops(&drive(&study, &mut device).unwrap().log), 0);
    let page = std::fs::read_to_string(told.summary.report.unwrap()).unwrap();
    assert!(page.contains("stopped: 9 trials, as many as asked for"));
}

#[test]
fn hours_that_are_used_up_end_the_search_and_the_best_is_trained_in_full() {
    let (folder, mut undisturbed) = (Folder::new(), device());
    let whole = drive(&folder.study(|_| ()), &mut undisturbed).unwrap();
    let first_four = whole.history.trials[..4].iter().map(|trial| trial.rungs[0].measurement.seconds());
    let hours = first_four.sum::<f64>() / 3600.0;
    let (folder, mut device) = (Folder::new(), device());
    let told = drive(&folder.study(|study| study.search.hours = Some(hours)), &mut device).unwrap();
    assert_eq!(told.summary.stopped, Some(StopReason::Hours { hours }));
    // As many as fit, less what a confirmation was expected to take, and the full run of the best.
    let begun = told.history.trials.iter().filter(|trial| !trial.rungs.is_empty()).count();
    assert!((1..=4).contains(&begun), "{begun}");
    let best = told.summary.best.unwrap();
    assert!(told.history.trials[best.trial as usize].loss_at(2).is_some());
}

#[test]
fn hours_count_over_all_commands_and_more_of_them_let_the_study_go_on() {
    let (folder, mut first) = (Folder::new(), device());
    let short = folder.study(|study| study.search.hours = Some(1e-4));
    let told = drive(&short, &mut first).unwrap();
    let mut second = device();
    let again = drive(&short, &mut second).unwrap();
    assert_eq!((rungs(&second), again.history == told.history), (0, true), "nothing is left to use");
}

#[test]
fn a_deadline_that_has_passed_begins_nothing_and_says_so() {
    let (folder, mut stopped) = (Folder::new(), device());
    let study = folder.study(|_| ());
    let error = drive_until(&study, &mut stopped, PAST).unwrap_err();
    assert!(matches!(error, StudyError::NoResult { .. }), "{error}");
    assert!(error.to_string().contains("the time is up") && error.to_string().contains("hint:"), "{error}");
    assert_eq!(rungs(&stopped), 0);
    let mut after = device();
    let told = drive_until(&study, &mut after, FUTURE).unwrap();
    let whole = drive(&Folder::new().study(|_| ()), &mut device()).unwrap();
    assert_eq!(told.history, whole.history);
    assert_eq!(told.summary.stopped, Some(StopReason::Trials { trials: 9 }));
}

#[test]
fn a_search_that_is_stopped_by_its_deadline_confirms_nothing_by_other_seeds() {
    let (folder, mut first) = (Folder::new(), device());
    first.example_spread = 20.0;
    let study = folder.study(|_| ());
    first.interrupt_after = Some(0);
    drive(&study, &mut first).unwrap_err();
    let mut tuned = Synthetic { example_spread: 20.0, ..device() };
    // All trials and promotions, but neither a confirmation nor the full run.
    tuned.interrupt_after = Some(super::first_trial(|_| ()) + 9 + 3);
    drive(&study, &mut tuned).unwrap_err();
    let mut rest = Synthetic { example_spread: 20.0, ..device() };
    let told = drive_until(&study, &mut rest, PAST).unwrap();
    assert_eq!(told.confirmations, []);
    let confirmation = told.summary.confirmation.unwrap();
    assert_eq!(confirmation.decision.unwrap().contests[0].runs, [1, 1]);
    assert!(!told.stages.contains(&Stage::Confirm));
}

#[test]
fn more_trials_may_be_asked_for_later() {
    let folder = Folder::new();
    let few = folder.study(|study| {
        spread(study);
        study.search.trials = 4;
    });
    let mut driver_device = device();
    let mut listener = |_: crate::study::StudyEvent<'_>| ();
    let mut driver = crate::study::Driver::open(&few, &mut driver_device, &mut listener).unwrap();
    driver.prepare().unwrap();
    driver.tune().unwrap();
    drop(driver);
    let told = drive(&folder.study(spread), &mut device()).unwrap();
    assert_eq!(told.history.trials.len(), 9);
    let whole = drive(&Folder::new().study(spread), &mut device()).unwrap();
    let points =
        |told: &super::Told| told.history.trials.iter().map(|one| one.hyperparams).collect::<Vec<_>>();
    assert_eq!(points(&told), points(&whole));
}

#[test]
fn a_space_that_has_no_more_points_says_so() {
    let (folder, mut device) = (Folder::new(), device());
    let study = folder.study(|study| study.space.learning_rate = crate::space::FloatDomain::fixed(1e-2));
    let told = drive(&study, &mut device).unwrap();
    assert_eq!(told.summary.stopped, Some(StopReason::Exhausted { trials: 1 }));
}
