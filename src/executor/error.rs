//! Why no trial can be run at all.

use std::io;
use std::path::PathBuf;

/// Ends the study's loop; what a single trial can suffer is an [`crate::trial::Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The user asked to stop.
    #[error("interrupted; everything finished is saved, and the same command goes on from here")]
    Interrupted,
    /// The child process could not be started.
    #[error(
        "a trial could not be started: {0}\n  hint: the program re-executes itself for each trial; was it moved or deleted while running?"
    )]
    Start(io::Error),
    /// The files by which driver and jobs talk.
    #[error("{}: {source}\n  hint: Slurm's jobs and the driver talk by files there: make room, or put `study.output` on a file system that all machines share", path.display())]
    Files {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A command of Slurm is missing.
    #[error(
        "`{program}` can't be run: {source}\n  hint: start the study on a machine that submits jobs to Slurm, or leave out `[executor]`"
    )]
    NoSlurm {
        /// Which command.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Slurm does not take the job as the study file describes it.
    #[error(
        "sbatch refuses the job: {said}\n  hint: correct `[executor]` in the study file (partition, account, gres, time, flags); the same command then goes on"
    )]
    Refused {
        /// What sbatch said.
        said: String,
    },
    /// Slurm's controller has not answered since the driver began.
    #[error("Slurm does not answer: {said}\n  hint: when `squeue` works again, the same command goes on")]
    NoController {
        /// What the last command said.
        said: String,
    },
    /// A run that was begun is under way nowhere.
    #[error("nothing is heard of {name} any more; the same command begins it again")]
    Lost {
        /// Its name.
        name: String,
    },
}
