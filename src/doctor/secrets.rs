//! What must never be told: tokens, passwords, and what stands in addresses beside host and path.

use serde_json::Value;

/// Put in the place of a secret.
const HIDDEN: &str = "…";

/// A shorter value is no secret worth the name, and would be found in every other word.
const SHORTEST: usize = 4;

/// Words in names of variables whose values are secrets.
const SECRET_WORDS: [&str; 7] = ["TOKEN", "TOKENS", "SECRET", "PASSWORD", "PASSWD", "CREDENTIALS", "KEY"];

/// Values that are hidden wherever they stand.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Those among `variables` and the `token` of the hub.
    #[must_use]
    pub fn of(variables: impl IntoIterator<Item = (String, String)>, token: Option<&str>) -> Self {
        let mut found: Vec<String> = token.map(str::to_owned).into_iter().collect();
        for (name, value) in variables {
            if is_secret(&name) {
                found.push(value.trim().to_owned());
            }
            found.extend(in_address(&value));
        }
        found.retain(|secret| secret.len() >= SHORTEST);
        // A secret that holds another must go first, or its rest would stay.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        found.dedup();
        Self(found)
    }

    /// A text without them.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let known = self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN));
        without_credentials(&known)
    }

    /// The same for every text in a value, keys excepted.
    pub fn hide_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.hide(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_in(value)),
            Value::Object(map) => map.values_mut().for_each(|value| self.hide_in(value)),
            _ => {}
        }
    }
}

/// Whether a variable of this name holds a secret. That of a file that holds one is none.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_uppercase();
    !name.ends_with("_PATH") && name.split('_').any(|word| SECRET_WORDS.contains(&word))
}

/// What stands before the host of an address, and the values behind its question mark.
fn in_address(value: &str) -> Vec<String> {
    let Some((_, rest)) = value.split_once("://") else { return vec![] };
    let (host, query) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
    let credentials = host.split('/').next().and_then(|host| host.rsplit_once('@'));
    // A name alone is a token; beside a password it is an ordinary word.
    let secrets = |(user, _): (&str, &str)| {
        let password = user.split_once(':').map(|(_, password)| password.to_owned());
        password.into_iter().chain([user.to_owned()]).collect()
    };
    let mut found: Vec<String> = credentials.map(secrets).unwrap_or_default();
    found.extend(query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1.to_owned())));
    found
}

/// A text in whose addresses nothing stands before the host or behind a question mark.
fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + "://".len());
        shown.push_str(before);
        let end = behind.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')'));
        let (address, after) = behind.split_at(end.unwrap_or(behind.len()));
        let (address, query) = address.split_at(address.find(['?', '#']).unwrap_or(address.len()));
        let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        match host.rsplit_once('@') {
            Some((_, host)) => shown.extend([HIDDEN, "@", host, path]),
            None => shown.extend([host, path]),
        }
        if !query.is_empty() {
            shown.extend(["?", HIDDEN]);
        }
        rest = after;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let variables = [
            ("HF_TOKEN", "hf_abcdef"),
            ("HF_ENDPOINT", "https://ada:love@hub.example/api?token=qwertz"),
            ("HTTPS_PROXY", "http://bob:pass%20word@proxy:3128"),
            ("HF_TOKEN_PATH", "/home/ada/token"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("NPM_CONFIG", "https://ghp_only@registry.example"),
            ("CUDA_HOME", "/usr/local/cuda"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Secrets::of(variables, Some("hf_of_file"))
    }

    #[test]
    fn a_secret_is_hidden_wherever_it_stands() {
        for (text, shown) in [
            ("token hf_abcdef!", "token …!"),
            ("the file's hf_of_file", "the file's …"),
            ("qwertz behind", "… behind"),
            ("love, ada, false", "…, ada, false"),
            ("ghp_only", "…"),
            ("https://ada:love@hub.example/api?token=qwertz is away", "https://…@hub.example/api?… is away"),
            ("(http://x:y@host)", "(http://…@host)"),
            ("http://host/a#b \"c\"", "http://host/a?… \"c\""),
            ("/home/ada/token in /usr/local/cuda", "/home/ada/token in /usr/local/cuda"),
            ("https://huggingface.co/a@b", "https://huggingface.co/a@b"),
        ] {
            assert_eq!(secrets().hide(text), shown);
        }
    }

    #[test]
    fn every_text_of_a_value_is_looked_at() {
        let mut value = serde_json::json!({"a": ["hf_abcdef", {"b": "http://u:p@h/"}], "n": 1});
        secrets().hide_in(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["…", {"b": "http://…@h/"}], "n": 1}));
    }

    #[test]
    fn the_longer_of_two_secrets_goes_first() {
        let pair = |value: &str| ("A_TOKEN".to_owned(), value.to_owned());
        let secrets = Secrets::of([pair("abcd"), pair("abcdefgh")], None);
        assert_eq!(secrets.hide("abcdefgh abcd"), "… …");
    }
}
