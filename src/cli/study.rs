//! The commands that drive or read a study.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::args::{FitOptions, SearchOptions, StudyOptions};
use super::progress::Progress;
use super::{deadline, exit, print, print_json, tables};
use crate::executor::{Executor, Local, Slurm};
use crate::space::{ExecutorSettings, Margin, Study, StudyFileError};
use crate::study::{self, Deadline, Driver, Summary};

/// A child that says nothing for so long is killed. A step on a slow machine takes seconds; loading
/// a large model from a slow disk takes minutes.
const SILENCE: Duration = Duration::from_mins(15);
const KILLED: i32 = 130;

/// How far a command drives a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The feasibility frontier.
    Fit,
    /// The best trial.
    Tune,
    /// The same, after what failed was put back.
    Retry,
    /// The fine-tuned model.
    Train,
    /// Everything.
    Report,
}

/// Finds what fits, with another margin if one is typed.
pub(super) fn fit(options: &FitOptions) -> Result<ExitCode> {
    let mut study = read(&options.study.study)?;
    if let Some(margin) = options.margin {
        study.fit.margin = Margin(margin);
    }
    drive_to(&study, &options.study, Until::Fit, None)
}

/// Drives a study at least through its search, with the limits that are typed.
pub(super) fn search(options: &SearchOptions, until: Until) -> Result<ExitCode> {
    let deadline = deadline::of(options)?;
    let mut study = read(&options.study.study)?;
    study.search.trials = options.trials.unwrap_or(study.search.trials);
    drive_to(&study, &options.study, until, deadline)
}

/// Drives a study and prints what it found.
pub(super) fn run(options: &StudyOptions, until: Until) -> Result<ExitCode> {
    drive_to(&read(&options.study)?, options, until, None)
}

fn drive_to(study: &Study, options: &StudyOptions, until: Until, deadline: Option<f64>) -> Result<ExitCode> {
    let mut executor = executor(study)?;
    let mut progress = Progress::new(options.quiet);
    let mut listener = |event: study::StudyEvent<'_>| progress.show(event);
    let deadline = deadline.map(|moment| Deadline { moment, covers_ending: until == Until::Report });
    let mut driver = Driver::open(study, executor.as_mut(), &mut listener)?.with_deadline(deadline);
    drive(&mut driver, until)?;
    let summary = driver.summary()?;
    drop(driver);
    progress.finish();
    let code = show(&summary, options.json)?;
    Ok(if summary.cut_short.is_some() { exit::stopped_early() } else { code })
}

fn executor(study: &Study) -> Result<Box<dyn Executor>> {
    let (program, arguments, stop) =
        (std::env::current_exe()?, vec!["worker".to_owned()], stop_on_interrupt()?);
    let (threads, slots) = (study.threads, study.slots.len());
    Ok(match &study.executor {
        ExecutorSettings::Local => {
            // Only Linux has what the launcher sets.
            let launcher = cfg!(target_os = "linux").then(|| program.clone());
            let local = Local::new(program, arguments, SILENCE, stop).with_threads(threads);
            Box::new(local.with_slots(slots).with_trainer(study.trainer.clone(), launcher))
        }
        ExecutorSettings::Slurm(settings) => {
            let slurm = Slurm::new(settings.clone(), &study.output, program, arguments, SILENCE, stop);
            Box::new(slurm.with_threads(threads).with_slots(slots))
        }
    })
}

fn drive(driver: &mut Driver<'_>, until: Until) -> Result<(), study::StudyError> {
    driver.prepare()?;
    match until {
        Until::Fit => driver.fit().map(drop),
        Until::Tune => driver.tune(),
        Until::Retry => {
            driver.retry_failed()?;
            driver.tune()
        }
        Until::Train => driver.train().map(drop),
        Until::Report => {
            driver.tune()?;
            let trial = driver.train()?;
            driver.quantize(trial)?;
            driver.report().map(drop)
        }
    }
}

/// Draws plots and page again.
pub(super) fn report(options: &StudyOptions) -> Result<ExitCode> {
    let study = read(&options.study)?;
    let page = study::read_report(&study)?;
    if options.json {
        print_json(&serde_json::json!({ "report": page }))?;
    } else {
        print(&page.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(summary: &Summary, json: bool) -> Result<ExitCode> {
    if json {
        print_json(summary)?;
    } else {
        print(&tables::summary(summary))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads and checks a study file.
pub(super) fn read(path: &Path) -> Result<Study> {
    let missing = |source: std::io::Error| StudyFileError {
        file: path.to_owned(),
        line: None,
        message: source.to_string(),
        hint: Some("give the path of a study file, such as search-spaces/quickstart.toml".to_owned()),
    };
    let text = fs::read_to_string(path).map_err(missing)?;
    Ok(Study::from_toml(&text, path)?)
}

/// The first Ctrl-C asks to stop and lets the driver save; the second ends the program at once.
pub(super) fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let handler = move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(KILLED);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| anyhow!("Ctrl-C can't be handled: {error}"))?;
    Ok(stop)
}
