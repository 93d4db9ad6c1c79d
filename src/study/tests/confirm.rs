//! The best candidates are compared, and run again where they can't be told apart.

use super::{Folder, Stage, crash, device, drive, spread, trains};
use crate::executor::Synthetic;
use crate::search::{Verdict, Won};
use crate::space::{BatchDomain, BatchPlan, FloatDomain, Study};
use crate::study::{Driver, StudyError, StudyEvent, read_summary};
use crate::trial::{Confirmation, History, Outcome, Task};

/// The study's seed is 3.
const OTHER_SEED: u64 = 4;

/// Examples disagree so much about learning rates that no two can be told apart.
fn noisy() -> Synthetic {
    Synthetic { example_spread: 20.0, ..device() }
}

/// Numbers of the runs by another seed.
fn confirming(device: &Synthetic) -> Vec<usize> {
    let is_other = |number: &usize| {
        let spec = &device.specs[*number];
        trains(spec).is_some() && spec.train.seed != 3
    };
    (0..device.specs.len()).filter(is_other).collect()
}

#[test]
fn candidates_that_cannot_be_told_apart_run_again_by_the_same_other_seed() {
    let (folder, mut device) = (Folder::new(), noisy());
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    let ranked = told.history.trials.iter().filter_map(|trial| Some((trial.loss_at(1)?, trial.id)));
    let mut ranked: Vec<(f64, u32)> = ranked.collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let best_two = [ranked[0].1, ranked[1].1];
    let found: Vec<_> = told.confirmations.iter().map(|one| (one.trial, one.record.rung, one.seed)).collect();
    assert_eq!(found, best_two.map(|trial| (trial, 1, OTHER_SEED)));
    for (number, trial) in confirming(&device).into_iter().zip(best_two) {
        let spec = &device.specs[number];
        let own = folder.path(&format!("results/trials/{trial}/seed-{OTHER_SEED}"));
        assert_eq!((spec.train.seed, trains(spec)), (OTHER_SEED, Some((own.as_path(), 6))));
        assert!(!own.exists(), "nothing goes on from it");
    }
    let confirmation = told.summary.confirmation.unwrap();
    let decision = confirmation.decision.unwrap();
    // Both have the same batch and cost the same.
    assert_eq!((decision.winner, decision.won), (best_two[0], Won::LowerLoss));
    let contest = &decision.contests[0];
    assert_eq!((contest.runs, contest.comparison.verdict), ([2, 2], Verdict::Tie));
    assert_eq!((contest.leader, contest.rival), best_two.into());
    assert!(confirmation.sentence.starts_with("a tie"), "{}", confirmation.sentence);
    assert_eq!(confirmation.runs.len(), 2);
    assert_eq!(told.summary.best.unwrap().trial, best_two[0]);
    let stages = [Stage::Tune, Stage::Confirm, Stage::Train];
    assert_eq!(told.stages[2..5], stages);
    assert_eq!(told.log.iter().filter(|name| *name == "Decided").count(), 1);
    let page = std::fs::read_to_string(told.summary.report.unwrap()).unwrap();
    assert!(page.contains("A tie, and none is cheaper: took the lower loss"), "the report tells it");
}

#[test]
fn the_time_to_tell_the_best_apart_is_that_of_the_comparison_whatever_was_asked_before() {
    let (folder, mut device) = (Folder::new(), noisy());
    let study = folder.study(|_| ());
    let told = drive(&study, &mut device).unwrap();
    let mut listener = |_: StudyEvent<'_>| ();
    let driver = Driver::open(&study, &mut device, &mut listener).unwrap();
    // Before the full run, and without what the comparison has found.
    let mut history = told.history;
    for trial in &mut history.trials {
        trial.rungs.truncate(2);
    }
    let mut seen = Vec::new();
    let mut ask = |history: &History, confirmations: &[Confirmation]| {
        let seconds = driver.seconds_to_confirm(history, confirmations).unwrap();
        let standing = driver.standing(history, confirmations).unwrap();
        assert_eq!(Some(seconds), standing.map(|standing| standing.seconds_left));
        seen.push(seconds);
    };
    for known in (0..=told.confirmations.len()).rev() {
        ask(&history, &told.confirmations[..known]);
    }
    while !history.trials.is_empty() {
        ask(&history, &[]);
        history.trials.pop();
    }
    seen.dedup();
    assert!(seen.len() > 3, "the answers hardly differ: {seen:?}");
}

#[test]
fn a_leader_that_is_clearly_better_wins_without_another_run() {
    let (folder, mut device) = (Folder::new(), device());
    let told = drive(&folder.study(spread), &mut device).unwrap();
    assert_eq!((told.confirmations.len(), confirming(&device)), (0, vec![]));
    let confirmation = told.summary.confirmation.unwrap();
    let decision = confirmation.decision.unwrap();
    assert_eq!(
        (decision.won, Some(decision.winner)),
        (Won::Clearly, told.summary.best.map(|best| best.trial))
    );
    assert!(confirmation.sentence.contains(" beats trial "), "{}", confirmation.sentence);
    assert!(!told.stages.contains(&Stage::Confirm));
}

/// Two plans whose losses are equal: the effective batch that is published for so short a run, which is slow, and a fast
/// one.
fn slow_and_fast(study: &mut Study) {
    let plan = |micro_batch_size, gradient_accumulation_steps| BatchPlan {
        micro_batch_size,
        gradient_accumulation_steps,
    };
    study.space.learning_rate = FloatDomain::fixed(1e-2);
    study.space.batch = BatchDomain::Explicit(vec![plan(2, 2), plan(8, 1)]);
    study.search.reduction_factor = 2;
    study.train.epochs = 4.0;
}

