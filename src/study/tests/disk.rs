//! Checkpoints on the disk: none is kept for nothing, none is given up that is needed, and a quota holds.

use std::cell::Cell;
use std::fs;

use super::{Folder, Told, device, drive, drive_watched, spread, trains};
use crate::executor::Synthetic;
use crate::files;
use crate::search::StopReason;
use crate::space::{PrunerKind, Study};
use crate::store::Store;
use crate::study::{Layout, StudyError, StudyEvent};
use crate::units::Bytes;

/// Far more than all else that a study of these tests writes: the database, the base model, the pictures.
const WEIGHTS: Bytes = Bytes::mib(64);

fn heavy() -> Synthetic {
    Synthetic { weights: WEIGHTS, ..device() }
}

/// A quota of so many checkpoints, and of all else.
fn of_checkpoints(count: u64) -> Bytes {
    Bytes(count * WEIGHTS.0 + WEIGHTS.0 / 2)
}

fn checkpoints(study: &Study) -> usize {
    let entries = fs::read_dir(Layout::new(&study.output).trials()).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().join("weights").exists()).count()
}

/// Drives a study, and says how many checkpoints there were at the most.
fn watched(study: &Study, device: &mut Synthetic) -> (Result<Told, StudyError>, usize) {
    let most = Cell::new(0);
    let mut watch = |_: StudyEvent<'_>| {
        most.set(most.get().max(checkpoints(study)));
        let size = files::size(&study.output);
        assert!(study.disk_quota.is_none_or(|quota| size <= quota), "{size} of {:?}", study.disk_quota);
    };
    let told = drive_watched(study, device, None, &mut watch);
    (told, most.get())
}

/// The steps that each ended rung has trained itself.
fn steps_of_rungs(study: &Study, told: &Told) -> Vec<usize> {
    let store = Store::open(&Layout::new(&study.output).database()).unwrap();
    let ended =
        told.history.trials.iter().flat_map(|trial| trial.rungs.iter().map(|rung| (trial.id, rung.rung)));
    let measured = ended.map(|run| store.partial(run).unwrap());
    measured.filter_map(|measured| measured.steps.first().map(|step| step.step)).collect()
}

#[test]
fn in_the_end_the_checkpoint_of_the_full_run_alone_is_left() {
    let (folder, mut device) = (Folder::new(), heavy());
    let study = folder.study(spread);
    let (told, most) = watched(&study, &mut device);
    let told = told.unwrap();
    let best = told.summary.best.unwrap().trial;
    // Anyone may be promoted until all nine have run; but of those that diverged nothing is kept.
    let finished = told.history.trials.iter().filter(|trial| trial.loss_at(0).is_some()).count();
    assert_eq!((most, checkpoints(&study)), (finished, 1));
    assert!(Layout::new(&study.output).checkpoint(best).join("weights").exists());
}

#[test]
fn by_losses_alone_the_disk_holds_those_that_can_be_promoted_and_the_one_that_runs() {
    let (folder, mut device) = (Folder::new(), heavy());
    let study = folder.study(|study| {
        spread(study);
        study.search.pruner = PrunerKind::Halving;
    });
    let (told, most) = watched(&study, &mut device);
    // Three of nine go on.
    assert_eq!((most, checkpoints(&study)), (4, 1));
    let undisturbed = drive(
        &Folder::new().study(|study| {
            spread(study);
            study.search.pruner = PrunerKind::Halving;
        }),
        &mut super::device(),
    );
    assert_eq!(told.unwrap().history, undisturbed.unwrap().history);
}

#[test]
fn whoever_goes_on_goes_on_from_its_checkpoint() {
    let (folder, mut device) = (Folder::new(), heavy());
    let study = folder.study(spread);
    let told = drive(&study, &mut device).unwrap();
    let all = steps_of_rungs(&study, &told);
    let higher =
        told.history.trials.iter().flat_map(|trial| &trial.rungs).filter(|rung| rung.rung > 0).count();
    let first = all.iter().min().unwrap();
    assert_eq!(all.iter().filter(|step| *step > first).count(), higher, "{all:?}");
}

#[test]
fn a_quota_gives_up_the_least_promising_and_finds_the_same() {
    let (folder, mut device) = (Folder::new(), heavy());
    let study = folder.study(|study| {
        spread(study);
        study.disk_quota = Some(of_checkpoints(5));
    });
    let (told, most) = watched(&study, &mut device);
    let told = told.unwrap();
    assert!(told.log.contains(&"GaveUp".to_owned()), "{:?}", told.log);
    assert!(most <= 5, "{most}");
    let free = drive(&Folder::new().study(spread), &mut super::device()).unwrap();
    assert_eq!(told.summary.best.map(|best| best.trial), free.summary.best.map(|best| best.trial));
    assert_eq!(told.summary.stopped, free.summary.stopped);
}

#[test]
fn two_slots_stay_within_the_quota() {
    let (folder, mut device) = (Folder::new(), Synthetic { slots: 2, ..heavy() });
    let study = folder.study(|study| {
        spread(study);
        study.disk_quota = Some(of_checkpoints(6));
    });
    let (told, most) = watched(&study, &mut device);
    assert!(told.unwrap().summary.test_loss_nats.is_some());
    assert!(most <= 6, "{most}");
}

#[test]
fn where_the_quota_lets_no_further_trial_run_the_search_ends_and_its_best_is_trained() {
    let (folder, mut device) = (Folder::new(), heavy());
    let study = folder.study(|study| {
        spread(study);
        study.search.pruner = PrunerKind::Halving;
        study.disk_quota = Some(of_checkpoints(4));
    });
    let (told, _) = watched(&study, &mut device);
    let told = told.unwrap();
    assert!(matches!(told.summary.stopped, Some(StopReason::Disk { .. })), "{:?}", told.summary.stopped);
    assert!(told.summary.test_loss_nats.is_some());
    // With more room the search goes on where it was.
    let more = folder.study(|study| {
        spread(study);
        study.search.pruner = PrunerKind::Halving;
        study.disk_quota = Some(of_checkpoints(9));
    });
    let told = drive(&more, &mut heavy()).unwrap();
    assert_eq!(told.summary.stopped, Some(StopReason::Trials { trials: 9 }));
}

#[test]
fn a_quota_that_is_used_up_before_the_first_trial_is_an_error_with_the_way_out() {
    let (folder, mut device) = (Folder::new(), heavy());
    let study = folder.study(|study| study.disk_quota = Some(Bytes(1)));
    let error = drive(&study, &mut device).unwrap_err();
    assert!(matches!(error, StudyError::NoResult { .. }), "{error}");
    assert!(error.to_string().contains("the disk or its quota has 0 B left"), "{error}");
    assert!(device.specs.iter().all(|spec| trains(spec).is_none()));
}

#[test]
fn a_full_run_that_has_no_room_says_what_it_needs_and_goes_on_with_more() {
    let (folder, mut device) = (Folder::new(), heavy());
    let single = |quota| {
        folder.study(|study| {
            spread(study);
            study.search.trials = 1;
            study.search.rungs = 2;
            study.disk_quota = Some(quota);
        })
    };
    let error = drive(&single(of_checkpoints(1)), &mut device).unwrap_err();
    assert!(matches!(error, StudyError::DiskIsFull { .. }), "{error}");
    assert!(
        error.to_string().contains("`study.disk_quota`") && error.to_string().contains("hint:"),
        "{error}"
    );
    assert!(drive(&single(of_checkpoints(2)), &mut heavy()).unwrap().summary.test_loss_nats.is_some());
}
