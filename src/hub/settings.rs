//! Which hub, which cache, which token: the variables of Python's `huggingface_hub`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ENDPOINT: &str = "https://huggingface.co";

/// Everything that decides where models come from and lie.
#[derive(Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// The hub, without a slash at its end.
    pub endpoint: String,
    /// The cache's folder, which holds `models--owner--name`.
    pub cache: PathBuf,
    /// Sent with every request to the hub.
    pub token: Option<String>,
    /// No request is made; the cache must do.
    pub offline: bool,
    /// Pause before the first repetition of a request that failed; each further one is twice as long.
    pub back_off: Duration,
}

/// The token is a secret: only whether there is one is shown.
impl std::fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.is_some())
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl HubSettings {
    /// By `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE`, and the token
    /// file that `hf auth login` writes.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_variables(&|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Self::from_env), by the variables that `get` knows.
    ///
    /// Source: `constants.py` and `utils/_auth.py` of `huggingface_hub`.
    #[must_use]
    pub fn from_variables(get: &dyn Fn(&str) -> Option<String>) -> Self {
        // A variable that is set to nothing counts as not set.
        let get =
            |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let user = get("HOME").or_else(|| get("USERPROFILE")).map(PathBuf::from).unwrap_or_default();
        let folder = |name: &str| get(name).map(|value| expanded(&value, &user));
        let user_cache = folder("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache"));
        let home = folder("HF_HOME").unwrap_or_else(|| user_cache.join("huggingface"));
        let cache = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let offline = get("HF_HUB_OFFLINE").or_else(|| get("TRANSFORMERS_OFFLINE"));
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token: get("HF_TOKEN")
                .or_else(|| get("HUGGING_FACE_HUB_TOKEN"))
                .or_else(|| token_in(&token_file)),
            offline: offline.is_some_and(|value| is_true(&value)),
            back_off: Duration::from_millis(500),
        }
    }
}

fn expanded(value: &str, user: &Path) -> PathBuf {
    value.strip_prefix("~/").map_or_else(|| PathBuf::from(value), |rest| user.join(rest))
}

fn token_in(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        let of =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        HubSettings::from_variables(&of)
    }

    #[test]
    fn without_variables_everything_is_where_python_has_it() {
        let found = settings(&[("HOME", "/home/ada")]);
        assert_eq!(found.endpoint, "https://huggingface.co");
        assert_eq!(found.cache, Path::new("/home/ada/.cache/huggingface/hub"));
        assert!(found.token.is_none() && !found.offline);
    }

    #[test]
    fn the_nearer_variable_decides_about_the_cache() {
        let home = ("HF_HOME", "~/hf");
        let user = ("HOME", "/home/ada");
        let xdg = ("XDG_CACHE_HOME", "/var/cache");
        assert_eq!(settings(&[user, xdg]).cache, Path::new("/var/cache/huggingface/hub"));
        assert_eq!(settings(&[user, xdg, home]).cache, Path::new("/home/ada/hf/hub"));
        assert_eq!(settings(&[user, home, ("HF_HUB_CACHE", "/data")]).cache, Path::new("/data"));
        assert_eq!(settings(&[user, ("HF_HUB_CACHE", " ")]).cache, settings(&[user]).cache);
    }

    #[test]
    fn a_token_is_taken_from_its_variable_else_from_its_file_and_never_shown() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        fs::write(home.join("token"), "hf_file\n").unwrap();
        let home = ("HF_HOME", home.to_str().unwrap());
        assert_eq!(settings(&[home]).token.as_deref(), Some("hf_file"));
        let found = settings(&[home, ("HF_TOKEN", "hf_variable")]);
        assert_eq!(found.token.as_deref(), Some("hf_variable"));
        assert!(!format!("{found:?}").contains("hf_variable"), "{found:?}");
        assert_eq!(settings(&[home, ("HF_TOKEN_PATH", "/no/such/file")]).token, None);
    }

    #[test]
    fn offline_and_endpoint_are_read_as_python_reads_them() {
        for (value, offline) in [("1", true), ("ON", true), ("true", true), ("0", false), ("", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
        assert_eq!(settings(&[("HF_ENDPOINT", "http://127.0.0.1:80/")]).endpoint, "http://127.0.0.1:80");
    }
}
