//! `owner/name[@revision]`, as typed.

use std::fmt;

/// Longest `owner/name` the hub accepts.
const MAX_ID: usize = 96;

/// Digits of a full commit hash.
const COMMIT_DIGITS: usize = 40;

/// A model on the hub, at a branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSpec {
    /// `owner/name`.
    pub id: String,
    /// Branch, tag or commit; the hub's `main` where none was typed.
    pub revision: Option<String>,
}

impl HubSpec {
    /// Reads `owner/name` or `owner/name@revision`; `None` for what can't be one.
    ///
    /// Source: the hub's rules for names, `validate_repo_id` of `huggingface_hub`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, revision) = text.split_once('@').map_or((text, None), |(id, revision)| (id, Some(revision)));
        let (owner, name) = id.split_once('/')?;
        let good = is_name(owner) && is_name(name) && id.len() <= MAX_ID && revision.is_none_or(is_revision);
        good.then(|| Self { id: id.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// The branch, tag or commit that is meant.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The commit, where the revision is one.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    /// The same model at a commit.
    #[must_use]
    pub fn at(&self, commit: &str) -> Self {
        Self { id: self.id.clone(), revision: Some(commit.to_owned()) }
    }

    /// The last part of the id.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.split_once('/').map_or(&self.id, |(_, name)| name)
    }
}

/// Whether a text is a full commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edge = |c: char| "-.".contains(c);
    !text.is_empty()
        && text.chars().all(good)
        && !text.starts_with(edge)
        && !text.ends_with(edge)
        && !text.contains("--")
        && !text.contains("..")
}

/// A revision names a file below the cache's `refs`, so it must not lead out of it.
fn is_revision(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
    text.chars().all(good) && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl fmt::Display for HubSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{}@{revision}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_with_and_without_a_revision() {
        for (text, id, revision) in [
            ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M", "main"),
            ("a/b.c_d@v1.0", "a/b.c_d", "v1.0"),
            ("a/b@refs/pr/1", "a/b", "refs/pr/1"),
        ] {
            let spec = HubSpec::parse(text).unwrap();
            assert_eq!((&*spec.id, spec.revision()), (id, revision));
            assert_eq!(spec.to_string(), text);
            assert_eq!(spec.commit(), None);
        }
    }

    #[test]
    fn a_full_hash_is_a_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let spec = HubSpec::parse("a/b").unwrap().at(commit);
        assert_eq!(spec.commit(), Some(commit));
        assert_eq!(HubSpec::parse(&spec.to_string()), Some(spec));
    }

    #[test]
    fn what_the_hub_would_not_accept_or_leads_out_of_the_cache_is_no_id() {
        for text in [
            "base", "", "/", "a/", "/b", "a/b/c", "./b", "../b", "a/..", "a/b--c", "-a/b", "a/b.", "a b/c",
            "a/b@", "a/b@../x", "a/b@/x", "a/b@x//y", "a/b@x y", "a\\b/c", "ä/b",
        ] {
            assert_eq!(HubSpec::parse(text), None, "{text}");
        }
        assert_eq!(HubSpec::parse(&format!("a/{}", "b".repeat(MAX_ID))), None);
    }
}
