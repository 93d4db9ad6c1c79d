//! Requests to one model's repository, and what their failures mean.

use std::io::{self, Read};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::event::{HubEvent, Listener};
use super::listing::Listing;
use super::{HubError, HubSettings, HubSpec};

/// How often a request is made before its failure counts.
pub(super) const ATTEMPTS: u32 = 4;

/// A hub that does not take a call for so long is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// A hub that thinks for so long, or falls silent in a transfer, has forgotten us.
const SILENCE: Duration = Duration::from_mins(1);
/// Patience of `doctor`.
const GLANCE: Duration = Duration::from_secs(4);

/// Longest listing that is read.
const MAX_LISTING: u64 = 64 << 20;

/// One model on the hub, at one revision.
pub(super) struct Remote<'a> {
    settings: &'a HubSettings,
    spec: HubSpec,
    repo: ApiRepo,
}

/// The head of an answer, and its body still to be read.
pub(super) struct Answer {
    pub(super) status: u16,
    code: Option<String>,
    message: Option<String>,
    pub(super) body: Box<dyn Read>,
}

impl<'a> Remote<'a> {
    pub(super) fn new(settings: &'a HubSettings, spec: &HubSpec) -> Result<Self, HubError> {
        let repo = Repo::with_revision(spec.id.clone(), RepoType::Model, spec.revision().to_owned());
        let api = ApiBuilder::from_cache(Cache::new(settings.cache.clone()))
            .with_endpoint(settings.endpoint.clone())
            .with_token(settings.token.clone())
            .with_user_agent("diapason", env!("CARGO_PKG_VERSION"))
            .build();
        let wrong = |error: ApiError| HubError::Unreachable {
            endpoint: settings.endpoint.clone(),
            reason: error.to_string(),
        };
        Ok(Self { settings, spec: spec.clone(), repo: api.map_err(wrong)?.repo(repo) })
    }

    /// What the repository holds at the revision.
    pub(super) fn listing(&self, listener: &mut Listener<'_>) -> Result<Listing, HubError> {
        let answer = self.insist(None, 0, listener)?;
        let url = || format!("{}/{}", self.settings.endpoint, self.spec);
        let wrong = |problem: String| HubError::Answer { url: url(), problem, passing: false };
        let mut text = String::new();
        answer.body.take(MAX_LISTING).read_to_string(&mut text).map_err(|error| self.unreachable(&error))?;
        let listing: Listing = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("the answer is no listing of a repository: {error}")))?;
        if super::spec::is_commit(&listing.sha) {
            Ok(listing)
        } else {
            Err(wrong(format!("`{}` is no commit hash", listing.sha)))
        }
    }

    /// The bytes of a file from `start` on, in an answer of status 200 (all of it), 206 or 416.
    pub(super) fn file(
        &self,
        name: &str,
        start: u64,
        listener: &mut Listener<'_>,
    ) -> Result<Answer, HubError> {
        self.insist(Some(name), start, listener)
    }

    /// Makes a request until it is answered or has failed [`ATTEMPTS`] times.
    fn insist(
        &self,
        file: Option<&str>,
        start: u64,
        listener: &mut Listener<'_>,
    ) -> Result<Answer, HubError> {
        let mut failures = 0;
        loop {
            let error = match self.ask(file, start) {
                Ok(answer) if matches!(answer.status, 200 | 206 | 416) => return Ok(answer),
                Ok(answer) => self.meaning(answer, file),
                Err(error) => self.unreachable(&error),
            };
            failures += 1;
            if failures == ATTEMPTS || !error.is_silence() {
                return Err(error);
            }
            self.pause(failures, &error.to_string(), listener)?;
        }
    }

    /// Waits before the next attempt, twice as long after each failure.
    pub(super) fn pause(
        &self,
        failures: u32,
        reason: &str,
        listener: &mut Listener<'_>,
    ) -> Result<(), HubError> {
        let reason = reason.lines().next().unwrap_or_default();
        if listener(HubEvent::Retrying { reason }).is_break() {
            return Err(HubError::Interrupted);
        }
        std::thread::sleep(self.settings.back_off * 2_u32.pow(failures.saturating_sub(1).min(ATTEMPTS)));
        Ok(())
    }

    /// The status of the one answer that depends on nothing but the token.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the error's crate is not ours to name")]
    pub(super) fn glance(&self) -> io::Result<u16> {
        let request = self.repo.info_request().uri(format!("{}/api/whoami-v2", self.settings.endpoint));
        let config = request.config().http_status_as_error(false).timeout_global(Some(GLANCE));
        config.build().call().map(|response| response.status().as_u16()).map_err(|error| error.into_io())
    }

    /// One request: for a file of the repository, else for its listing.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the error's crate is not ours to name")]
    fn ask(&self, file: Option<&str>, start: u64) -> io::Result<Answer> {
        let request = self.repo.info_request();
        let request = match file {
            Some(name) => request.uri(self.repo.url(name)),
            None => request.query("blobs", "true"),
        };
        let request = if start > 0 { request.header("Range", format!("bytes={start}-")) } else { request };
        // Sizes and ranges are those of the file as it is, not of a compressed form.
        let config = request.config().accept_encoding("identity").http_status_as_error(false);
        let config = config
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        let response = config.build().call().map_err(|error| error.into_io())?;
        let (head, body) = response.into_parts();
        let header =
            |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Answer {
            status: head.status.as_u16(),
            code: header("x-error-code"),
            message: header("x-error-message"),
            body: Box::new(body.into_reader()),
        })
    }

    fn unreachable(&self, error: &io::Error) -> HubError {
        HubError::Unreachable { endpoint: self.settings.endpoint.clone(), reason: error.to_string() }
    }

    /// What an answer that is none of those hoped for means.
    ///
    /// Source: `hf_raise_for_status` of `huggingface_hub`; the hub answers 401 for models that do
    /// not exist, so that nobody learns which private ones do.
    fn meaning(&self, answer: Answer, file: Option<&str>) -> HubError {
        const BAD_TOKEN: &str = "Invalid credentials in Authorization header";
        let Answer { status, code, message, .. } = answer;
        let (id, endpoint) = (self.spec.id.clone(), self.settings.endpoint.clone());
        let token = self.settings.token.is_some();
        let reason = message.unwrap_or_else(|| format!("status {status}"));
        match (code.as_deref(), status, file) {
            (Some("GatedRepo"), ..) => HubError::Gated { id, endpoint, token },
            (Some("RevisionNotFound"), ..) => {
                HubError::NoRevision { id, revision: self.spec.revision().to_owned(), endpoint }
            }
            (_, 401, _) if reason == BAD_TOKEN => HubError::Refused { id, endpoint, reason, token },
            (Some("RepoNotFound"), ..) | (None, 401 | 404, None) => HubError::NoModel { id, endpoint, token },
            (_, 404, Some(file)) => HubError::NoFile { model: self.spec.to_string(), file: file.to_owned() },
            (_, 401 | 403, _) => HubError::Refused { id, endpoint, reason, token },
            _ => HubError::Answer {
                url: format!("{endpoint}/{}", self.spec),
                problem: format!("the hub answers with {reason}"),
                passing: matches!(status, 408 | 429 | 500..),
            },
        }
    }
}