#[test]
fn of_a_tie_the_cheaper_is_taken_and_trained_in_full() {
    let (folder, mut device) = (Folder::new(), device());
    let told = drive(
        &folder.study(|study| {
            slow_and_fast(study);
            study.search.rungs = 1;
        }),
        &mut device,
    )
    .unwrap();
    let sizes: Vec<usize> =
        told.history.trials.iter().map(|one| one.hyperparams.batch.micro_batch_size).collect();
    assert_eq!(sizes, [2, 8]);
    let decision = told.summary.confirmation.unwrap().decision.unwrap();
    assert_eq!((decision.contests[0].leader, decision.winner, decision.won), (0, 1, Won::Cheaper));
    assert_eq!(told.summary.best.unwrap().trial, 1);
    assert!(decision.to_string().starts_with("a tie: took the cheaper, trial 1"), "{decision}");
}

#[test]
fn the_winner_of_the_comparison_is_the_one_trained_in_full() {
    let (folder, mut device) = (Folder::new(), device());
    let study = folder.study(|study| {
        slow_and_fast(study);
        study.search.rungs = 2;
    });
    let mut listener = |_: crate::study::StudyEvent<'_>| ();
    let mut driver = Driver::open(&study, &mut device, &mut listener).unwrap();
    driver.prepare().unwrap();
    driver.tune().unwrap();
    assert_eq!(driver.summary().unwrap().best.unwrap().trial, 1);
    assert_eq!(driver.train().unwrap(), 1);
    drop(driver);
    assert_eq!(read_summary(&study).unwrap().best.unwrap().trial, 1);
    let full = device.specs.iter().rfind(|spec| trains(spec).is_some()).unwrap();
    assert!(matches!(&full.task, Task::Train { best: Some(_), .. }));
    assert_eq!(full.hyperparams.batch.micro_batch_size, 8);
}

/// Ends the first run by another seed, that of the leader, in another way; who leads, and what was told.
fn first_confirmation_ends(outcome: &Outcome) -> (u32, super::Told) {
    let (folder, mut undisturbed) = (Folder::new(), noisy());
    let whole = drive(&folder.study(|_| ()), &mut undisturbed).unwrap();
    let (folder, mut device) = (Folder::new(), noisy());
    device.script.insert(confirming(&undisturbed)[0], outcome.clone());
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    assert_eq!(told.confirmations[0].record.outcome, *outcome);
    (whole.confirmations[0].trial, told)
}

#[test]
fn a_candidate_that_diverges_by_another_seed_loses() {
    let (leader, told) = first_confirmation_ends(&Outcome::Diverged { step: 2 });
    let decision = told.summary.confirmation.unwrap().decision.unwrap();
    assert_eq!((decision.won, decision.winner == leader), (Won::Steadier, false));
    assert_eq!(told.summary.best.unwrap().trial, decision.winner);
}

#[test]
fn a_crash_in_a_confirmation_says_nothing_of_the_candidate() {
    let (leader, told) = first_confirmation_ends(&crash());
    let decision = told.summary.confirmation.unwrap().decision.unwrap();
    assert_eq!((decision.winner, decision.contests[0].runs), (leader, [1, 2]));
}

#[test]
fn without_candidates_nothing_is_asked_nor_compared() {
    let (folder, mut device) = (Folder::new(), noisy());
    let told = drive(&folder.study(|study| study.search.confirm.candidates = 1), &mut device).unwrap();
    assert_eq!((told.confirmations.len(), told.summary.confirmation), (0, None));
    let asks = |spec: &&crate::trial::TrialSpec| matches!(spec.task, Task::Train { examples: true, .. });
    assert_eq!(device.specs.iter().filter(asks).count(), 0);
}

#[test]
fn more_seeds_and_candidates_run_as_long_as_they_tie() {
    let (folder, mut device) = (Folder::new(), noisy());
    let study = folder.study(|study| (study.search.confirm.candidates, study.search.confirm.seeds) = (3, 3));
    let told = drive(&study, &mut device).unwrap();
    let seeds: Vec<u64> = told.confirmations.iter().map(|one| one.seed).collect();
    assert_eq!(seeds, [4, 4, 4, 5, 5, 5]);
    let decision = told.summary.confirmation.unwrap().decision.unwrap();
    assert!(decision.contests.len() == 2 && decision.contests.iter().all(|one| one.runs == [3, 3]));
}

#[test]
fn a_winner_that_diverges_in_full_leaves_its_place_to_its_rival() {
    let (folder, mut undisturbed) = (Folder::new(), noisy());
    let whole = drive(&folder.study(|_| ()), &mut undisturbed).unwrap();
    let full = undisturbed.specs.iter().rposition(|spec| trains(spec).is_some()).unwrap();
    let (folder, mut device) = (Folder::new(), noisy());
    device.script.insert(full, Outcome::Diverged { step: 9 });
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    let (before, after) = (whole.summary.best.unwrap().trial, told.summary.best.unwrap().trial);
    assert!(after != before && told.history.trials[after as usize].loss_at(2).is_some());
}

#[test]
fn a_study_that_all_seeds_of_both_candidates_fail_still_has_a_winner() {
    let (folder, mut undisturbed) = (Folder::new(), noisy());
    let whole = drive(&folder.study(|_| ()), &mut undisturbed).unwrap();
    let (folder, mut device) = (Folder::new(), noisy());
    device
        .script
        .extend(confirming(&undisturbed).into_iter().map(|run| (run, Outcome::Diverged { step: 2 })));
    let told: Result<_, StudyError> = drive(&folder.study(|_| ()), &mut device);
    assert_eq!(told.unwrap().summary.best.unwrap().trial, whole.summary.best.unwrap().trial);
}
