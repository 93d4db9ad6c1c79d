//! The driver is killed at every single write, and the same command goes on.

use super::resume::small;
use super::{Folder, Told, device, drive, key, trains};
use crate::executor::Synthetic;
use crate::space::Study;
use crate::store::{Store, testing};
use crate::study::Layout;
use crate::trial::{History, Outcome, RunKey, RungRecord, TrialSpec};

/// Examples that disagree: the best two are confirmed by another seed.
fn noisy() -> Synthetic {
    Synthetic { example_spread: 20.0, seed_spread: 0.1, ..device() }
}

/// A study that was killed after so many writes, and then driven to its end.
struct Killed {
    /// What was on record at the moment of death.
    before: Vec<String>,
    /// Specifications that ran to their end before and after it.
    ran: [Vec<TrialSpec>; 2],
    told: Told,
}

/// None where so many writes are all there are.
fn killed_after(writes: usize, change: fn(&mut Study), mut device: Synthetic) -> Option<Killed> {
    let folder = Folder::new();
    let study = folder.study(change);
    testing::kill_after(writes);
    let ended = drive(&study, &mut device);
    testing::kill_after(usize::MAX);
    let error = ended.err()?;
    assert!(error.to_string().contains("killed by the test"), "{error}");
    let before = ended_runs(&study);
    let first = std::mem::take(&mut device.specs);
    let told = drive(&study, &mut device).unwrap();
    Some(Killed { before, ran: [first, device.specs], told })
}

/// Every ended run with all that it measured.
fn ended_runs(study: &Study) -> Vec<String> {
    let database = Layout::new(&study.output).database();
    let Ok(store) = Store::open_read_only(&database) else { return vec![] };
    let rungs = |history: History| -> Vec<String> {
        let of_trial = |trial: crate::trial::Trial| {
            let id = trial.id;
            trial.rungs.into_iter().map(move |record| format!("{id} {record:?}"))
        };
        history.trials.into_iter().flat_map(of_trial).collect()
    };
    let mut ended = rungs(store.history().unwrap());
    ended.extend(store.confirmations().unwrap().iter().map(|one| format!("{one:?}")));
    ended.extend(store.probes().unwrap().iter().map(|one| format!("{one:?}")));
    ended
}

/// The runs that trained, as `trial.rung` or `trial.rung/seed`.
fn trained(specs: &[TrialSpec], told: &Told) -> Vec<String> {
    let run = |spec: &TrialSpec| {
        let (checkpoint, stop) = trains(spec)?;
        let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let (seed, trial) = match name(checkpoint).strip_prefix("seed-") {
            Some(seed) => (Some(seed.parse().unwrap()), name(checkpoint.parent().unwrap())),
            None => (None, name(checkpoint)),
        };
        let trial: u32 = trial.parse().unwrap();
        let rungs = &told.history.trials[trial as usize].rungs;
        let rung = rungs.iter().find(|record| record.stop_at_step == stop).unwrap().rung;
        Some(key(&RunKey { trial, rung, seed }))
    };
    specs.iter().filter_map(run).collect()
}

#[test]
fn killed_at_any_write_a_study_ends_as_if_it_never_was() {
    let (folder, mut undisturbed) = (Folder::new(), noisy());
    testing::kill_after(usize::MAX);
    let study = folder.study(small);
    let whole = drive(&study, &mut undisturbed).unwrap();
    let (writes, all) = (testing::writes(), ended_runs(&study));
    assert!(writes > 100 && whole.confirmations.len() == 2, "{writes}");
    let told = |record: &RungRecord| {
        let stop = record.stop_at_step;
        let measured = &record.measurement;
        measured.totals().steps > 0 && measured.evals.iter().any(|eval| eval.step == stop)
    };
    let finished = whole.history.trials.iter().flat_map(|trial| &trial.rungs);
    let mut finished = finished.filter(|record| record.outcome == Outcome::Finished);
    assert!(finished.all(told), "what a child said is not on record");
    let mut repeated = 0;
    for n in 0..writes {
        let killed = killed_after(n, small, noisy()).unwrap();
        let moment = format!("killed after {n} writes");
        // The suggestions are part of history: they are those of the undisturbed study.
        assert_eq!(killed.told.history, whole.history, "{moment}");
        assert_eq!(killed.told.confirmations, whole.confirmations, "{moment}");
        assert_eq!(killed.told.summary.frontier, whole.summary.frontier, "{moment}");
        assert_eq!(killed.told.summary.best, whole.summary.best, "{moment}");
        assert_eq!(killed.told.summary.quantized.len(), 1, "{moment}");
        assert!(killed.before.iter().all(|run| all.contains(run)), "{moment}: {:?}", killed.before);
        let [first, second] = &killed.ran;
        let twice = first.len() + second.len() - undisturbed.specs.len();
        assert!(twice <= 1, "{moment}: {twice} runs were repeated");
        repeated += twice;
    }
    // A run whose end was not yet on record.
    assert!(repeated > 0);
    assert!(killed_after(writes, small, noisy()).is_none());
}

#[test]
fn killed_at_any_write_two_slots_repeat_at_most_what_ran_in_them() {
    let two_slots = || Synthetic { slots: 2, ..device() };
    let (folder, mut undisturbed) = (Folder::new(), two_slots());
    testing::kill_after(usize::MAX);
    drive(&folder.study(small), &mut undisturbed).unwrap();
    for n in 0..testing::writes() {
        let Some(killed) = killed_after(n, small, two_slots()) else { continue };
        let moment = format!("killed after {n} writes");
        let ended: Vec<String> = {
            let trials = killed.told.history.trials.iter();
            trials
                .flat_map(|trial| trial.rungs.iter().map(|record| format!("{} {record:?}", trial.id)))
                .collect()
        };
        let before = killed.before.iter().filter(|run| run.contains("RungRecord"));
        assert!(before.clone().all(|run| ended.contains(run)), "{moment}: an ended rung has changed");
        let [first, second] = killed.ran.map(|specs| trained(&specs, &killed.told));
        let twice: Vec<&String> = second.iter().filter(|run| first.contains(run)).collect();
        assert!(twice.len() <= 2, "{moment}: {twice:?} were run again");
        assert_eq!(killed.told.history.trials.len(), 4, "{moment}");
    }
}
