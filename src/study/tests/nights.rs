//! Nights on a virtual clock: whatever runs take and whatever befalls them, the artefact is there in the morning.

use std::fs;

use super::{Folder, Told, device, drive, drive_by};
use crate::executor::{Executor, Synthetic, Weather};
use crate::search::StopReason;
use crate::space::{ModelSettings, ModelSource, PrunerKind, SamplerKind, Study, Template, TrainerSettings};
use crate::study::{CutShort, Deadline, Layout, StudyError};
use crate::trial::{Task, TrialSpec};

const NIGHTS: u64 = 100;
/// Of the whole night an artefact may be so late.
const LATE: f64 = 0.02;

/// So much slower than the formulas a full run takes about half an hour.
const PACE: f64 = 2000.0;

/// Runs take between half and twice the usual time, every twentieth dies and every fiftieth hangs.
fn night(seed: u64) -> Synthetic {
    let weather = Weather { seed, pace: PACE, slowest: 2.0, dies: 0.05, hangs: 0.02, silence_seconds: 900.0 };
    Synthetic { weather, ..device() }
}

fn many_trials(study: &mut Study) {
    study.search.trials = 1000;
}

/// Drives a study with so many seconds for everything; what came of it, and how many seconds it took.
fn drive_for(study: &Study, device: &mut Synthetic, seconds: f64) -> (Result<Told, StudyError>, f64) {
    let began = device.now();
    let deadline = Deadline { moment: began + seconds, covers_ending: true };
    let told = drive_by(study, device, Some(deadline));
    (told, device.now() - began)
}

#[test]
fn in_a_hundred_nights_the_artefact_is_there_in_the_morning() {
    let mut used = Vec::new();
    for seed in 0..NIGHTS {
        let (folder, mut device) = (Folder::new(), night(seed));
        // From a short night, in which a full run is most of it, to a long one.
        let hours = [1.5, 4.0, 8.0, 12.0].into_iter().cycle().nth(seed.try_into().unwrap()).unwrap();
        let (told, took) = drive_for(&folder.study(many_trials), &mut device, hours * 3600.0);
        let told = told.unwrap_or_else(|error| panic!("night {seed} of {hours} h: {error}"));
        assert!(took <= hours * 3600.0 * (1.0 + LATE), "night {seed} of {hours} h took {took} s");
        let losses = told.summary.test_loss_nats;
        assert!(losses.is_some() && told.summary.report.is_some(), "night {seed} of {hours} h");
        assert!(!told.summary.quantized.is_empty(), "night {seed} of {hours} h");
        assert!(folder.path("results").join("model/model.safetensors").exists());
        used.push(took / (hours * 3600.0));
    }
    let mean = used.iter().sum::<f64>() / f64::from(u32::try_from(used.len()).unwrap());
    assert!(mean > 0.7, "only {mean} of the nights was used: {used:?}");
}

#[test]
fn a_night_of_five_hundred_trials_is_a_night_like_any_other() {
    let (folder, mut device) = (Folder::new(), night(NIGHTS));
    device.weather.pace = PACE / 20.0;
    let study = folder.study(|study| {
        study.search.trials = 500;
        // What a sampler thinks is no part of this.
        study.search.sampler = SamplerKind::Sobol;
        study.search.pruner = PrunerKind::Halving;
    });
    let (told, took) = drive_for(&study, &mut device, 12.0 * 3600.0);
    let told = told.unwrap();
    assert_eq!(told.summary.stopped, Some(StopReason::Trials { trials: 500 }));
    assert!(told.summary.test_loss_nats.is_some() && took < 12.0 * 3600.0, "{took}");
    let failed = told.history.trials.iter().filter(|trial| trial.was_failed_by_the_machine()).count();
    assert!((10..100).contains(&failed), "{failed}");
}

#[test]
fn the_search_leaves_the_time_that_the_full_run_needs() {
    let (folder, mut device) =
        (Folder::new(), Synthetic { weather: Weather { pace: PACE, ..Weather::fair() }, ..device() });
    let (told, took) = drive_for(&folder.study(many_trials), &mut device, 8.0 * 3600.0);
    let told = told.unwrap();
    assert!(matches!(told.summary.stopped, Some(StopReason::Deadline { .. })), "{:?}", told.summary.stopped);
    assert_eq!(told.summary.cut_short, None);
    assert!(told.history.trials.len() > 9, "{}", told.history.trials.len());
    // What is left over is the allowance for a slower machine.
    assert!(took <= 8.0 * 3600.0 && took > 0.85 * 8.0 * 3600.0, "{took}");
    let promoted = told.history.trials.iter().filter(|trial| trial.rungs.len() > 1).count();
    assert!(promoted > 2, "{promoted}");
}

