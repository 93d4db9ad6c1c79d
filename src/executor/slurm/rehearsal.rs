//! A job that is described to Slurm and not begun: would it be taken?

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::clerk::{Clerk, Errand};
use super::submission::{Request, is_passing, said};
use crate::space::{DeviceSpec, SlurmSettings};

/// What Slurm says of such a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rehearsal {
    /// It would take it; where and when, in its own words.
    Taken(String),
    /// It never would.
    Refused(String),
    /// It has no time, or is away.
    NotNow(String),
}

/// Describes a job on `device` to Slurm as a study with these settings would, and begins none.
///
/// # Errors
/// There is no `sbatch`, or it does not answer within `patience`.
pub fn rehearse(
    settings: &SlurmSettings,
    threads: Option<usize>,
    device: &DeviceSpec,
    patience: Duration,
) -> io::Result<Rehearsal> {
    let request = Request { settings: settings.clone(), program: PathBuf::new(), arguments: vec![], threads };
    let mut arguments = vec![OsString::from("--test-only")];
    arguments.extend(request.wishes(device));
    arguments.push("--wrap=true".into());
    let mut clerk = Clerk::default();
    clerk.send(Errand::List, move |run| run("sbatch", &arguments));
    let silence = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
    let (_, answer) = clerk.wait(patience).ok_or_else(silence)?;
    let answer = answer?;
    Ok(of_answer(answer.succeeded, &answer.stderr))
}

fn of_answer(succeeded: bool, stderr: &str) -> Rehearsal {
    if succeeded {
        let words = stderr.trim();
        return Rehearsal::Taken(words.strip_prefix("sbatch: ").unwrap_or(words).to_owned());
    }
    if is_passing(stderr) { Rehearsal::NotNow(said(stderr)) } else { Rehearsal::Refused(said(stderr)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_is_taken_refused_or_put_off() {
        let taken =
            "sbatch: Job 7 to start at 2026-11-28T12:00:00 using 1 processors on nodes n1 in partition gpu\n";
        let words = "Job 7 to start at 2026-11-28T12:00:00 using 1 processors on nodes n1 in partition gpu";
        assert_eq!(of_answer(true, taken), Rehearsal::Taken(words.to_owned()));
        let refused = "allocation failure: Invalid partition name specified\n";
        assert!(
            matches!(of_answer(false, refused), Rehearsal::Refused(said) if said.contains("Invalid partition"))
        );
        let away = "sbatch: error: Unable to contact slurm controller (connect failure)\n";
        assert!(matches!(of_answer(false, away), Rehearsal::NotNow(_)));
    }
}
