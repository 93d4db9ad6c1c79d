//! Why a model is not to be had.

use std::io;
use std::path::{Path, PathBuf};

use crate::units::Bytes;

/// Why a text names no model, or the hub's model does not get here.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Neither a path nor a hub id.
    #[error("{}: there is no such file or folder, and it is no hub id either\n  hint: a path in a study file is relative to that file's folder; a hub id is written owner/name or owner/name@revision", path.display())]
    Neither {
        /// What was typed, as a path.
        path: PathBuf,
    },
    /// The hub knows no such model, or does not show it.
    #[error("{id}: {endpoint} has no such model, or it is private, and there is no local folder of that name\n  hint: check the spelling; for a private model {}", token_hint(*token))]
    NoModel {
        /// `owner/name`.
        id: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The model is only for those who have accepted its licence.
    #[error("{id}: the model is gated\n  hint: accept its licence at {endpoint}/{id}, then {}", token_hint(*token))]
    Gated {
        /// `owner/name`.
        id: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The hub refuses the token, or whoever it belongs to.
    #[error("{id}: {endpoint} refuses access ({reason})\n  hint: for a private model {}; an expired token is refused even for public ones", token_hint(*token))]
    Refused {
        /// `owner/name`.
        id: String,
        /// The hub.
        endpoint: String,
        /// What the hub said.
        reason: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The model has no such branch, tag or commit.
    #[error(
        "{id} has no revision `{revision}`\n  hint: after @ stands a branch, a tag or a full commit hash; {endpoint}/{id}/commits lists them"
    )]
    NoRevision {
        /// `owner/name`.
        id: String,
        /// What was asked for.
        revision: String,
        /// The hub.
        endpoint: String,
    },
    /// A file that the model names is not there.
    #[error(
        "{model} has no file `{file}`, which the model needs\n  hint: the repository is incomplete; try another revision with owner/name@revision"
    )]
    NoFile {
        /// The model, at its commit.
        model: String,
        /// The file.
        file: String,
    },
    /// The repository holds no model that can be read here.
    #[error(
        "{model} lacks {lacks}; it has {has}\n  hint: a model needs config.json, tokenizer.json and weights as model.safetensors, in one file or in shards; look for a repository that has them"
    )]
    NotAModel {
        /// The model, at its commit.
        model: String,
        /// What is missing.
        lacks: String,
        /// What is there.
        has: String,
    },
    /// Nothing may be asked, and the cache does not have it.
    #[error("{model}: not in the cache {} ({lacks}), and HF_HUB_OFFLINE forbids to fetch it\n  hint: unset HF_HUB_OFFLINE once, or set HF_HOME to the folder of a cache that has the model", cache.display())]
    Offline {
        /// The model.
        model: String,
        /// The cache.
        cache: PathBuf,
        /// What it lacks.
        lacks: String,
    },
    /// The hub can't be reached.
    #[error(
        "{endpoint} can't be reached: {reason}\n  hint: check the network, HF_ENDPOINT and HTTPS_PROXY; a model that is in the cache is used without a network"
    )]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The hub answers, but not with what was asked for.
    #[error("{url}: {problem}\n  hint: {}", if *.passing { "the hub may be overloaded: the same command later goes on from here" } else { "HF_ENDPOINT must name a hub, such as https://huggingface.co" })]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        problem: String,
        /// Whether it may be right another time.
        passing: bool,
    },
    /// The connection broke again and again.
    #[error(
        "{file}: the transfer was cut after {got} of {bytes} ({reason})\n  hint: what has arrived is kept; the same command goes on from there"
    )]
    Cut {
        /// The file.
        file: String,
        /// Bytes that are there.
        got: Bytes,
        /// Bytes of the whole.
        bytes: Bytes,
        /// What broke it.
        reason: String,
    },
    /// What arrived is not what the hub has.
    #[error(
        "{file}: what arrived has SHA-256 {found}, the hub says {right}\n  hint: something between here and the hub changes files: try another network or proxy"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Digest of what arrived.
        found: String,
        /// Digest of what the hub has.
        right: String,
    },
    /// The cache can't be written or read.
    #[error("{}: {source}\n  hint: {}", file.display(), disk_hint(source))]
    Disk {
        /// The file or folder.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The user asked to stop.
    #[error("interrupted; what has arrived is kept, and the same command goes on from here")]
    Interrupted,
}

impl HubError {
    /// Of a file operation on `file`.
    pub(super) fn disk(file: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Disk { file: file.to_owned(), source }
    }

    /// Whether the hub could not be asked, so that the cache may answer for it.
    pub(super) const fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Answer { passing: true, .. })
    }
}

const fn token_hint(sent: bool) -> &'static str {
    if sent {
        "make sure that HF_TOKEN is of an account that has access"
    } else {
        "set HF_TOKEN to a token of an account that has access"
    }
}

fn disk_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or set HF_HOME to a folder on a larger disk; what has arrived is kept"
        }
        _ => "HF_HOME names the folder of the cache; it must be writable",
    }
}
