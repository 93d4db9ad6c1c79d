//! One command of Slurm at a time, run beside the driver: it may hang for minutes, and events must not wait for it.
//!
//! Which program answers is a [`Runner`]: Slurm's own, or a double of it in tests.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use super::state::{ROW_FORMAT, SACCT_FORMAT};
use super::submission::is_passing;

/// What a command is run for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// `squeue`: where all jobs stand.
    List,
    /// `sbatch`: a job for the run in a slot, by its name.
    Submit { slot: usize, name: String },
    /// `scontrol`, then `sacct`: how a job ended.
    Inspect { slot: usize, id: u64 },
    /// `scancel`: ends what nobody waits for any more.
    Cancel,
}

impl Errand {
    /// The command that is run.
    pub(super) const fn program(&self) -> &'static str {
        match self {
            Self::List => "squeue",
            Self::Submit { .. } => "sbatch",
            Self::Inspect { .. } => "scontrol",
            Self::Cancel => "scancel",
        }
    }
}

/// What it said.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) succeeded: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program with arguments to its end.
pub(super) type Runner = dyn Fn(&str, &[OsString]) -> io::Result<Said> + Send + Sync;

/// Runs one command after the other.
pub(super) struct Clerk {
    runner: Arc<Runner>,
    away: Option<(Errand, Receiver<io::Result<Said>>)>,
}

impl Default for Clerk {
    fn default() -> Self {
        Self::new(Arc::new(run))
    }
}

impl Clerk {
    pub(super) fn new(runner: Arc<Runner>) -> Self {
        Self { runner, away: None }
    }

    pub(super) const fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Sends the clerk on an errand; it must not be away.
    pub(super) fn send(
        &mut self,
        errand: Errand,
        work: impl FnOnce(&Runner) -> io::Result<Said> + Send + 'static,
    ) {
        let (sender, receiver) = channel();
        let runner = Arc::clone(&self.runner);
        thread::spawn(move || {
            // Nobody waits for the answer any more where the driver has ended.
            let _ = sender.send(work(&*runner));
        });
        self.away = Some((errand, receiver));
    }

    /// Asks where all jobs stand, and waits for the answer as long as it takes.
    pub(super) fn list_now(&self) -> io::Result<Said> {
        list(&*self.runner)
    }

    /// The answer, if the clerk is back.
    pub(super) fn back(&mut self) -> Option<(Errand, io::Result<Said>)> {
        let answer = match self.away.as_ref()?.1.try_recv() {
            Err(TryRecvError::Empty) => return None,
            answer => answer.unwrap_or_else(|_| Err(lost())),
        };
        self.away.take().map(|(errand, _)| (errand, answer))
    }

    /// Waits for the clerk, but not for ever.
    pub(super) fn wait(&mut self, patience: Duration) -> Option<(Errand, io::Result<Said>)> {
        let (errand, receiver) = self.away.take()?;
        Some((errand, receiver.recv_timeout(patience).unwrap_or_else(|_| Err(lost()))))
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer")
}

/// Where all jobs of this user stand, those that ended a short while ago included.
pub(super) fn list(run: &Runner) -> io::Result<Said> {
    let format = format!("--format={ROW_FORMAT}");
    run("squeue", &["--me", "--states=all", "--noheader", &format].map(OsString::from))
}

/// How a job ended: from the controller, or from the accounting database once that has forgotten it.
pub(super) fn inspect(run: &Runner, id: u64) -> io::Result<Said> {
    let id = id.to_string();
    let of_controller = run("scontrol", &["show", "job", "-o", &id].map(OsString::from))?;
    if of_controller.succeeded || is_passing(&of_controller.stderr) {
        return Ok(of_controller);
    }
    let of_sacct = run("sacct", &["-X", "-n", "-P", "-o", SACCT_FORMAT, "-j", &id].map(OsString::from));
    // Many clusters have no such database.
    Ok(of_sacct.ok().filter(|said| said.succeeded).unwrap_or(of_controller))
}

/// Ends jobs.
pub(super) fn cancel(run: &Runner, ids: &[u64]) -> io::Result<Said> {
    let ids: Vec<OsString> = ids.iter().map(|id| id.to_string().into()).collect();
    run("scancel", &ids)
}

/// Whether a variable tells of the job that the driver itself runs in: what it asks for are jobs of their own, to which
/// its variables would be handed on.
fn is_of_own_job(name: &OsStr, is_in_job: bool) -> bool {
    let name = name.to_string_lossy();
    // Which cluster is spoken to stays; and what a user has set by hand outside of a job stays too.
    let is_address = matches!(&*name, "SLURM_CONF" | "SLURM_CLUSTERS");
    let is_allotted = name.starts_with("SLURM_") || name == "CUDA_VISIBLE_DEVICES";
    is_in_job && is_allotted && !is_address
}

/// Runs a command of Slurm to its end, with messages in English.
fn run(program: &str, arguments: &[OsString]) -> io::Result<Said> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null());
    let is_in_job = env::var_os("SLURM_JOB_ID").is_some();
    for name in env::vars_os().map(|(name, _)| name).filter(|name| is_of_own_job(name, is_in_job)) {
        command.env_remove(name);
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // Ctrl-C is for the driver, which then cancels the jobs itself.
        command.process_group(0);
    }
    let output = command.output()?;
    Ok(Said {
        succeeded: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_in_a_job_hands_none_of_its_own_allotment_on() {
        let removed = |name: &str, is_in_job| is_of_own_job(OsStr::new(name), is_in_job);
        assert!(removed("SLURM_CPUS_PER_TASK", true) && removed("CUDA_VISIBLE_DEVICES", true));
        assert!(!removed("SLURM_CONF", true) && !removed("PATH", true) && !removed("SBATCH_QOS", true));
        assert!(!removed("CUDA_VISIBLE_DEVICES", false) && !removed("SLURM_CPUS_PER_TASK", false));
    }
}
