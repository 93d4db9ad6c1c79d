//! Why a report could not be written.

use std::io;
use std::path::{Path, PathBuf};

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder of the report.
    #[error(
        "cannot write `{}`: {source}\n  hint: the study's output folder must be writable and its disk not full",
        path.display()
    )]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A plot.
    #[error("cannot draw plot `{plot}`: {message}\n  hint: this is a defect; the study itself is unharmed")]
    Plot {
        /// Name of the plot's file.
        plot: &'static str,
        /// What the drawing said.
        message: String,
    },
}

impl ReportError {
    /// For `map_err`: the file or folder at `path`.
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
