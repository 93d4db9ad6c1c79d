//! What the machine failed is tried again, and history keeps both.

use std::collections::BTreeMap;

use super::{Folder, crash, device, drive, first_trial, silence, spread};
use crate::executor::Synthetic;
use crate::search::{Plane, Task};
use crate::study::{Driver, StudyEvent};
use crate::trial::History;

#[test]
fn failed_trials_are_tried_again_and_the_study_is_then_as_if_they_had_not_failed() {
    let (folder, mut device) = (Folder::new(), device());
    let first = first_trial(spread);
    // Nobody is promoted before those that failed have run again.
    device.script.extend([(first + 2, crash()), (first + 5, silence())]);
    device.interrupt_after = Some(first + 8);
    let study = folder.study(spread);
    drive(&study, &mut device).unwrap_err();
    (device.script, device.interrupt_after) = (BTreeMap::new(), None);
    let before = {
        let mut listener = |_: StudyEvent<'_>| ();
        let mut driver = Driver::open(&study, &mut device, &mut listener).unwrap();
        let before = driver.store.history().unwrap();
        assert_eq!(driver.retry_failed().unwrap(), 2);
        assert_eq!(driver.retry_failed().unwrap(), 0, "what waits to be tried again is not added twice");
        before
    };
    let told = drive(&study, &mut device).unwrap();
    let trials = &told.history.trials;
    assert_eq!(trials.len(), 11);
    for (failed, again) in [(2, 9), (5, 10)] {
        assert_eq!(trials[failed].rungs, before.trials[failed].rungs, "history has changed");
        assert_eq!(trials[failed].hyperparams, trials[again].hyperparams);
        assert!(trials[again].rungs[0].outcome != trials[failed].rungs[0].outcome);
    }
    let undisturbed = drive(&Folder::new().study(spread), &mut super::device()).unwrap();
    let losses = |told: &super::Told, rung: u32| -> Vec<u64> {
        let mut losses: Vec<u64> =
            told.history.trials.iter().filter_map(|trial| Some(trial.loss_at(rung)?.to_bits())).collect();
        losses.sort_unstable();
        losses
    };
    for rung in 0..3 {
        assert_eq!(losses(&told, rung), losses(&undisturbed, rung), "rung {rung}");
    }
}

#[test]
fn a_trial_that_diverged_or_did_not_fit_is_not_tried_again() {
    let (folder, mut device) = (Folder::new(), Synthetic { diverges_at: 1.1e-2, ..device() });
    let study = folder.study(|_| ());
    let told = drive(&study, &mut device).unwrap();
    assert!(told.summary.trials.contains_key("diverged"), "{:?}", told.summary.trials);
    let mut listener = |_: StudyEvent<'_>| ();
    assert_eq!(Driver::open(&study, &mut device, &mut listener).unwrap().retry_failed().unwrap(), 0);
}

#[test]
fn the_sampler_hears_of_a_retry_and_not_of_the_failure() {
    let (folder, mut device) = (Folder::new(), device());
    let first = first_trial(|_| ());
    device.script.insert(first, crash());
    device.interrupt_after = Some(first + 4);
    let study = folder.study(|_| ());
    drive(&study, &mut device).unwrap_err();
    (device.script, device.interrupt_after) = (BTreeMap::new(), None);
    {
        let mut listener = |_: StudyEvent<'_>| ();
        Driver::open(&study, &mut device, &mut listener).unwrap().retry_failed().unwrap();
    }
    let told = drive(&study, &mut device).unwrap();
    assert_eq!((told.history.trials.len(), told.summary.trials["crashed"]), (10, 1));
    let again = told.history.retry_of(&told.history.trials[0]).unwrap().clone();
    let mut sound = told.history.clone();
    sound.trials[0].rungs.clone_from(&again.rungs);
    let believed = |history: &History| Plane::new(&study, &Task::default(), history).forecasts();
    assert_eq!(believed(&told.history), believed(&sound));
}
