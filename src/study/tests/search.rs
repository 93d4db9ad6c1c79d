//! What is found: the frontier, the winner, and everything the device was asked for on the way.

use super::{Folder, LARGEST, Stage, device, drive, trains};
use crate::search::Provenance;
use crate::space::{BatchDomain, BatchPlan, FloatDomain, Precision};
use crate::study::{StudyError, TestLosses};
use crate::trial::Task;

#[test]
fn the_frontier_is_that_of_the_formula() {
    let (folder, mut device) = (Folder::new(), device());
    let study = folder.study(|study| study.space.precision = Precision::ALL.to_vec());
    let told = drive(&study, &mut device).unwrap();
    let found: Vec<_> =
        told.summary.frontier.iter().map(|p| (p.setting.precision, p.max_micro_batch)).collect();
    assert_eq!(
        found,
        [(Precision::F32, LARGEST), (Precision::Bf16, 2 * LARGEST), (Precision::F16, 2 * LARGEST)]
    );
    for point in &told.summary.frontier {
        assert_eq!(point.peak_bytes, device.peak(point.setting.precision, point.max_micro_batch));
        assert!((8..=9).contains(&point.knee_micro_batch), "throughput saturates at eight: {point:?}");
        let one = point.curve[0];
        assert_eq!(
            (one.micro_batch_size, one.speed_is),
            (1, Provenance::Measured),
            "it tells the most of the knee"
        );
    }
}

#[test]
fn the_winner_is_the_trial_nearest_to_the_optimum_and_is_trained_in_full() {
    let (folder, mut device) = (Folder::new(), device());
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    let distance = |rate: f64| (rate / device.best_learning_rate).ln().abs();
    let nearest = told
        .history
        .trials
        .iter()
        .min_by(|a, b| {
            distance(a.hyperparams.learning_rate).total_cmp(&distance(b.hyperparams.learning_rate))
        })
        .unwrap();
    let best = told.summary.best.unwrap();
    assert_eq!(best.trial, nearest.id);
    let total = nearest.rungs[2].stop_at_step;
    let full = device.loss(nearest.hyperparams.learning_rate, total, total);
    assert_eq!(best.eval_loss_nats.to_bits(), full.to_bits());
    assert_eq!(told.summary.test_loss_nats, Some(TestLosses { base: 3.0, tuned: 3.0 }));
    assert!(told.summary.quantized[0].path.is_file() && told.summary.report.unwrap().is_file());
}

#[test]
fn nine_trials_give_three_promotions_and_one_full_run() {
    let (folder, mut device) = (Folder::new(), device());
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    let ended = |rung| {
        let rungs = told.history.trials.iter().flat_map(|trial| &trial.rungs);
        rungs.filter(|record| record.rung == rung).count()
    };
    assert_eq!([0, 1, 2].map(ended), [9, 3, 1]);
}

#[test]
fn a_promoted_trial_goes_on_in_the_same_checkpoint_with_a_later_stop() {
    let (folder, mut device) = (Folder::new(), device());
    let told = drive(&folder.study(|_| ()), &mut device).unwrap();
    let best = told.summary.best.unwrap().trial;
    let own = folder.path(&format!("results/trials/{best}"));
    let stops: Vec<usize> =
        device.specs.iter().filter_map(trains).filter(|run| run.0 == own).map(|run| run.1).collect();
    assert_eq!(stops, [2, 6, 18]);
    let full = device.specs.iter().filter(|spec| matches!(&spec.task, Task::Train { best: Some(_), .. }));
    assert_eq!(full.count(), 1, "only the full run keeps a model");
}

