//! From a hub id to a folder: ask, choose, fetch what is missing.

use std::path::PathBuf;

use super::cache::ModelCache;
use super::event::{HubEvent, Listener};
use super::listing::{Listing, RemoteFile};
use super::remote::Remote;
use super::transfer::{Transfer, length};
use super::{Access, HubError, HubSettings, HubSpec};
use crate::model::{CONFIG_FILE, INDEX_FILE, weight_files};
use crate::units::Bytes;

/// A hub and the cache in front of it.
#[derive(Clone, Debug)]
pub struct Hub {
    settings: HubSettings,
}

/// A model that is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder in the Hugging Face layout; its files must not be changed.
    pub folder: PathBuf,
    /// `owner/name` at the commit.
    pub spec: HubSpec,
}

impl Hub {
    /// The hub of these settings.
    #[must_use]
    pub const fn new(settings: HubSettings) -> Self {
        Self { settings }
    }

    /// The hub of the environment's variables; see [`HubSettings::from_env`].
    #[must_use]
    pub fn from_env() -> Self {
        Self::new(HubSettings::from_env())
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// Whether the hub can be asked; takes a few seconds at most.
    #[must_use]
    pub fn access(&self) -> Access {
        Access::of(&self.settings)
    }

    /// The folder of a model: from the cache if it is whole there, with what is missing fetched.
    ///
    /// A commit that is whole in the cache is used without a question; a branch or tag is looked up
    /// first. Where the hub can't be asked, what the branch was last time is used.
    ///
    /// # Errors
    /// The model is not to be had; see [`HubError`].
    pub fn fetch(&self, spec: &HubSpec, listener: &mut Listener<'_>) -> Result<Fetched, HubError> {
        let cache = ModelCache::new(&self.settings.cache, spec);
        let cached = cached(&cache, spec);
        match cached {
            Ok(fetched) if self.settings.offline || spec.commit().is_some() => return Ok(fetched),
            Err(lacks) if self.settings.offline => {
                let cache = self.settings.cache.clone();
                return Err(HubError::Offline { model: spec.to_string(), cache, lacks });
            }
            _ => {}
        }
        match (self.listing(spec, listener), cached) {
            (Err(silence), Ok(fetched)) if silence.is_silence() => {
                let (model, reason) = (fetched.spec.to_string(), silence.to_string());
                let reason = reason.lines().next().unwrap_or_default();
                tell(listener, HubEvent::FromCache { model: &model, reason })?;
                Ok(fetched)
            }
            (listing, _) => self.fetch_listed(spec, &cache, &listing?, listener),
        }
    }

    /// `config.json` of a model alone, from the cache or fetched: no weights.
    ///
    /// # Errors
    /// The model is not to be had; see [`HubError`].
    pub fn fetch_config(&self, spec: &HubSpec, listener: &mut Listener<'_>) -> Result<PathBuf, HubError> {
        let cache = ModelCache::new(&self.settings.cache, spec);
        let known = cache.known_commit().map(|commit| cache.snapshot(&commit).join(CONFIG_FILE));
        if let Some(file) = known.filter(|file| file.is_file()) {
            return Ok(file);
        }
        if self.settings.offline {
            let (cache, lacks) = (self.settings.cache.clone(), CONFIG_FILE.to_owned());
            return Err(HubError::Offline { model: spec.to_string(), cache, lacks });
        }
        let listing = self.listing(spec, listener)?;
        let (commit, spec) = (&*listing.sha, spec.at(&listing.sha));
        let model = spec.to_string();
        let file = listing.file(&model, CONFIG_FILE)?;
        let remote = Remote::new(&self.settings, &spec)?;
        Fetching { model: &model, commit, cache: &cache, remote: &remote, listener }.bring(&[file])?;
        Ok(cache.snapshot(commit).join(CONFIG_FILE))
    }

    fn listing(&self, spec: &HubSpec, listener: &mut Listener<'_>) -> Result<Listing, HubError> {
        Remote::new(&self.settings, spec)?.listing(listener)
    }

    fn fetch_listed(
        &self,
        spec: &HubSpec,
        cache: &ModelCache,
        listing: &Listing,
        listener: &mut Listener<'_>,
    ) -> Result<Fetched, HubError> {
        let commit = &*listing.sha;
        let spec = spec.at(commit);
        let model = spec.to_string();
        let remote = Remote::new(&self.settings, &spec)?;
        let mut fetching = Fetching { model: &model, commit, cache, remote: &remote, listener };
        let mut files = listing.head(&model)?;
        // The index says which shards there are, so it comes before anything is counted.
        let index: Vec<RemoteFile> = files.iter().filter(|file| file.name == INDEX_FILE).cloned().collect();
        fetching.bring(&index)?;
        files.extend(
            shards(listing, &model, cache)?
                .into_iter()
                .filter(|file| !files.contains(file))
                .collect::<Vec<_>>(),
        );
        fetching.bring(&files)?;
        cache.remember(commit)?;
        tell(listener, HubEvent::Ready { model: &model })?;
        Ok(Fetched { folder: cache.snapshot(commit), spec })
    }
}

/// The files of the weights: the single one, or what the index names.
fn shards(listing: &Listing, model: &str, cache: &ModelCache) -> Result<Vec<RemoteFile>, HubError> {
    listing.weights(model, || {
        let folder = cache.snapshot(&listing.sha);
        let wrong = |problem: String| HubError::Answer { url: model.to_owned(), problem, passing: false };
        let files = weight_files(&folder).map_err(|error| wrong(error.to_string()))?;
        let mut names = Vec::new();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // A name with folders in it could lead out of the cache.
            if folder.join(&name) != file {
                return Err(wrong(format!(
                    "{INDEX_FILE} names `{}`, which is no plain file name",
                    file.display()
                )));
            }
            names.push(name);
        }
        names.sort();
        Ok(names)
    })
}