#[test]
fn a_full_run_that_is_slower_than_it_was_is_cut_and_its_weights_are_shipped() {
    let folder = Folder::new();
    let study = folder.study(|study| study.search.trials = 9);
    let mut tuned = Synthetic { weather: Weather { pace: PACE, ..Weather::fair() }, ..device() };
    // The evening's search, without a deadline, up to the full run.
    let search = drive(&Folder::new().study(|study| study.search.trials = 9), &mut tuned.clone()).unwrap();
    let full_runs = search.log.iter().position(|name| name == "Train").unwrap();
    let before = search.log[..full_runs]
        .iter()
        .filter(|name| name.starts_with("start ") || name.starts_with("probe "))
        .count();
    tuned.interrupt_after = Some(before);
    drive(&study, &mut tuned).unwrap_err();
    // In the night the machine is ten times slower.
    let mut slow = Synthetic { weather: Weather { pace: 10.0 * PACE, ..Weather::fair() }, ..device() };
    let (told, took) = drive_for(&study, &mut slow, 3600.0 * 2.0);
    let told = told.unwrap();
    let cut = told.summary.cut_short.unwrap();
    assert!(cut.step < cut.total_steps, "{cut:?}");
    assert!(took <= 2.0 * 3600.0 * (1.0 + LATE), "{took}");
    assert!(told.summary.test_loss_nats.is_some());
    let page = fs::read_to_string(told.summary.report.unwrap()).unwrap();
    assert!(page.contains(&cut.to_string()));
    // What is shipped is a copy: the run goes on later, and another trial's may come between.
    let own = Layout::new(&study.output).trial_model(cut.trial);
    assert!(own.is_dir() && folder.path("results/model").is_dir());
    // With more time the same command goes on with it, and judges the whole model anew.
    let whole = drive(&study, &mut Synthetic { ..device() }).unwrap();
    assert_eq!(whole.summary.cut_short, None);
    assert!(!own.exists() && folder.path("results/model").is_dir());
    assert!(whole.log.iter().any(|name| name == "evaluated tuned"));
    assert_eq!(whole.summary.quantized.len(), study.quantize.types.len());
}

#[test]
fn where_no_time_is_left_for_the_full_run_the_weights_of_the_best_trial_are_shipped() {
    let folder = Folder::new();
    let study = folder.study(|study| study.search.trials = 3);
    let weather = Weather { pace: PACE, ..Weather::fair() };
    let mut device = Synthetic { weather, ..device() };
    let (told, took) = drive_for(&study, &mut device, 1800.0);
    let told = told.unwrap();
    let CutShort { trial, step, total_steps, .. } = told.summary.cut_short.unwrap();
    assert!(told.history.trials[trial as usize].rungs.iter().any(|record| record.stop_at_step == step));
    assert!(step < total_steps && took <= 1800.0 * (1.0 + LATE), "{took}");
}

/// The same study with a foreign trainer, which has data of its own if `examples` says how many.
fn with_trainer(study: &mut Study, examples: Option<usize>) {
    study.search.trials = 3;
    study.trainer = Some(TrainerSettings {
        command: vec![Template::parse("train").unwrap()],
        folder: study.output.clone(),
        metrics: None,
        probes: true,
        examples,
        silence_minutes: 15.0,
    });
    if examples.is_some() {
        study.model = ModelSettings::Source(ModelSource::default());
        study.quantize.types.clear();
    }
}

#[test]
fn a_foreign_full_run_that_is_cut_before_it_leaves_a_model_leaves_its_checkpoint() {
    for examples in [None, Some(48)] {
        let folder = Folder::new();
        let study = folder.study(|study| with_trainer(study, examples));
        let weather = Weather { pace: PACE, ..Weather::fair() };
        let mut device = Synthetic { weather, ..device() };
        let (told, took) = drive_for(&study, &mut device, 1800.0);
        let told = told.unwrap();
        let cut = told.summary.cut_short.unwrap();
        let checkpoint = folder.path("results").join(format!("trials/{}", cut.trial));
        assert_eq!(cut.only_checkpoint, Some(checkpoint.clone()), "{examples:?}");
        assert!(cut.to_string().contains(&format!("{} is all there is", checkpoint.display())), "{cut}");
        assert!(took <= 1800.0 * (1.0 + LATE), "{took}");
        assert!(told.log.contains(&"LeftOut".to_owned()), "{:?}", told.log);
        assert_eq!(told.summary.test_loss_nats, None);
        // It is asked neither to go no step further, nor, with data of its own, what the base model loses.
        let is_odd = |spec: &TrialSpec| matches!(spec.task, Task::Train { stop_at_step: 0, .. });
        assert!(!device.specs.iter().any(is_odd));
        let judged = device.specs.iter().filter(|spec| spec.task == Task::Evaluate).count();
        assert_eq!(judged, usize::from(examples.is_none()));
    }
}

#[test]
fn a_night_too_short_for_any_trial_says_so() {
    let folder = Folder::new();
    let mut device = Synthetic { weather: Weather { pace: PACE, ..Weather::fair() }, ..device() };
    let (told, _) = drive_for(&folder.study(many_trials), &mut device, 60.0);
    assert!(matches!(told, Err(StudyError::NoResult { .. })), "{told:?}");
}
