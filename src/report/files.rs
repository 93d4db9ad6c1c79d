//! Files that are complete or absent: written beside their place, then renamed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ReportError;

fn at(path: &Path) -> impl FnOnce(io::Error) -> ReportError {
    let path = path.to_owned();
    |source| ReportError::File { path, source }
}

/// Makes `folder` and those above it.
pub(super) fn make_folder(folder: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(folder).map_err(at(folder))
}

/// Replaces the file at `path` as a whole.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), ReportError> {
    let beside = beside(path);
    let written = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // The failure that is reported is the first one, not that of tidying up after it.
        let _ = fs::remove_file(&beside);
        at(path)(source)
    })
}

/// Removes the file at `path`, if there is one.
pub(super) fn remove(path: &Path) -> Result<(), ReportError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// A hidden name in the same folder, told apart by process: two reports may be written at once.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        write_whole(&path, "old").unwrap();
        write_whole(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_missing_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_whole(&folder.path().join("absent/report.html"), "").unwrap_err();
        assert!(error.to_string().contains("absent/report.html"), "{error}");
    }
}
