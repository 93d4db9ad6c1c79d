//! A base model that is one GGUF file: unpacked once into a folder like any other.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::{StudyError, StudyEvent};
use crate::files::write_bytes;
use crate::fingerprint::Fingerprint;
use crate::model::WEIGHTS_FILE;
use crate::quantize::{self, QuantizeError};

/// What the folder was made from; written last, so that a folder without it is not whole.
const ORIGIN_FILE: &str = "unpacked-from.json";

/// The file a folder was made from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    /// Its name, without its folder.
    file: String,
    /// Its fingerprint.
    digest: String,
    /// Version of the program that unpacked it.
    version: String,
}

impl Driver<'_> {
    /// Makes the model folder `folder` of the GGUF `file`, unless it has been made of just this one.
    ///
    /// # Errors
    /// The file is damaged or not supported, it has changed since the study began, or the folder
    /// can't be written.
    pub(super) fn unpack_base(&mut self, file: &Path, folder: &Path) -> Result<(), StudyError> {
        let digest = digest(file)?;
        let known = read_origin(folder);
        if let Some(known) = known.filter(|_| folder.join(WEIGHTS_FILE).is_file()) {
            if known.digest == digest {
                return Ok(());
            }
            if self.has_base()? {
                return self.unchanged(&known.digest, &digest, file);
            }
        }
        let io = |source| StudyError::Io { file: folder.to_owned(), source };
        // Files of an earlier source that this one lacks must not stay beside it.
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(io)?;
        }
        let (_, _, listener) = self.parts();
        quantize::unpack(file, folder, &mut |done, total| {
            listener(StudyEvent::Unpacking { file, done, total });
        })
        .map_err(StudyError::BaseGguf)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let origin = Origin { file: name, digest, version: env!("CARGO_PKG_VERSION").to_owned() };
        let text = serde_json::to_vec_pretty(&origin).map_err(|error| io(error.into()))?;
        write_bytes(&folder.join(ORIGIN_FILE), &text).map_err(io)
    }
}

fn digest(file: &Path) -> Result<String, StudyError> {
    let mut fingerprint = Fingerprint::default();
    let unreadable = |source| StudyError::BaseGguf(QuantizeError::Io { path: file.to_owned(), source });
    fingerprint.file(file).map_err(unreadable)?;
    Ok(fingerprint.hex())
}

/// None where there is none, or none that can be read: then the folder is made anew.
fn read_origin(folder: &Path) -> Option<Origin> {
    serde_json::from_slice(&fs::read(folder.join(ORIGIN_FILE)).ok()?).ok()
}