/// What the cache has without a question to the hub, or what it lacks.
fn cached(cache: &ModelCache, spec: &HubSpec) -> Result<Fetched, String> {
    let commit =
        cache.known_commit().ok_or_else(|| format!("revision `{}` is unknown there", spec.revision()))?;
    cache.whole(&commit).map(|folder| Fetched { folder, spec: spec.at(&commit) })
}

fn tell(listener: &mut Listener<'_>, event: HubEvent<'_>) -> Result<(), HubError> {
    if listener(event).is_break() { Err(HubError::Interrupted) } else { Ok(()) }
}

/// Files on their way into one snapshot.
struct Fetching<'a, 'b> {
    model: &'a str,
    commit: &'a str,
    cache: &'a ModelCache,
    remote: &'a Remote<'a>,
    listener: &'a mut Listener<'b>,
}

impl Fetching<'_, '_> {
    /// Makes sure that all of `files` are in the snapshot.
    fn bring(&mut self, files: &[RemoteFile]) -> Result<(), HubError> {
        let absent: Vec<&RemoteFile> =
            files.iter().filter(|file| !self.cache.has(self.commit, file)).collect();
        let missing: Vec<&RemoteFile> =
            absent.iter().copied().filter(|file| !self.cache.has_blob(file)).collect();
        let bytes = Bytes(missing.iter().map(|file| file.bytes.0).sum());
        if !missing.is_empty() {
            let there: u64 = missing.iter().map(|file| length(&self.cache.incomplete(file))).sum();
            let event = HubEvent::Began {
                model: self.model,
                files: missing.len(),
                bytes: bytes.saturating_sub(Bytes(there)),
            };
            tell(self.listener, event)?;
        }
        let mut transfer = Transfer {
            remote: self.remote,
            cache: self.cache,
            listener: &mut *self.listener,
            bytes,
            before: Bytes(0),
        };
        for file in missing {
            transfer.fetch(file)?;
        }
        absent.into_iter().try_for_each(|file| self.cache.link(self.commit, file))
    }
}
