//! The cache's layout, which is that of Python's `huggingface_hub`.
//!
//! `models--OWNER--NAME/` holds `blobs/HASH`, `snapshots/COMMIT/FILE` as links to them, and
//! `refs/REVISION` with the commit it stood for. `.locks/` beside it keeps two processes from
//! writing one blob.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::listing::RemoteFile;
use super::spec::is_commit;
use super::{HubError, HubSpec};
use crate::data::TOKENIZER_FILES;
use crate::model::{CONFIG_FILE, weight_files};

/// How the names of blobs end that are not whole.
const INCOMPLETE: &str = "incomplete";

/// What the cache has of one model.
pub(super) struct ModelCache {
    root: PathBuf,
    folder: String,
    revision: String,
    repo: CacheRepo,
}

impl ModelCache {
    pub(super) fn new(root: &Path, spec: &HubSpec) -> Self {
        let repo = Repo::with_revision(spec.id.clone(), RepoType::Model, spec.revision().to_owned());
        Self {
            root: root.to_owned(),
            folder: repo.folder_name(),
            revision: spec.revision().to_owned(),
            repo: Cache::new(root.to_owned()).repo(repo),
        }
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    /// The commit that the revision stood for when the hub was last asked, if it is one or was kept.
    pub(super) fn known_commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let text = fs::read_to_string(self.root.join(&self.folder).join("refs").join(&self.revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The snapshot's folder if it holds a whole model, else what it lacks.
    pub(super) fn whole(&self, commit: &str) -> Result<PathBuf, String> {
        let folder = self.snapshot(commit);
        if !folder.is_dir() {
            return Err(format!("no snapshot of {commit}"));
        }
        let weights = weight_files(&folder).map_err(|_| "no weights".to_owned())?;
        let small = [CONFIG_FILE, TOKENIZER_FILES[0]].map(|name| folder.join(name));
        match small.into_iter().chain(weights).find(|file| !file.is_file()) {
            Some(missing) => Err(format!("no {}", missing.file_name().unwrap_or_default().to_string_lossy())),
            None => Ok(folder),
        }
    }

    /// Whether the snapshot has the file in its full size; one of another size is taken out.
    pub(super) fn has(&self, commit: &str, file: &RemoteFile) -> bool {
        let path = self.snapshot(commit).join(&file.name);
        let Ok(found) = fs::metadata(&path) else {
            return false;
        };
        if found.len() == file.bytes.0 {
            return true;
        }
        // A blob that was cut by whatever wrote it; if it can't be removed, linking will say why.
        let _ = fs::remove_file(&path);
        false
    }

    /// Whether the blob is there in its full size; one of another size is taken out.
    pub(super) fn has_blob(&self, file: &RemoteFile) -> bool {
        let blob = self.repo.blob_path(&file.etag);
        let found = fs::metadata(&blob).map(|found| found.len());
        if found.as_ref().is_ok_and(|bytes| *bytes != file.bytes.0) {
            let _ = fs::remove_file(&blob);
        }
        found.is_ok_and(|bytes| bytes == file.bytes.0)
    }

    /// Where a blob grows until it is whole.
    pub(super) fn incomplete(&self, file: &RemoteFile) -> PathBuf {
        self.repo.blob_path(&file.etag).with_extension(INCOMPLETE)
    }

    /// Makes a grown blob a whole one.
    pub(super) fn finish(&self, file: &RemoteFile) -> Result<(), HubError> {
        let part = self.incomplete(file);
        let blob = self.repo.blob_path(&file.etag);
        let done = File::open(&part).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&part, &blob));
        done.map_err(HubError::disk(&blob))
    }

    /// Lets the snapshot name the blob: by a relative link, or by the blob itself where there are none.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile) -> Result<(), HubError> {
        let snapshot = self.snapshot(commit);
        let path = snapshot.join(&file.name);
        let blob = self.repo.blob_path(&file.etag);
        let linked = fs::create_dir_all(&snapshot)
            .and_then(|()| symlink(&Path::new("../../blobs").join(&file.etag), &path))
            .or_else(|error| if path.is_file() { Ok(()) } else { Err(error) })
            .or_else(|_| fs::copy(&blob, &path).map(drop));
        linked.map_err(HubError::disk(&path))
    }

    /// Remembers which commit the revision stands for.
    pub(super) fn remember(&self, commit: &str) -> Result<(), HubError> {
        if is_commit(&self.revision) {
            return Ok(());
        }
        self.repo.create_ref(commit).map_err(HubError::disk(&self.root.join(&self.folder).join("refs")))
    }

    /// The lock of a blob, or `None` while another process holds it.
    pub(super) fn lock(&self, file: &RemoteFile) -> Result<Option<File>, HubError> {
        let path = self.root.join(".locks").join(&self.folder).join(format!("{}.lock", file.etag));
        let folders =
            [path.parent(), self.incomplete(file).parent()].map(|folder| folder.map(Path::to_owned));
        for folder in folders.into_iter().flatten() {
            fs::create_dir_all(&folder).map_err(HubError::disk(&folder))?;
        }
        let lock = File::create(&path).map_err(HubError::disk(&path))?;
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            // A file system without locks counts as free: better two downloads than none.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(Some(lock)),
        }
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
