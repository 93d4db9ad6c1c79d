//! The bytes of a data set: which files, in which order, as UTF-8 text.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DataError, Place};
use crate::space::{DataFormat, DataSettings};

/// One file of the source, without its byte order mark.
pub(super) struct Document {
    pub(super) file: PathBuf,
    pub(super) text: String,
}

/// Reads the file of a table, or the file or folder of plain text.
pub(super) fn read(settings: &DataSettings) -> Result<Vec<Document>, DataError> {
    files(settings)?.into_iter().map(read_document).collect()
}

/// The files a data set is read from, in their order.
///
/// # Errors
/// A folder that can't be listed, or without plain text.
pub fn files(settings: &DataSettings) -> Result<Vec<PathBuf>, DataError> {
    match settings.format {
        DataFormat::Text if settings.source.is_dir() => text_files(&settings.source),
        _ => Ok(vec![settings.source.clone()]),
    }
}

/// The `*.txt` files directly in a folder, by name: the same order on every file system.
fn text_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut files: Vec<PathBuf> = entries
        .map_err(DataError::file("read", folder))?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("txt")) && path.is_file())
        .collect();
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    if files.is_empty() {
        return Err(DataError::NoDocuments { folder: folder.to_owned() });
    }
    Ok(files)
}

fn read_document(file: PathBuf) -> Result<Document, DataError> {
    let bytes = fs::read(&file).map_err(DataError::file("read", &file))?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let place = place_of(&file, error.as_bytes(), error.utf8_error().valid_up_to());
        DataError::Malformed {
            place,
            problem: "not UTF-8".to_owned(),
            hint: "save the file as UTF-8, for example with `iconv -t UTF-8`",
        }
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(Document { file, text })
}

/// The place of byte `at`, where all before it is UTF-8; the column counts characters.
fn place_of(file: &Path, bytes: &[u8], at: usize) -> Place {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Place { file: file.to_owned(), line, column: Some(column) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{settings, write_file};
    use super::*;

    #[test]
    fn text_that_is_not_utf8_names_line_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let file = write_file(folder.path(), "a.csv", b"prompt,completion\nna\xc3\xafve \xff,x\n");
        let error = read(&settings(&file, DataFormat::Csv)).err().unwrap().to_string();
        assert!(error.contains("a.csv:2:7: not UTF-8"), "{error}");
    }

    #[test]
    fn a_folder_is_read_by_name_and_only_its_text_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a.txt", "C.TXT", "note.md"] {
            write_file(folder.path(), name, format!("\u{feff}{name}").as_bytes());
        }
        fs::create_dir(folder.path().join("sub.txt")).unwrap();
        let documents = read(&settings(folder.path(), DataFormat::Text)).unwrap();
        let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        assert_eq!(texts, ["C.TXT", "a.txt", "b.txt"]);
    }

    #[test]
    fn a_folder_without_text_files_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(&settings(folder.path(), DataFormat::Text)).err().unwrap();
        assert!(matches!(error, DataError::NoDocuments { .. }), "{error}");
    }

    #[test]
    fn a_missing_file_is_named_with_what_its_path_is_relative_to() {
        let error = read(&settings(Path::new("no/such.csv"), DataFormat::Csv)).err().unwrap().to_string();
        assert!(error.contains("no/such.csv") && error.contains("relative to"), "{error}");
    }

    #[test]
    fn a_table_that_is_a_folder_names_the_format_that_reads_folders() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(&settings(folder.path(), DataFormat::Csv)).err().unwrap().to_string();
        assert!(error.contains("data.format"), "{error}");
    }
}
