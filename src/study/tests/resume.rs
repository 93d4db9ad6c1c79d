//! A study that is stopped anywhere and started again is the study that was never stopped.

use std::fs;

use super::{Folder, Stage, StudyError, device, drive, trains};
use crate::executor::{ExecutorError, Synthetic};
use crate::space::Study;
use crate::trial::Outcome;

/// All precisions, so that the frontier is interrupted between its rows too.
pub(super) fn small(study: &mut Study) {
    study.space.precision = crate::space::Precision::ALL.to_vec();
    study.search.trials = 4;
    study.search.reduction_factor = 2;
}

#[test]
fn interrupted_after_any_run_a_study_ends_as_if_it_never_was() {
    let mut undisturbed = device();
    let whole = drive(&Folder::new().study(small), &mut undisturbed).unwrap();
    let rungs = undisturbed.specs.iter().filter_map(trains).count();
    for n in 0..undisturbed.specs.len() {
        let (folder, mut device) = (Folder::new(), device());
        let study = folder.study(small);
        device.interrupt_after = Some(n);
        let error = drive(&study, &mut device).unwrap_err();
        assert!(matches!(error, StudyError::Executor(ExecutorError::Interrupted)), "{error}");
        device.interrupt_after = None;
        let told = drive(&study, &mut device).unwrap();
        assert_eq!(told.history, whole.history, "interrupted after {n} runs");
        assert_eq!(told.summary.best, whole.summary.best);
        assert_eq!(told.summary.frontier, whole.summary.frontier);
        assert_eq!(device.specs.iter().filter_map(trains).count(), rungs, "a finished rung ran again");
        assert_eq!(device.specs.len(), undisturbed.specs.len());
    }
}

#[test]
fn interrupted_in_its_confirmation_a_study_ends_as_if_it_never_was() {
    let noisy = || Synthetic { example_spread: 20.0, seed_spread: 0.1, ..device() };
    let mut undisturbed = noisy();
    let whole = drive(&Folder::new().study(small), &mut undisturbed).unwrap();
    assert_eq!(whole.confirmations.len(), 2);
    for n in 0..undisturbed.specs.len() {
        let (folder, mut device) = (Folder::new(), noisy());
        let study = folder.study(small);
        device.interrupt_after = Some(n);
        drive(&study, &mut device).unwrap_err();
        device.interrupt_after = None;
        let told = drive(&study, &mut device).unwrap();
        assert_eq!(told.history, whole.history, "interrupted after {n} runs");
        assert_eq!(told.confirmations, whole.confirmations, "interrupted after {n} runs");
        assert_eq!(told.summary.confirmation, whole.summary.confirmation);
        assert_eq!(told.summary.best, whole.summary.best);
        assert_eq!(device.specs.len(), undisturbed.specs.len());
    }
}

#[test]
fn a_finished_study_runs_nothing_again_but_its_report() {
    let folder = Folder::new();
    let study = folder.study(small);
    let first = drive(&study, &mut device()).unwrap();
    let mut again = device();
    let told = drive(&study, &mut again).unwrap();
    assert!(again.specs.is_empty());
    assert_eq!(told.stages, [Stage::Prepare, Stage::Report]);
    assert_eq!(told.history, first.history);
}

#[test]
fn a_quantized_file_that_was_removed_is_made_again() {
    let folder = Folder::new();
    let study = folder.study(small);
    let file = drive(&study, &mut device()).unwrap().summary.quantized[0].path.clone();
    fs::remove_file(&file).unwrap();
    let mut again = device();
    drive(&study, &mut again).unwrap();
    assert!(file.is_file() && again.specs.len() == 1);
}

#[test]
fn a_model_that_was_removed_is_missed_with_the_way_out() {
    let folder = Folder::new();
    let study = folder.study(small);
    drive(&study, &mut device()).unwrap();
    fs::remove_dir_all(folder.path("results/model")).unwrap();
    let error = drive(&study, &mut device()).unwrap_err();
    assert!(matches!(error, StudyError::ModelGone { .. }) && error.to_string().contains("hint:"), "{error}");
}

#[test]
fn half_written_files_of_a_killed_process_are_removed() {
    let folder = Folder::new();
    let study = folder.study(small);
    let best = drive(&study, &mut device()).unwrap().summary.best.unwrap().trial;
    let left = folder.path(&format!("results/trials/{best}/.writing-abc"));
    fs::write(&left, "half").unwrap();
    drive(&study, &mut device()).unwrap();
    assert!(!left.exists());
}

#[test]
fn rungs_that_stop_at_the_same_step_each_have_a_loss() {
    let folder = Folder::new();
    // One step in all: every rung stops there.
    let study = folder.study(|study| study.train.epochs = 0.1);
    let told = drive(&study, &mut device()).unwrap();
    let best = &told.history.trials[told.summary.best.unwrap().trial as usize];
    assert_eq!(best.rungs.iter().map(|rung| rung.stop_at_step).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(best.rungs.iter().all(|rung| rung.outcome == Outcome::Finished));
    assert!((0..3).all(|rung| best.loss_at(rung).is_some()));
}
