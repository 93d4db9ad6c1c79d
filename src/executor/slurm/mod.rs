//! Jobs of Slurm: the same child as on the driver's machine, wherever the cluster has room.
//!
//! Specification, events and standard error of a run are files below the study's folder, which driver and nodes
//! share. A job that has its files goes on while no driver lives; the next driver finds it by its name. What a job
//! says counts for more than what Slurm says of it: the controller is asked about a job only for the end of one that
//! said no last word.

mod clerk;
mod controller;
mod desk;
mod event_file;
mod folder;
mod rehearsal;
mod run;
mod state;
mod submission;
mod verdict;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Executor, ExecutorError, Heard, Job};
use crate::space::SlurmSettings;
use clerk::{Clerk, Errand};
use controller::Controller;
use folder::RunFolder;
pub use rehearsal::{Rehearsal, rehearse};
use run::Run;
use submission::{Answer, Request, answer, job_prefix};

/// How often the wish to stop is looked at while all jobs are silent.
const POLL: Duration = Duration::from_millis(50);
/// How long a job that is asked for at the moment of an interruption is waited for, to cancel it, too.
const PARTING: Duration = Duration::from_secs(30);
/// Where the files of runs lie below the study's folder.
const FOLDER: &str = "slurm";

/// Runs a program as `PROGRAM worker < SPECIFICATION` in a job for each specification.
pub struct Slurm {
    request: Request,
    output: PathBuf,
    silence: Duration,
    stop: Arc<AtomicBool>,
    slots: Vec<Option<Run>>,
    /// Where the next look begins, so that a talkative job keeps none from being heard.
    first: usize,
    clerk: Clerk,
    controller: Controller,
    /// Jobs to be cancelled.
    unwanted: Vec<u64>,
    /// Files of runs whose end is on record when the executor is asked the next time.
    recorded: Vec<RunFolder>,
}

impl Slurm {
    /// Runs trials of the study whose results lie in `output` as `program arguments…`, one at a time; a job that
    /// runs and is silent for `silence` is cancelled; `stop` is the user's wish to end.
    #[must_use]
    pub fn new(
        settings: SlurmSettings,
        output: &Path,
        program: PathBuf,
        arguments: Vec<String>,
        silence: Duration,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let pace = Duration::from_secs_f64(settings.poll_seconds);
        Self {
            request: Request { settings, program, arguments, threads: None },
            output: output.to_owned(),
            silence,
            stop,
            slots: vec![None],
            first: 0,
            clerk: Clerk::default(),
            controller: Controller::new(pace, Instant::now()),
            unwanted: vec![],
            recorded: vec![],
        }
    }

    /// Asks for so many processors for each job.
    #[must_use]
    pub fn with_threads(mut self, threads: Option<usize>) -> Self {
        self.request.threads = threads;
        self
    }

    /// Has up to so many jobs at the same time.
    #[must_use]
    pub fn with_slots(mut self, slots: usize) -> Self {
        self.slots = (0..slots.max(1)).map(|_| None).collect();
        self
    }

    /// Has this answer in the place of Slurm's commands.
    #[cfg(test)]
    fn with_runner(mut self, runner: Arc<clerk::Runner>) -> Self {
        self.clerk = Clerk::new(runner);
        self
    }

    /// The study's folder by the name that all its drivers give it.
    fn home(&self) -> Result<PathBuf, ExecutorError> {
        fs::canonicalize(&self.output)
            .map_err(|source| ExecutorError::Files { path: self.output.clone(), source })
    }

    fn forget_recorded(&mut self) {
        self.recorded.drain(..).for_each(|folder| folder.forget());
    }
}

impl Executor for Slurm {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn start(&mut self, job: &Job<'_>) -> Result<(), ExecutorError> {
        self.forget_recorded();
        if self.is_interrupted() {
            self.abandon();
            return Err(ExecutorError::Interrupted);
        }
        let home = self.home()?;
        let spec = serde_json::to_vec(job.spec).map_err(|error| ExecutorError::Start(error.into()))?;
        let folder = RunFolder::new(home.join(FOLDER).join(job.name));
        let name = format!("{}{}", job_prefix(&home), job.name);
        // What is evaluated may have been made anew at the same place.
        let may_be_found = job.spec.task.is_of_trainers();
        self.slots[job.slot] = Some(Run::new(name, folder, job.spec.device, spec, may_be_found));
        Ok(())
    }

    fn next(&mut self, patience: Option<Duration>) -> Result<Option<(usize, Heard)>, ExecutorError> {
        self.forget_recorded();
        let asked = Instant::now();
        loop {
            if self.is_interrupted() {
                self.abandon();
                return Err(ExecutorError::Interrupted);
            }
            if let Some(found) = self.look_around() {
                return Ok(Some(found));
            }
            if let Err(error) = self.deal() {
                self.abandon();
                return Err(error);
            }
            let is_idle = self.slots.iter().all(Option::is_none);
            let left = patience.map(|patience| patience.saturating_sub(asked.elapsed()));
            if left.map_or(is_idle, |left| left.is_zero()) {
                return Ok(None);
            }
            thread::sleep(left.unwrap_or(POLL).min(POLL));
        }
    }

    /// Cancels all jobs. That of a driver which was killed goes on, and is found again.
    fn abandon(&mut self) {
        let mut ids: Vec<u64> =
            self.slots.iter_mut().filter_map(Option::take).filter_map(|run| run.job()).collect();
        ids.append(&mut self.unwanted);
        if let Some((Errand::Submit { .. }, Ok(said))) = self.clerk.wait(PARTING)
            && let Answer::Accepted(id) = answer(said.succeeded, &said.stdout, &said.stderr)
        {
            ids.push(id);
        }
        if !ids.is_empty() {
            self.clerk.send(Errand::Cancel, move |run| clerk::cancel(run, &ids));
            // One that can't be cancelled ends by itself, and is found by the next driver.
            let _ = self.clerk.wait(PARTING);
        }
    }

    fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn has_left_runs(&mut self) -> bool {
        let Ok(home) = self.home() else { return true };
        let prefix = job_prefix(&home);
        match self.clerk.list_now() {
            Ok(said) if said.succeeded => {
                let jobs = state::rows(&said.stdout);
                let is_left = jobs.iter().any(|job| job.is_live() && job.name.starts_with(&prefix));
                self.controller.listed(jobs, Instant::now());
                is_left
            }
            _ => true,
        }
    }
}

impl Slurm {
    /// Looks at each slot once, and takes the first that has something to tell.
    fn look_around(&mut self) -> Option<(usize, Heard)> {
        let slots = self.slots.len();
        for slot in (self.first..slots).chain(0..self.first) {
            let Some(heard) = self.slots[slot].as_mut().and_then(Run::look) else { continue };
            if let Heard::Ended(outcome) = &heard
                && let Some(run) = self.slots[slot].take()
                // Files of a run that a machine failed are of use to whoever asks why.
                && !outcome.blames_the_machine()
            {
                self.recorded.push(run.folder);
            }
            self.first = (slot + 1) % slots;
            return Some((slot, heard));
        }
        None
    }
}

impl Drop for Slurm {
    /// No job outlives a driver that ends by itself.
    fn drop(&mut self) {
        self.abandon();
    }
}
