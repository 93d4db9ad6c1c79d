//! What a text that names a model means: a path, or a hub id.

use std::path::{Path, PathBuf};

use super::{HubError, HubSpec};

/// Where a model is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Something that exists on this machine.
    Local(PathBuf),
    /// A repository of the hub.
    Hub(HubSpec),
}

impl Source {
    /// The meaning of `typed`, which as a path is `path`: what exists there wins.
    ///
    /// # Errors
    /// There is no such path, and it has not the form of a hub id.
    pub fn find(typed: &str, path: &Path) -> Result<Self, HubError> {
        // Only a link whose target is gone exists and can't be followed; the reader names it best.
        if path.symlink_metadata().is_ok() {
            return Ok(Self::Local(path.to_owned()));
        }
        HubSpec::parse(typed).map(Self::Hub).ok_or_else(|| HubError::Neither { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_path_that_exists_wins_over_the_hub() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner/name");
        let find = || Source::find("owner/name", &path).unwrap();
        assert_eq!(find(), Source::Hub(HubSpec::parse("owner/name").unwrap()));
        fs::create_dir_all(&path).unwrap();
        assert_eq!(find(), Source::Local(path.clone()));
    }

    #[test]
    fn what_is_neither_is_told_in_both_readings() {
        let error = Source::find("base", Path::new("spaces/base")).unwrap_err().to_string();
        for words in ["spaces/base", "no hub id", "owner/name", "relative to"] {
            assert!(error.contains(words), "{error}");
        }
    }
}
