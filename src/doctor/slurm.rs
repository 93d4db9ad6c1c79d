//! Slurm, where it is at hand or a study asks for it: would it take a job?

use std::env;
use std::io;
use std::time::Duration;

use super::check::{Check, Subject};
use crate::executor::{Rehearsal, rehearse};
use crate::space::{DeviceSpec, ExecutorSettings, SlurmSettings, Study};

/// A controller under load takes seconds to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the cluster's own defaults give.
const DEFAULTS: SlurmSettings = SlurmSettings {
    partition: None,
    account: None,
    gres: None,
    time: None,
    flags: vec![],
    poll_seconds: 5.0,
};

/// Asks Slurm whether it would take a job of the study, or one of its own defaults.
pub(super) fn look(study: Option<&Study>) -> Check {
    let settings = study.and_then(|study| match &study.executor {
        ExecutorSettings::Slurm(settings) => Some((settings, study)),
        ExecutorSettings::Local => None,
    });
    if settings.is_none() && !is_on_path("sbatch") {
        return subject().not_checked("there is no `sbatch` on PATH, and nothing asks for it");
    }
    let asked = match settings {
        Some((settings, study)) => rehearse(settings, study.threads, &study.device, PATIENCE),
        None => rehearse(&DEFAULTS, None, &DeviceSpec::Cpu { cap: None }, PATIENCE),
    };
    verdict(asked, settings.is_some())
}

fn subject() -> Subject {
    Subject::new("slurm", "Slurm")
}

/// Whether a program is to be found.
pub(super) fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The line about its answer; only a study that needs Slurm makes a problem of a no.
fn verdict(asked: io::Result<Rehearsal>, is_needed: bool) -> Check {
    let (measured, fix) = match asked {
        Ok(Rehearsal::Taken(words)) => return subject().ok(format!("it would take a job: {words}")),
        Ok(Rehearsal::NotNow(words)) => {
            return subject().warning(
                format!("no answer now: {words}"),
                "a study waits for it; `scontrol ping` says whether the controller lives",
            );
        }
        Ok(Rehearsal::Refused(words)) if is_needed => (
            format!("it refuses the study's job: {words}"),
            "correct `[executor]` in the study file: partition, account, gres, time, flags",
        ),
        Ok(Rehearsal::Refused(words)) => (
            format!("it refuses a job without options: {words}"),
            "a study needs `partition` or `account` in `[executor]`; `sinfo` lists partitions",
        ),
        Err(error) => (
            format!("`sbatch` can't be asked: {error}"),
            "run it on a machine that submits jobs, or leave out `[executor]`",
        ),
    };
    if is_needed { subject().problem(measured, fix) } else { subject().warning(measured, fix) }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_no_is_a_problem_only_for_a_study_that_needs_slurm() {
        let of = |answer: Rehearsal, is_needed| verdict(Ok(answer), is_needed).verdict;
        let said = || "words".to_owned();
        for is_needed in [false, true] {
            let no = if is_needed { Verdict::Problem } else { Verdict::Warning };
            assert_eq!(of(Rehearsal::Taken(said()), is_needed), Verdict::Ok);
            assert_eq!(of(Rehearsal::NotNow(said()), is_needed), Verdict::Warning);
            assert_eq!(of(Rehearsal::Refused(said()), is_needed), no);
            let missing = Err(io::Error::new(io::ErrorKind::NotFound, "no such file"));
            assert_eq!(verdict(missing, is_needed).verdict, no);
        }
    }
}
