//! What a repository holds, and which of it a model needs. Pure.

use serde::Deserialize;

use super::HubError;
use crate::data::TOKENIZER_FILES;
use crate::model::{CONFIG_FILE, GENERATION_FILE, INDEX_FILE, WEIGHTS_FILE};
use crate::units::Bytes;

/// `api/models/OWNER/NAME/revision/REVISION?blobs=true`.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    /// The commit the revision stands for.
    pub(super) sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// One file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Its name; never with a folder.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: Bytes,
    /// Name of its blob in the cache: SHA-256 of a large file, git's own hash of a small one.
    pub(super) etag: String,
    /// SHA-256 where the hub tells it.
    pub(super) sha256: Option<String>,
}

impl Listing {
    /// What is needed besides the weights; the index of sharded weights is part of it.
    ///
    /// # Errors
    /// Configuration, tokenizer or weights are not there in a form that can be read.
    pub(super) fn head(&self, model: &str) -> Result<Vec<RemoteFile>, HubError> {
        let weights = [WEIGHTS_FILE, INDEX_FILE].into_iter().find(|name| self.has(name));
        let mut lacks: Vec<&str> =
            [CONFIG_FILE, TOKENIZER_FILES[0]].into_iter().filter(|name| !self.has(name)).collect();
        if weights.is_none() {
            lacks.push(WEIGHTS_FILE);
        }
        if !lacks.is_empty() {
            let (lacks, has) = (lacks.join(" and "), self.in_words());
            return Err(HubError::NotAModel { model: model.to_owned(), lacks, has });
        }
        let names = [CONFIG_FILE, GENERATION_FILE].into_iter().chain(TOKENIZER_FILES);
        let names = names.chain(weights.filter(|name| *name == INDEX_FILE));
        names.filter(|name| self.has(name)).map(|name| self.file(model, name)).collect()
    }

    /// The weights: the single file, or the shards that `index` names.
    ///
    /// # Errors
    /// A shard is not there, or those of `index`.
    pub(super) fn weights(
        &self,
        model: &str,
        index: impl FnOnce() -> Result<Vec<String>, HubError>,
    ) -> Result<Vec<RemoteFile>, HubError> {
        let names = if self.has(WEIGHTS_FILE) { vec![WEIGHTS_FILE.to_owned()] } else { index()? };
        names.iter().map(|name| self.file(model, name)).collect()
    }

    /// A file that must be there.
    ///
    /// # Errors
    /// It is not, or the hub does not tell its size and hash.
    pub(super) fn file(&self, model: &str, name: &str) -> Result<RemoteFile, HubError> {
        let missing = || HubError::NoFile { model: model.to_owned(), file: name.to_owned() };
        let sibling = self.siblings.iter().find(|sibling| sibling.rfilename == name).ok_or_else(missing)?;
        sibling.file().ok_or_else(|| HubError::Answer {
            url: model.to_owned(),
            problem: format!("the hub tells no size and hash of `{name}`"),
            passing: false,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.siblings.iter().any(|sibling| sibling.rfilename == name)
    }

    /// What kinds of weights are there, for whoever looked for others.
    fn in_words(&self) -> String {
        let of_kind = |endings: &[&str]| {
            let is = |name: &str| endings.iter().any(|ending| name.ends_with(ending));
            self.siblings
                .iter()
                .map(|sibling| &*sibling.rfilename)
                .filter(|name| is(name))
                .collect::<Vec<_>>()
        };
        let kinds = [
            ("GGUF", of_kind(&[".gguf"])),
            ("PyTorch", of_kind(&[".bin", ".pt", ".pth"])),
            ("safetensors", of_kind(&[".safetensors"])),
            ("ONNX", of_kind(&[".onnx"])),
        ];
        let found = kinds.iter().filter(|(_, names)| !names.is_empty()).map(|(kind, names)| {
            let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            format!("{kind} files ({}{more})", names[0])
        });
        let found = found.collect::<Vec<_>>().join(", ");
        if found.is_empty() { format!("{} files, none of them weights", self.siblings.len()) } else { found }
    }
}

impl Sibling {
    /// `None` where size or hash is not told, or the hash can't name a file.
    fn file(&self) -> Option<RemoteFile> {
        let sha256 = self.lfs.as_ref().map(|lfs| lfs.sha256.to_lowercase());
        let etag = sha256.clone().or_else(|| self.blob_id.clone())?;
        let is_hash = etag.len() >= 40 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bytes = Bytes(self.lfs.as_ref().map(|lfs| lfs.size).or(self.size)?);
        is_hash.then(|| RemoteFile { name: self.rfilename.clone(), bytes, etag, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let sibling = |name: &&str| serde_json::json!({ "rfilename": name, "size": 7, "blobId": "0123456789abcdef0123456789abcdef01234567" });
        let siblings: Vec<_> = names.iter().map(sibling).collect();
        serde_json::from_value(serde_json::json!({ "sha": "c", "siblings": siblings, "gated": false }))
            .unwrap()
    }

    fn head(names: &[&str]) -> Vec<String> {
        listing(names).head("a/b").unwrap().into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn only_what_a_model_needs_is_taken() {
        let all = [
            "README.md",
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "original/consolidated.pth",
            "model.gguf",
        ];
        assert_eq!(
            head(&all),
            ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
        );
        let sharded = ["config.json", "tokenizer.json", INDEX_FILE, "model-00001-of-00001.safetensors"];
        assert_eq!(head(&sharded), ["config.json", "tokenizer.json", INDEX_FILE]);
    }

    #[test]
    fn a_repository_without_readable_weights_says_what_it_has() {
        for (names, words) in [
            (&["config.json", "tokenizer.json", "q4.gguf", "q8.gguf"][..], "GGUF files (q4.gguf and 1 more)"),
            (&["config.json", "tokenizer.json", "pytorch_model.bin"], "PyTorch files (pytorch_model.bin)"),
            (&["README.md"], "1 files, none of them weights"),
        ] {
            let error = listing(names).head("a/b@c").unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("a/b@c lacks"), "{error}");
        }
        let error = listing(&["model.safetensors"]).head("a/b").unwrap_err().to_string();
        assert!(error.contains("lacks config.json and tokenizer.json"), "{error}");
    }

    #[test]
    fn a_large_file_goes_by_its_sha_256() {
        let sha = "AB".repeat(32);
        let json = serde_json::json!({ "sha": "c", "siblings": [
            { "rfilename": "model.safetensors", "size": 9, "blobId": "0".repeat(40), "lfs": { "sha256": sha, "size": 9, "pointerSize": 1 } },
            { "rfilename": "config.json" },
            { "rfilename": "tokenizer.json", "size": 1, "blobId": "../../../etc/passwd/xxxxxxxxxxxxxxxxxxxxxxxxxx" },
        ]});
        let listing: Listing = serde_json::from_value(json).unwrap();
        let file = listing.file("a/b", "model.safetensors").unwrap();
        assert_eq!((file.etag, file.bytes), ("ab".repeat(32), Bytes(9)));
        for untold in ["config.json", "tokenizer.json"] {
            assert!(matches!(listing.file("a/b", untold), Err(HubError::Answer { .. })), "{untold}");
        }
        assert!(matches!(listing.file("a/b", "other"), Err(HubError::NoFile { .. })));
    }
}
