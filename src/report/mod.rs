//! READ THE RESULT: plots of a study and one self-contained HTML page.
//!
//! A report is a function of a [`StudyReport`], which the caller builds from the store. It does
//! not decide which trial is best, measure anything, or know where a study keeps its files.
//! The only door of plotters and of maud.

mod error;
mod numbers;
mod outcomes;
mod page;
mod plots;
mod shown;
mod summary;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use error::ReportError;
pub use shown::curves;
pub use summary::{
    ConfirmationTable, ContestRow, DataSummary, FrontierRow, ModelSummary, Provenance, QuantizedRow, Setting,
    StudyReport, TunedModel,
};

use crate::files::write_bytes;

/// Name of the page within a study's folder.
pub const PAGE: &str = "report.html";

/// Writes `plots/*.svg` and `report.html` below `folder`; gives the path of the page.
///
/// Each file is complete or absent at every moment. A plot that has nothing to show is not
/// written, and one that an earlier report left there is removed.
///
/// # Errors
/// A file that can't be written, or a plot that can't be drawn.
pub fn write(report: &StudyReport, folder: &Path) -> Result<PathBuf, ReportError> {
    let figures = plots::all(report)?;
    let plots_folder = folder.join("plots");
    for figure in &figures {
        let path = plots_folder.join(format!("{}.svg", figure.about.file));
        match &figure.svg {
            Some(svg) => write_bytes(&path, svg.as_bytes()),
            None => remove(&path),
        }
        .map_err(ReportError::file(&path))?;
    }
    let path = folder.join(PAGE);
    write_bytes(&path, page::render(report, &figures).as_bytes()).map_err(ReportError::file(&path))?;
    Ok(path)
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
