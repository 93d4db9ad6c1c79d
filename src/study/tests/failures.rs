//! What trials suffer is data; what no trial can mend ends the study.

use super::{Folder, crash, device, drive, first_trial, silence, spread, trains};
use crate::executor::Synthetic;
use crate::space::{BatchDomain, FloatDomain, Precision, Study};
use crate::store::StoreError;
use crate::study::StudyError;
use crate::trial::{Outcome, Trial};
use crate::units::Bytes;

/// All precisions and two effective batches.
fn wide(study: &mut Study) {
    study.space.precision = Precision::ALL.to_vec();
    study.space.batch = BatchDomain::Effective(vec![8, 16]);
}

#[test]
fn a_trial_that_ran_out_of_memory_is_recorded_and_nothing_as_large_is_proposed_again() {
    let (folder, mut device) = (Folder::new(), device());
    let refusal = Outcome::OutOfMemory { requested: None, live: Bytes::mib(99), cap: Some(Bytes::mib(100)) };
    device.script.insert(first_trial(wide), refusal.clone());
    let told = drive(&folder.study(wide), &mut device).unwrap();
    let [first, later @ ..] = told.history.trials.as_slice() else { panic!("no trials") };
    assert_eq!(first.last().unwrap().outcome, refusal);
    let is_smaller = |trial: &Trial| {
        let (known, now) = (first.hyperparams, trial.hyperparams);
        now.precision != known.precision || now.batch.micro_batch_size < known.batch.micro_batch_size
    };
    assert!(later.len() == 8 && later.iter().all(is_smaller), "{later:?}");
    assert_eq!(told.summary.trials["out_of_memory"], 1);
}

#[test]
fn a_diverged_trial_is_recorded_and_no_point_is_proposed_twice() {
    let (folder, mut device) = (Folder::new(), Synthetic { diverges_at: 1.1e-2, ..device() });
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    let diverged = told.summary.trials["diverged"];
    assert!((1..9).contains(&diverged), "{:?}", told.summary.trials);
    for trial in &told.history.trials {
        let is_too_fast = trial.hyperparams.learning_rate >= device.diverges_at;
        assert_eq!(trial.rungs[0].outcome == Outcome::Diverged { step: 1 }, is_too_fast);
        let same = told.history.trials.iter().filter(|other| other.hyperparams == trial.hyperparams);
        assert_eq!(same.count(), 1);
    }
}

#[test]
fn a_crash_or_a_timeout_costs_one_trial_and_the_study_goes_on() {
    let (folder, mut device) = (Folder::new(), device());
    let first = first_trial(|_| ());
    device.script.extend([(first + 1, crash()), (first + 3, silence())]);
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    assert_eq!((told.summary.trials["crashed"], told.summary.trials["timed_out"]), (1, 1));
    assert_eq!(told.history.trials[1].last().unwrap().outcome, crash());
    assert_eq!(told.history.trials.len(), 9);
    assert!(told.summary.test_loss_nats.is_some());
}

#[test]
fn three_crashes_at_the_start_end_the_study_and_say_what_happened() {
    let (folder, mut device) = (Folder::new(), device());
    let first = first_trial(|_| ());
    device.script.extend((first..first + 3).map(|run| (run, crash())));
    let error = drive(&folder.study(|_| ()), &mut device).unwrap_err();
    assert!(matches!(error, StudyError::AllFail { trials: 3, .. }), "{error}");
    assert!(error.to_string().contains("signal 9: oh no"), "{error}");
}

#[test]
fn a_study_whose_trials_all_diverge_has_no_best() {
    let (folder, mut device) = (Folder::new(), device());
    device.diverges_at = 0.0;
    let error = drive(&folder.study(|_| ()), &mut device).unwrap_err();
    assert!(matches!(error, StudyError::NoBest), "{error}");
    assert_eq!(device.specs.iter().filter_map(trains).count(), 9);
}

#[test]
fn a_promoted_trial_that_diverges_is_not_trained_in_full() {
    let (folder, mut device) = (Folder::new(), device());
    let first = first_trial(|_| ());
    // With η = 9 a single trial is promoted.
    let study = folder.study(|study| study.search.reduction_factor = 9);
    device.script.insert(first + 9, Outcome::Diverged { step: 4 });
    let told = drive(&study, &mut device).unwrap();
    let promoted = told.history.trials.iter().find(|trial| trial.rungs.len() > 1 && trial.has_failed());
    assert_ne!(told.summary.best.unwrap().trial, promoted.unwrap().id);
    assert!(told.history.trials.iter().any(|trial| trial.loss_at(2).is_some()));
}

#[test]
fn a_winner_that_diverges_in_its_full_run_leaves_its_place_to_the_next_best() {
    let (folder, mut device) = (Folder::new(), device());
    let full = first_trial(spread) + 9 + 3;
    device.script.insert(full, Outcome::Diverged { step: 7 });
    let told = drive(&folder.study(spread), &mut device).unwrap();
    let failed =
        told.history.trials.iter().find(|trial| trial.rungs.len() == 3 && trial.has_failed()).unwrap();
    let best = told.summary.best.unwrap();
    assert!(best.trial != failed.id && told.history.trials[best.trial as usize].loss_at(2).is_some());
}

#[test]
fn a_full_run_that_crashes_ends_the_command_and_the_next_one_goes_on_with_it() {
    let (folder, mut device) = (Folder::new(), device());
    let full = first_trial(spread) + 9 + 3;
    device.script.insert(full, crash());
    let study = folder.study(spread);
    let error = drive(&study, &mut device).unwrap_err();
    assert!(matches!(&error, StudyError::Run { outcome, .. } if *outcome == crash()), "{error}");
    let winner = trains(&device.specs[full]).unwrap().0.to_owned();
    device.specs.clear();
    device.script.clear();
    let told = drive(&study, &mut device).unwrap();
    assert_eq!(trains(&device.specs[0]), Some((winner.as_path(), 18)));
    let undisturbed = drive(&Folder::new().study(spread), &mut super::device()).unwrap();
    assert_eq!(told.history, undisturbed.history);
}

#[test]
fn another_study_in_the_same_folder_is_refused_and_the_same_one_elsewhere_is_not() {
    let folder = Folder::new();
    let study = folder.study(|_| ());
    drive(&study, &mut device()).unwrap();
    let other = folder.study(|study| study.space.learning_rate = FloatDomain::fixed(1e-2));
    let error = drive(&other, &mut device()).unwrap_err();
    assert!(matches!(error, StudyError::Store(StoreError::StudyChanged { .. })), "{error}");
    let typed_otherwise = folder.study(|study| study.data.source = folder.path("./rows.csv"));
    assert!(drive(&typed_otherwise, &mut device()).is_ok());
}
