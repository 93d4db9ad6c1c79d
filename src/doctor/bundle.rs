//! The file for a bug report: the whole report, the system, and the variables that matter. No secrets.

use std::env;
use std::fs;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::secrets::{Secrets, is_secret};

/// How names begin of variables that change what this program does.
const PREFIXES: [&str; 17] = [
    "CANDLE_",
    "CUDA",
    "DIAPASON_",
    "HF_",
    "HUGGING",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "MALLOC_",
    "MKL_",
    "NCCL_",
    "NVIDIA_",
    "OMP_",
    "RAYON_",
    "SLURM_",
    "TMPDIR",
    "TRANSFORMERS_OFFLINE",
    "TOKENIZERS_",
];
/// Addresses of proxies, by either spelling.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// The contents of the file: `report` is what `--json` prints.
#[must_use]
pub fn bundle(
    report: &impl Serialize,
    variables: impl IntoIterator<Item = (String, String)>,
    secrets: &Secrets,
) -> Value {
    let mut contents = json!({
        "program": program(),
        "system": system(),
        "environment": environment(variables),
        "report": report,
    });
    secrets.hide_in(&mut contents);
    contents
}

fn program() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cuda": cfg!(feature = "cuda"),
        "debug": cfg!(debug_assertions),
        "target": format!("{}-{}", env::consts::ARCH, env::consts::OS),
    })
}

/// What the system says of itself; what it does not tell is null.
fn system() -> Value {
    let line = |file: &str| fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
    let release = line("/etc/os-release");
    let name =
        release.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")));
    let marks = ["/.dockerenv", "/run/.containerenv"];
    let is_container = marks.into_iter().any(|file| fs::exists(file).unwrap_or(false));
    json!({
        "name": name.map(|name| name.trim_matches('"')),
        "kernel": line("/proc/version"),
        "load": line("/proc/loadavg"),
        "is_container": is_container,
    })
}

fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Map<String, Value> {
    let told = variables.into_iter().filter(|(name, _)| matters(name));
    let mut told: Vec<(String, Value)> = told
        .map(|(name, value)| {
            let value = if is_secret(&name) { "(set, not told)".to_owned() } else { value };
            (name, Value::String(value))
        })
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told.into_iter().collect()
}

fn matters(name: &str) -> bool {
    let upper = name.to_uppercase();
    PREFIXES.iter().any(|prefix| upper.starts_with(prefix)) || PROXIES.contains(&upper.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_has_the_variables_that_matter_and_no_secret() {
        let variables = [
            ("HF_TOKEN", "hf_secret_1"),
            ("HF_ENDPOINT", "https://u:secret_2@hub.example/x?key=secret_3"),
            ("CUDA_HOME", "/cuda"),
            ("https_proxy", "http://u:secret_4@proxy:1"),
            ("AWS_SECRET_ACCESS_KEY", "secret_5"),
            ("SHELL", "/bin/sh"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = Secrets::of(variables.clone(), Some("secret_6"));
        let report = json!({"said": ["secret_5 and secret_6", "at https://u:secret_2@hub.example/x"]});
        let contents = bundle(&report, variables, &secrets);
        assert!(!contents.to_string().contains("secret_"), "{contents}");
        assert_eq!(contents["environment"]["HF_TOKEN"], "(set, not told)");
        assert_eq!(contents["environment"]["HF_ENDPOINT"], "https://…@hub.example/x?…");
        assert_eq!(contents["environment"]["CUDA_HOME"], "/cuda");
        assert!(contents["environment"].get("SHELL").is_none());
        assert_eq!(contents["report"]["said"][0], "… and …");
        assert_eq!(contents["program"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
