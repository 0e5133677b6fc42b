//! A repository of the hub, by its name.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

/// The longest name.
const LONGEST: usize = 96;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A model or an adapter.
    Model,
    /// A dataset.
    Dataset,
}

impl RepoKind {
    /// The word of the hub's API, and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            RepoKind::Model => "model",
            RepoKind::Dataset => "dataset",
        }
    }

    /// What precedes the name in the address of a page, which of models is nothing.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
        }
    }
}

/// The name of a repository, with its owner's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoId {
    /// A user or an organization.
    pub owner: String,
    /// The name.
    pub name: String,
}

impl RepoId {
    /// Reads `USER/NAME`.
    ///
    /// # Errors
    ///
    /// If it has another form; the hint says which.
    pub fn parse(text: &str) -> Result<RepoId> {
        let Some((owner, name)) = text.split_once('/') else {
            bail!(
                "`{text}` does not say whose repository it is\nhint: USER/{text}, with your name on the hub or that of an organization"
            );
        };
        if !is_name(owner) || !is_name(name) {
            bail!(
                "`{text}` is no name of a repository\nhint: USER/NAME, each of letters, digits, `-`, `_` and `.`, at most {LONGEST} characters, without `--` or `..`"
            );
        }
        Ok(RepoId {
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// Whether the hub takes a text as the name of a user or a repository.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let at_ends = |c: char| ".-".contains(c);
    !text.is_empty()
        && text.len() <= LONGEST
        && text.chars().all(fits)
        && !text.starts_with(at_ends)
        && !text.ends_with(at_ends)
        && !text.contains("--")
        && !text.contains("..")
        && !text.ends_with(".git")
}

/// Returns whether a text is an id on the hub: `USER/NAME`, or a name alone as a few old models
/// have. A path of two parts looks the same.
pub fn is_id(text: &str) -> bool {
    match text.split_once('/') {
        Some((owner, name)) => is_name(owner) && is_name(name),
        None => is_name(text),
    }
}

/// Returns the id on the hub of a model that was named by its id or by a path: an id that is no
/// path of this machine, or a snapshot in the hub's cache.
pub fn id_of(model: &str) -> Option<String> {
    let path = Path::new(model);
    match is_id(model) && !path.exists() {
        true => Some(model.to_owned()),
        false => cached_id(path),
    }
}

/// Returns the id of the model whose snapshot in the hub's cache is `path`.
pub fn cached_id(path: &Path) -> Option<String> {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let snapshots = full.parent()?;
    if snapshots.file_name()? != "snapshots" {
        return None;
    }
    let folder = snapshots.parent()?.file_name()?.to_str()?;
    Some(folder.strip_prefix("models--")?.replacen("--", "/", 1)).filter(|id| is_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_hub_takes() {
        for text in ["ann/sheep", "An-n_1/sheep-270m.v2", "a/_b"] {
            assert_eq!(RepoId::parse(text).unwrap().to_string(), text);
        }
        let error = RepoId::parse("sheep").unwrap_err().to_string();
        assert!(
            error.contains("whose") && error.contains("hint: USER/sheep"),
            "{error}"
        );
        let long = format!("ann/{}", "x".repeat(97));
        for text in [
            "/sheep",
            "ann/",
            "a/b/c",
            "ann/-b",
            "ann/b.",
            "ann/a--b",
            "ann/a..b",
            "ann/a b",
            "ä/b",
            "ann/b.git",
            "https://huggingface.co/ann/b",
            &long,
        ] {
            let error = RepoId::parse(text).unwrap_err().to_string();
            assert!(error.contains("no name of a repository"), "{text}: {error}");
        }
    }

    #[test]
    fn a_folder_of_the_cache_is_an_id() {
        let id = |text: &str| id_of(text);
        assert_eq!(id("google/gemma-3-270m").as_deref(), Some("google/gemma-3-270m"));
        assert_eq!(id("gpt2").as_deref(), Some("gpt2"));
        let cached = "/home/ann/.cache/huggingface/hub/models--google--gemma-3-270m/snapshots/0123";
        assert_eq!(id(cached).as_deref(), Some("google/gemma-3-270m"));
        assert_eq!(id("/home/ann/models/gemma"), None);
        assert_eq!(id("models/google/gemma"), None);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(id(dir.path().to_str().unwrap()), None);
    }
}
