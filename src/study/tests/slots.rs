//! Several trials at the same time, on devices that may fail or be short of memory.

use super::resume::small;
use super::{Folder, crash, device, drive, spread, trains};
use crate::executor::Synthetic;
use crate::space::{DeviceSpec, PrunerKind, Study};
use crate::study::StudyError;
use crate::trial::{History, Outcome, Task, TrialSpec};
use crate::units::Bytes;

fn two_slots() -> Synthetic {
    Synthetic { slots: 2, ..device() }
}

/// Two devices, which differ by their caps alone.
fn two_devices(study: &mut Study) {
    study.slots = [100, 101].map(|cap| DeviceSpec::Cpu { cap: Some(Bytes::mib(cap)) }).to_vec();
}

/// The log's words that begin so, in order.
fn places(log: &[String], word: &str) -> Vec<usize> {
    log.iter().enumerate().filter(|(_, line)| line.starts_with(word)).map(|(place, _)| place).collect()
}

/// Every rung of every trial, none twice.
fn check_each_rung_once(history: &History, device: &Synthetic) {
    let ended = history.trials.iter().map(|trial| trial.rungs.len()).sum::<usize>();
    // Runs by other seeds than the study's are no rungs.
    let own = device.specs.iter().filter(|spec| trains(spec).is_some() && spec.train.seed == 3);
    assert_eq!(own.count(), ended);
    for trial in &history.trials {
        assert!(trial.rungs.windows(2).all(|two| two[0].rung < two[1].rung), "{trial:?}");
    }
}

#[test]
fn two_slots_are_kept_busy_and_no_point_is_proposed_twice() {
    let (folder, mut device) = (Folder::new(), two_slots());
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    let (starts, ends) = (places(&told.log, "start"), places(&told.log, "end"));
    assert!(starts[1] < ends[0], "{:?}", told.log);
    // As soon as one of the nine has ended, the next begins.
    assert!(starts[2] < ends[1], "{:?}", told.log);
    assert_eq!(told.history.trials.len(), 9);
    for trial in &told.history.trials {
        let same = told.history.trials.iter().filter(|other| other.hyperparams == trial.hyperparams);
        assert_eq!(same.count(), 1);
    }
    check_each_rung_once(&told.history, &device);
    assert!(told.summary.test_loss_nats.is_some());
}

#[test]
fn who_is_sure_of_a_place_goes_on_while_others_of_the_rung_below_still_run() {
    let by_losses = |study: &mut Study| {
        spread(study);
        study.search.pruner = PrunerKind::Halving;
    };
    let (folder, mut device) = (Folder::new(), two_slots());
    let told = drive(&folder.study(by_losses), &mut device).unwrap();
    let of_rung = |word: &str, rung: u32| -> Vec<usize> {
        let is_of = |place: &usize| told.log[*place].ends_with(&format!(".{rung}"));
        places(&told.log, word).into_iter().filter(is_of).collect()
    };
    assert!(of_rung("start", 1).first() < of_rung("end", 0).last(), "{:?}", told.log);
    let alone = drive(&Folder::new().study(by_losses), &mut super::device()).unwrap();
    // The points lie apart whatever the others told, so the same trials go on and the same one wins.
    assert_eq!(told.history, alone.history);
    assert_eq!(told.summary.best, alone.summary.best);
}

#[test]
fn the_full_run_alone_is_shared_by_all_slots_and_only_where_that_is_asked_for() {
    for asked in [None, Some(true)] {
        let (folder, mut device) = (Folder::new(), two_slots());
        let told = drive(
            &folder.study(|study| {
                spread(study);
                study.slots = vec![study.device; 2];
                study.train.data_parallel = asked;
            }),
            &mut device,
        );
        let (told, wanted) = (told.unwrap(), usize::from(asked.is_some()));
        let shares = |spec: &TrialSpec| match &spec.task {
            Task::Train { also_on, best, .. } => Some((also_on.clone(), best.is_some())),
            _ => None,
        };
        let shared: Vec<_> = device.specs.iter().filter_map(shares).collect();
        let lone: DeviceSpec = "cpu:200MiB".parse().unwrap();
        for (also_on, is_full) in &shared {
            assert_eq!(*also_on, if *is_full { vec![lone; wanted] } else { vec![] });
        }
        assert!(shared.iter().any(|(_, is_full)| *is_full));
        assert_eq!(places(&told.log, "Together").len(), wanted, "{:?}", told.log);
    }
}

