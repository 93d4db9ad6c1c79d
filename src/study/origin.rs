//! What a study was made from, by content: did data or base model change since it began?

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StudyError;
use crate::data::{self, DataError};
use crate::fingerprint::Fingerprint;
use crate::model::CONFIG_FILE;
use crate::space::{DataSettings, ModelSettings, Study};
use crate::store::Store;

const HUB: &str = "hub";

/// Where on the hub the base model is from: a resumed study takes the same commit, even where the
/// branch has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HubOrigin {
    /// What the study file says.
    pub(super) typed: String,
    /// `owner/name`.
    pub(super) id: String,
    /// What the revision stood for when the study began.
    pub(super) commit: String,
}

impl fmt::Display for HubOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.commit)
    }
}

/// Where on the hub the base model is from, if it was fetched for what the study file says now.
pub(super) fn known_origin(study: &Study, store: &Store) -> Result<Option<HubOrigin>, StudyError> {
    let typed = match &study.model {
        ModelSettings::Source(source) => &source.typed,
        ModelSettings::New(_) => return Ok(None),
    };
    Ok(store.fact(HUB)?.filter(|origin: &HubOrigin| origin.typed == *typed))
}

/// Remembers where on the hub the base model is from.
pub(super) fn remember_origin(store: &Store, origin: &HubOrigin) -> Result<(), StudyError> {
    Ok(store.set_fact(HUB, origin)?)
}

/// Fingerprint of the bytes of the data's source, file by file.
pub(super) fn source_digest(settings: &DataSettings) -> Result<String, StudyError> {
    fingerprint(&data::source_files(settings)?)
}

/// Fingerprint of the files by which a model folder computes: configuration, weights, tokenizer.
pub(super) fn model_digest(folder: &Path) -> Result<String, StudyError> {
    let io = |source| StudyError::Io { file: folder.to_owned(), source };
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(io)?;
    let mut files: Vec<PathBuf> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| computes(path)).collect();
    files.sort();
    fingerprint(&files)
}

fn computes(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "safetensors")
        || file.file_name().is_some_and(|name| name == CONFIG_FILE || name == "tokenizer.json")
}

fn fingerprint(files: &[PathBuf]) -> Result<String, StudyError> {
    let mut fingerprint = Fingerprint::default();
    for file in files {
        let unreadable = |reason| DataError::File { action: "read", file: file.clone(), reason };
        fingerprint.file(file).map_err(unreadable)?;
    }
    Ok(fingerprint.hex())
}