#[test]
fn every_trial_has_one_of_the_effective_batches_and_a_micro_batch_that_was_run() {
    let (folder, mut device) = (Folder::new(), device());
    let study = folder.study(|study| study.space.batch = BatchDomain::Effective(vec![6, 12, 40]));
    let told = drive(&study, &mut device).unwrap();
    let mut sizes: Vec<usize> =
        told.history.trials.iter().map(|t| t.hyperparams.batch.effective_batch_size()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    assert_eq!(sizes, [6, 12, 40]);
    assert!(told.history.trials.iter().all(|t| t.hyperparams.batch.micro_batch_size <= LARGEST));
}

#[test]
fn the_same_seed_gives_the_same_suggestions_and_another_seed_others() {
    let points = |seed| {
        let folder = Folder::new();
        let told = drive(&folder.study(|study| study.seed = seed), &mut device()).unwrap();
        told.history.trials.iter().map(|trial| trial.hyperparams).collect::<Vec<_>>()
    };
    assert_eq!(points(7), points(7));
    assert_ne!(points(7), points(8));
}

#[test]
fn a_space_of_few_points_tries_each_once_and_finishes() {
    let plan = |micro_batch_size| BatchPlan { micro_batch_size, gradient_accumulation_steps: 1 };
    for plans in [vec![plan(4)], vec![plan(4), plan(8)]] {
        let folder = Folder::new();
        let study = folder.study(|study| {
            study.space.learning_rate = FloatDomain::fixed(1e-2);
            study.space.batch = BatchDomain::Explicit(plans.clone());
        });
        let told = drive(&study, &mut device()).unwrap();
        let mut tried: Vec<BatchPlan> = told.history.trials.iter().map(|t| t.hyperparams.batch).collect();
        tried.sort_unstable();
        assert_eq!(tried, plans);
        assert!(told.summary.best.is_some());
    }
}

#[test]
fn micro_batches_that_are_all_too_large_are_told_with_the_largest_that_fits() {
    let (folder, mut device) = (Folder::new(), device());
    let plan = |micro_batch_size| BatchPlan { micro_batch_size, gradient_accumulation_steps: 1 };
    let study = folder.study(|study| {
        study.space.batch = BatchDomain::Explicit(vec![plan(LARGEST + 1), plan(3 * LARGEST)]);
    });
    let error = drive(&study, &mut device).unwrap_err();
    assert!(matches!(error, StudyError::ListedTooLarge { .. }), "{error}");
    let told = format!("the smallest is {}, the largest that fits is {LARGEST}", LARGEST + 1);
    assert!(error.to_string().contains(&told), "{error}");
}

#[test]
fn a_single_rung_makes_every_trial_a_full_run_and_keeps_the_best_model() {
    let (folder, mut device) = (Folder::new(), device());
    let study = folder.study(|study| (study.search.rungs, study.search.trials) = (1, 3));
    let told = drive(&study, &mut device).unwrap();
    assert_eq!(device.specs.iter().filter_map(trains).map(|run| run.1).collect::<Vec<_>>(), [18, 18, 18]);
    assert!(folder.path("results/model/model.safetensors").is_file());
    assert!(told.summary.test_loss_nats.is_some());
}

#[test]
fn events_come_in_the_order_of_the_stages() {
    let (folder, mut device) = (Folder::new(), device());
    let told = drive(&folder.study(|study| study.search.trials = 1), &mut device).unwrap();
    let stages = [Stage::Prepare, Stage::Fit, Stage::Tune, Stage::Train, Stage::Quantize, Stage::Report];
    assert_eq!(told.stages, stages);
    let log: Vec<&str> = told.log.iter().map(String::as_str).filter(|name| *name != "child").collect();
    let expected = "Prepare ModelReady DataReady
        Fit probe 6 probed 6 probe 24 probed 24 probe 15 probed 15 probe 16 probed 16 Frontier
        Tune start 0.0 end 0.0 start 0.1 end 0.1 Stopped
        Train start 0.2 end 0.2
        Quantize evaluated base evaluated tuned Quantized evaluated f32
        Report ReportWritten";
    assert_eq!(
        log.join(" ").split_whitespace().collect::<Vec<_>>(),
        expected.split_whitespace().collect::<Vec<_>>()
    );
}
