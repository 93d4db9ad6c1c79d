//! What a study was made from, by content: did data or base model change since it began?

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StudyError;
use crate::data::{self, DataError, TOKENIZER_FILES};
use crate::fingerprint::Fingerprint;
use crate::model::{CONFIG_FILE, weight_files};
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
///
/// A folder of the hub's cache may come to hold more than these, and counts as the same model.
pub(super) fn model_digest(folder: &Path) -> Result<String, StudyError> {
    let small = [CONFIG_FILE, TOKENIZER_FILES[0]].map(|name| folder.join(name));
    let mut files: Vec<PathBuf> = weight_files(folder)?.into_iter().chain(small).collect();
    // What is missing is named by whoever reads the model.
    files.retain(|file| file.is_file());
    files.sort();
    fingerprint(&files)
}

fn fingerprint(files: &[PathBuf]) -> Result<String, StudyError> {
    let mut fingerprint = Fingerprint::default();
    for file in files {
        let unreadable = |reason| DataError::File { action: "read", file: file.clone(), reason };
        fingerprint.file(file).map_err(unreadable)?;
    }
    Ok(fingerprint.hex())
}
