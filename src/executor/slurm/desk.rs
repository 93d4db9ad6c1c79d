//! The driver's desk: which question is sent to Slurm next, and what its answer changes.

use std::io;
use std::time::{Duration, Instant};

use super::Slurm;
use super::clerk::{self, Errand, Said};
use super::run::Place;
use super::state::{of_sacct, of_scontrol, rows};
use super::submission::{Answer, answer, is_passing, said};
use crate::executor::ExecutorError;

/// So long after a job's end its last word may still be on its way through a network file system, which looks after
/// other machines' writes every three seconds or more seldom.
const SETTLE: Duration = Duration::from_secs(5);

impl Slurm {
    /// Takes the answer that has come, and asks what is to be asked.
    pub(super) fn deal(&mut self) -> Result<(), ExecutorError> {
        if let Some((errand, result)) = self.clerk.back() {
            self.take(errand, result)?;
        }
        self.cancel_silent();
        if self.clerk.is_away() || !self.controller.may_ask(Instant::now()) {
            return Ok(());
        }
        if !self.unwanted.is_empty() {
            let ids = std::mem::take(&mut self.unwanted);
            self.clerk.send(Errand::Cancel, move |run| clerk::cancel(run, &ids));
            return Ok(());
        }
        if self.ask_for_a_job()? || self.ask_about_an_end() {
            return Ok(());
        }
        let needs_list = |place| matches!(place, Place::ToSubmit | Place::Job { .. });
        let is_needed = self.slots.iter().flatten().any(|run| needs_list(run.place));
        if is_needed && self.controller.may_list(Instant::now()) {
            self.clerk.send(Errand::List, clerk::list);
        }
        Ok(())
    }

    /// A job that runs and says nothing is cancelled; while nothing is known of it, it may not even run.
    fn cancel_silent(&mut self) {
        if self.controller.is_heard(Instant::now()) {
            let silence = self.silence;
            self.unwanted.extend(self.slots.iter_mut().flatten().filter_map(|run| run.silent_job(silence)));
        }
    }

    /// The first run that needs a job gets that of an earlier driver, or asks for one.
    fn ask_for_a_job(&mut self) -> Result<bool, ExecutorError> {
        for (slot, run) in self.slots.iter_mut().enumerate() {
            let Some(run) = run.as_mut().filter(|run| run.place == Place::ToSubmit) else { continue };
            let Some(jobs) = self.controller.jobs_since(run.listed_after) else { continue };
            let own = jobs.iter().filter(|job| job.name == run.name && job.is_live());
            let mut own = own.filter(|job| !run.others.contains(&job.id));
            if run.may_adopt
                && let Some(job) = own.next()
            {
                run.has_job(job.id, job.stage);
                continue;
            }
            // These do what nobody asks for any more; the new one waits for their end.
            let others: Vec<u64> = own.map(|job| job.id).collect();
            self.unwanted.extend(&others);
            run.others.extend(others);
            if !run.has_begun {
                let script = self.request.script(&run.folder);
                let path = run.folder.spec();
                let failed = |source| ExecutorError::Files { path, source };
                run.folder.begin(&run.spec, &script).map_err(failed)?;
                run.has_begun = true;
            }
            // From here on a job of this name is one that this driver has asked for.
            (run.place, run.may_adopt) = (Place::Submitting, true);
            let arguments = self.request.arguments(&run.name, &run.folder, &run.device);
            let errand = Errand::Submit { slot, name: run.name.clone() };
            self.clerk.send(errand, move |run| run("sbatch", &arguments));
            return Ok(true);
        }
        Ok(false)
    }

    fn ask_about_an_end(&mut self) -> bool {
        let settle = SETTLE.min(Duration::from_secs_f64(self.request.settings.poll_seconds));
        let now = Instant::now();
        let in_doubt = |run: &super::Run| run.job_in_doubt(settle, now);
        let found =
            self.slots.iter().enumerate().find_map(|(slot, run)| Some((slot, in_doubt(run.as_ref()?)?)));
        if let Some((slot, id)) = found {
            self.clerk.send(Errand::Inspect { slot, id }, move |run| clerk::inspect(run, id));
        }
        found.is_some()
    }

    fn take(&mut self, errand: Errand, result: io::Result<Said>) -> Result<(), ExecutorError> {
        let said = match result {
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(ExecutorError::NoSlurm { program: errand.program(), source });
            }
            Err(source) => Said { stderr: format!("timed out: {source}"), ..Said::default() },
            Ok(said) => said,
        };
        match errand {
            Errand::List if said.succeeded => {
                self.take_list(&said.stdout);
                Ok(())
            }
            Errand::List if self.controller.is_new() && !is_passing(&said.stderr) => {
                Err(ExecutorError::NoController { said: super::submission::said(&said.stderr) })
            }
            Errand::List => self.is_silent(&said.stderr),
            Errand::Submit { slot, name } => self.take_submission(slot, &name, &said),
            Errand::Inspect { .. } if !said.succeeded && is_passing(&said.stderr) => {
                self.is_silent(&said.stderr)
            }
            Errand::Inspect { slot, id } => {
                self.take_record(slot, id, &said);
                Ok(())
            }
            // What could not be cancelled has ended already, or ends by itself.
            Errand::Cancel => Ok(()),
        }
    }

    fn is_silent(&mut self, stderr: &str) -> Result<(), ExecutorError> {
        let has_lost_patience = self.controller.failed(Instant::now());
        if has_lost_patience { Err(ExecutorError::NoController { said: said(stderr) }) } else { Ok(()) }
    }

    fn take_list(&mut self, text: &str) {
        let (jobs, now) = (rows(text), Instant::now());
        for run in self.slots.iter_mut().flatten() {
            run.listed(&jobs, now);
        }
        self.controller.listed(jobs, now);
    }

    fn take_submission(&mut self, slot: usize, name: &str, heard: &Said) -> Result<(), ExecutorError> {
        let asks = |run: &&mut super::Run| run.name == name && run.place == Place::Submitting;
        let run = self.slots[slot].as_mut().filter(asks);
        match (answer(heard.succeeded, &heard.stdout, &heard.stderr), run) {
            (Answer::Accepted(id), Some(run)) => run.has_job(id, super::state::Stage::Waits),
            (Answer::Accepted(id), None) => self.unwanted.push(id),
            (Answer::Refused(said), _) => return Err(ExecutorError::Refused { said }),
            (Answer::NotNow, Some(run)) => {
                // The controller may have accepted it and not been heard: the next list tells.
                (run.place, run.listed_after) = (Place::ToSubmit, Some(Instant::now()));
                return self.is_silent(&heard.stderr);
            }
            (Answer::NotNow, None) => {}
        }
        self.controller.answered();
        Ok(())
    }

    fn take_record(&mut self, slot: usize, id: u64, said: &Said) {
        self.controller.answered();
        let record = of_scontrol(&said.stdout).or_else(|| of_sacct(&said.stdout));
        let silence = self.silence;
        let Some(run) = self.slots[slot].as_mut().filter(|run| run.job() == Some(id)) else { return };
        if run.inspected(id, record.as_ref(), silence) {
            // One that waits for ever is in the queue still; for all others this does nothing.
            self.unwanted.push(id);
        }
    }
}
