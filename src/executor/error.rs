//! Why no trial can be run at all.

use std::io;

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
    /// A run that was begun is under way nowhere.
    #[error("nothing is heard of {name} any more; the same command begins it again")]
    Lost {
        /// Its name.
        name: String,
    },
}