#[test]
fn a_full_run_that_fails_on_several_devices_goes_on_on_one_and_one_that_diverges_does_not() {
    let together = |study: &mut Study| {
        spread(study);
        study.slots = vec![study.device; 2];
        study.train.data_parallel = Some(true);
    };
    let is_full = |spec: &TrialSpec| matches!(&spec.task, Task::Train { best: Some(_), .. });
    let mut undisturbed = two_slots();
    drive(&Folder::new().study(together), &mut undisturbed).unwrap();
    let full = undisturbed.specs.iter().position(is_full).unwrap();
    let refusal = Outcome::OutOfMemory { requested: None, live: Bytes::mib(99), cap: Some(Bytes::mib(100)) };
    for (outcome, shared) in [(crash(), [1, 0]), (refusal, [1, 0]), (Outcome::Diverged { step: 7 }, [1, 1])] {
        let (folder, mut device) = (Folder::new(), two_slots());
        device.script.insert(full, outcome.clone());
        let told = drive(&folder.study(together), &mut device).unwrap();
        let of_full = device.specs.iter().filter(|spec| is_full(spec));
        let found: Vec<usize> = of_full
            .filter_map(|spec| match &spec.task {
                Task::Train { also_on, .. } => Some(also_on.len()),
                _ => None,
            })
            .collect();
        assert_eq!(found, shared, "{outcome:?}");
        let is_told = places(&told.log, "LeftOut").len() == 1;
        assert_eq!(is_told, shared[1] == 0, "{:?}", told.log);
        assert!(told.summary.test_loss_nats.is_some());
    }
}

#[test]
fn interrupted_after_any_run_two_slots_lose_nothing_and_repeat_only_what_ran() {
    let mut undisturbed = two_slots();
    drive(&Folder::new().study(small), &mut undisturbed).unwrap();
    for n in 0..undisturbed.specs.len() {
        let (folder, mut device) = (Folder::new(), two_slots());
        let study = folder.study(small);
        device.interrupt_after = Some(n);
        drive(&study, &mut device).unwrap_err();
        device.interrupt_after = None;
        let told = drive(&study, &mut device).unwrap();
        assert_eq!(told.history.trials.len(), 4, "interrupted after {n} runs");
        check_each_rung_once(&told.history, &device);
        assert!(told.history.trials.iter().all(|trial| trial.loss_at(0).is_some() || trial.has_failed()));
    }
}

#[test]
fn a_device_whose_runs_all_fail_is_put_out_of_service_and_the_study_goes_on() {
    let (folder, mut device) = (Folder::new(), two_slots());
    device.broken.insert(1, crash());
    let study = folder.study(|study| {
        spread(study);
        two_devices(study);
    });
    let told = drive(&study, &mut device).unwrap();
    assert_eq!(places(&told.log, "OutOfService").len(), 1, "{:?}", told.log);
    assert_eq!((told.history.trials.len(), told.summary.trials["crashed"]), (9, 3));
    assert!(told.summary.test_loss_nats.is_some());
}

#[test]
fn a_set_up_that_is_broken_on_every_device_stops_the_study() {
    let (folder, mut device) = (Folder::new(), two_slots());
    device.broken.extend([(0, crash()), (1, crash())]);
    // Probes run in the first slot: only training is broken.
    let probes = super::first_trial(two_devices);
    device.broken.remove(&0);
    device.script.extend((probes..99).map(|run| (run, crash())));
    let error = drive(&folder.study(two_devices), &mut device).unwrap_err();
    assert!(matches!(error, StudyError::AllFail { trials: 3, .. }), "{error}");
    assert!(error.to_string().contains("signal 9: oh no"), "{error}");
}

#[test]
fn a_device_that_breaks_in_the_night_stops_the_search_with_all_that_was_found() {
    let (folder, mut device) = (Folder::new(), device());
    let many = |study: &mut Study| {
        spread(study);
        study.search.trials = 20;
    };
    let first = super::first_trial(many);
    device.script.extend((first + 4..first + 99).map(|run| (run, crash())));
    let study = folder.study(many);
    let error = drive(&study, &mut device).unwrap_err();
    assert!(matches!(error, StudyError::KeepsFailing { runs: 8, .. }), "{error}");
    // Mended, the same command goes on.
    device.script.clear();
    let told = drive(&study, &mut device).unwrap();
    assert_eq!((told.history.trials.len(), told.summary.trials["crashed"]), (20, 8));
    assert!(told.history.trials[..4].iter().all(|trial| trial.rungs[0].outcome != crash()));
    assert!(told.summary.test_loss_nats.is_some());
}

#[test]
fn a_run_waits_for_memory_that_another_program_holds() {
    let (folder, mut device) = (Folder::new(), device());
    // Two looks at a card that another program fills, one at a free one; then nobody tells.
    device.free.extend([Bytes::mib(11), Bytes::mib(12), Bytes::mib(99)]);
    let told = drive(&folder.study(spread), &mut device).unwrap();
    assert_eq!(places(&told.log, "Waits").len(), 1, "{:?}", told.log);
    assert!(device.free.is_empty());
    let undisturbed = drive(&Folder::new().study(spread), &mut super::device()).unwrap();
    assert_eq!(told.history, undisturbed.history);
}

#[test]
fn memory_that_is_never_free_is_tried_in_the_end() {
    let (folder, mut device) = (Folder::new(), device());
    device.free.extend(vec![Bytes::mib(11); 1000]);
    let told = drive(&folder.study(spread), &mut device).unwrap();
    assert!(told.history.trials.iter().all(|trial| !trial.rungs.is_empty()));
    assert!(told.history.trials.iter().any(|trial| trial.rungs[0].outcome == Outcome::Finished));
}
