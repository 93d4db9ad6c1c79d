//! The hub: whether it answers, and whether it takes the token. The token itself is never told.

use std::path::Path;

use serde_json::json;

use super::check::{Check, Subject};
use crate::hub::{Access, HubSettings};

/// The hub's access in words.
pub(super) fn access_in_words(access: &Access) -> String {
    match access {
        Access::Offline => "offline by HF_HUB_OFFLINE".to_owned(),
        Access::Open => "reachable".to_owned(),
        Access::TokenRefused => "reachable, but it refuses the token".to_owned(),
        Access::Unreachable(reason) => format!("unreachable: {reason}"),
    }
}

/// The line about the network.
pub(super) fn reach(settings: &HubSettings, access: &Access) -> Check {
    let subject =
        Subject::new("hub.access", "model hub").with_values(json!({ "endpoint": settings.endpoint }));
    let measured = format!("{} {}", settings.endpoint, access_in_words(access));
    match access {
        Access::Offline => {
            subject.not_checked("HF_HUB_OFFLINE forbids to ask it; models come from folders and the cache")
        }
        Access::Open | Access::TokenRefused => subject.ok(format!("{} is reachable", settings.endpoint)),
        Access::Unreachable(_) => subject.warning(
            measured,
            "models in folders and in the cache can be used; for others check the network, HF_ENDPOINT and \
             HTTPS_PROXY",
        ),
    }
}

/// The line about the token.
pub(super) fn token(settings: &HubSettings, access: &Access) -> Check {
    let subject =
        Subject::new("hub.token", "hub token").with_values(json!({ "token": settings.token.is_some() }));
    match (settings.token.is_some(), access) {
        (false, _) => subject.ok("none: public models need none"),
        (true, Access::Open) => subject.ok("there is one, and the hub takes it"),
        (true, Access::TokenRefused) => subject.problem(
            "the hub refuses it, also for public models",
            "log in again with `hf auth login`, or set HF_TOKEN to a token that is valid",
        ),
        (true, Access::Offline | Access::Unreachable(_)) => {
            subject.not_checked("there is one, and the hub can't be asked about it")
        }
    }
}

/// The line about the cache of models.
pub(super) fn cache(settings: &HubSettings) -> Check {
    let subject = Subject::new("hub.cache", "model cache").with_values(json!({ "folder": settings.cache }));
    let is_there = settings.cache.is_dir();
    let measured = settings.cache.display().to_string();
    if is_there && !is_writable(&settings.cache) {
        return subject.warning(
            format!("{measured} can't be written"),
            "models can't be fetched: set HF_HOME to a folder of yours",
        );
    }
    subject.ok(if is_there { measured } else { format!("{measured}, which the first model makes") })
}

fn is_writable(folder: &Path) -> bool {
    tempfile::tempfile_in(folder).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn settings(token: Option<&str>) -> HubSettings {
        let variables = |name: &str| (name == "HF_TOKEN").then(|| token.map(str::to_owned)).flatten();
        HubSettings::from_variables(&variables)
    }

    #[test]
    fn a_hub_that_is_away_is_a_warning_and_a_token_it_refuses_a_problem() {
        let away = Access::Unreachable("no route".to_owned());
        for (access, of_hub, of_token, of_none) in [
            (Access::Open, Verdict::Ok, Verdict::Ok, Verdict::Ok),
            (Access::TokenRefused, Verdict::Ok, Verdict::Problem, Verdict::Ok),
            (Access::Offline, Verdict::NotChecked, Verdict::NotChecked, Verdict::Ok),
            (away, Verdict::Warning, Verdict::NotChecked, Verdict::Ok),
        ] {
            let with = settings(Some("hf_secret"));
            assert_eq!(reach(&with, &access).verdict, of_hub, "{access:?}");
            let check = token(&with, &access);
            assert_eq!(check.verdict, of_token, "{access:?}");
            assert!(!format!("{check:?}").contains("hf_secret"), "{check:?}");
            assert_eq!(token(&settings(None), &access).verdict, of_none, "{access:?}");
        }
    }

    #[test]
    fn a_cache_that_is_not_there_yet_is_well() {
        let folder = tempfile::tempdir().unwrap();
        let at = |folder| cache(&HubSettings { cache: folder, ..settings(None) }).verdict;
        assert_eq!(at(folder.path().to_owned()), Verdict::Ok);
        assert_eq!(at(folder.path().join("hub")), Verdict::Ok);
    }
}
