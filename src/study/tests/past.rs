//! What a study learns from the user's earlier ones.

use super::{Folder, device, drive};
use crate::executor::Synthetic;
use crate::search::Method;
use crate::space::{ALL_LINEAR, LoraSettings, Study};
use crate::store::testing::{of_version, version};
use crate::study::{Driver, Layout, StudyError, StudyEvent};

/// A rate far below what is published for such a model.
const BEST: f64 = 1e-3;

fn wide(study: &mut Study) {
    (study.space.learning_rate.low, study.space.learning_rate.high) = (1e-5, 1e-1);
    study.search.trials = 12;
}

fn cold() -> Synthetic {
    Synthetic { best_learning_rate: BEST, diverges_at: 5e-2, ..device() }
}

/// How far from the best, in decades, the first trial lies.
fn off(folder: &Folder, change: impl FnOnce(&mut Study)) -> f64 {
    let study = folder.study(|study| {
        wide(study);
        change(study);
    });
    let told = drive(&study, &mut cold()).unwrap();
    (told.history.trials[0].hyperparams.learning_rate / BEST).log10().abs()
}

#[test]
fn a_study_that_learns_from_an_earlier_one_begins_nearer_to_the_best() {
    let (past, alone, learning) = (Folder::new(), Folder::new(), Folder::new());
    drive(&past.study(wide), &mut cold()).unwrap();
    let without = off(&alone, |_| ());
    let with = off(&learning, |study| study.learn_from = vec![past.path("results")]);
    assert!(with < 0.3 * without, "{with} decades off with and {without} without what was learnt");
}

#[test]
fn the_rank_of_adapters_is_among_what_is_known_of_a_task() {
    let (folder, mut device) = (Folder::new(), device());
    let mut told = |lora: Option<LoraSettings>| {
        let study = folder.study(|study| study.train.lora = lora);
        let mut listener = |_: StudyEvent<'_>| ();
        let task = Driver::open(&study, &mut device, &mut listener).unwrap().task().unwrap();
        (task.facts.method, task.facts.lora_rank)
    };
    let targets = vec![ALL_LINEAR.to_owned()];
    let lora =
        LoraSettings { rank: 4, alpha: 8.0, dropout: 0.0, targets, rslora: false, quantize_base: None };
    assert_eq!(told(Some(lora)), (Some(Method::Lora), Some(4.0)));
    assert_eq!(told(None), (Some(Method::Pretraining), None));
}

#[test]
fn an_earlier_study_of_an_earlier_version_is_read_and_stays_of_it() {
    let (past, folder) = (Folder::new(), Folder::new());
    let database = Layout::new(&past.path("results")).database();
    of_version(&database, 2);
    let study = folder.study(|study| study.learn_from = vec![past.path("results")]);
    drive(&study, &mut device()).unwrap();
    assert_eq!(version(&database), 2);
}

#[test]
fn a_folder_without_a_study_is_named() {
    let folder = Folder::new();
    let study = folder.study(|study| study.learn_from = vec![folder.path("nowhere")]);
    let error = drive(&study, &mut device()).unwrap_err();
    assert!(matches!(&error, StudyError::NoPastStudy { folder: named } if *named == folder.path("nowhere")));
    assert!(error.to_string().contains("search.learn_from"), "{error}");
}
