//! The hub's API for one repository: whether it is there, making it, which files it takes as large,
//! and the commit.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::file::{PushFile, base64, counted_body};
use super::http::{Answer, Call, Hub};
use super::repo::{RepoId, RepoKind};
use crate::text::one_line;

/// The branch that is pushed to.
pub(super) const BRANCH: &str = "main";
/// Most files that the hub is asked about at once.
const MOST_FILES: usize = 256;
/// Attempts to make a repository while the hub is at another one of the same owner.
const TRIES: u32 = 5;

/// A repository of a hub.
pub(super) struct Repository<'a> {
    pub hub: &'a Hub,
    pub kind: RepoKind,
    pub id: &'a RepoId,
}

/// How a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Within the commit.
    Regular,
    /// To the storage, by Git LFS.
    Large,
}

/// What the hub says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preupload {
    pub mode: Mode,
    /// Whether the repository's .gitignore names it.
    pub is_ignored: bool,
    /// The checksum of what the repository has under its path: SHA-256 of a large file, git's id
    /// of another one.
    pub there: Option<String>,
}

/// A file of a commit.
pub(super) enum CommitFile<'a> {
    Regular { path: &'a str, content: Vec<u8> },
    Large { path: &'a str, oid: &'a str, size: u64 },
}

/// A commit that was made.
pub(super) struct Commit {
    pub url: Option<String>,
    pub oid: String,
}

impl Repository<'_> {
    fn api(&self) -> String {
        format!("api/{}s/{}", self.kind.as_str(), self.id)
    }

    /// Returns the address of its page.
    pub fn page(&self) -> String {
        format!("{}/{}{}", self.hub.endpoint(), self.kind.prefix(), self.id)
    }

    /// Returns the address of the list of its commits.
    pub fn history(&self) -> String {
        format!("{}/commits/{BRANCH}", self.page())
    }

    /// Returns the path of its Git LFS.
    pub fn lfs(&self) -> String {
        format!("{}{}.git/info/lfs/objects/batch", self.kind.prefix(), self.id)
    }

    /// Returns whether it is private; none if it is not there.
    ///
    /// # Errors
    ///
    /// If the hub cannot be asked, or does not say.
    pub async fn is_private(&self) -> Result<Option<bool>> {
        let answer = self.hub.get(&self.api()).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let said = answer.json().and_then(|json| json["private"].as_bool());
                let said = said.with_context(|| {
                    format!(
                        "{} does not say whether {} is private",
                        self.hub.endpoint(),
                        self.id
                    )
                })?;
                Ok(Some(said))
            }
            _ => Err(self.hub.refused(&format!("tell of {}", self.id), &answer)),
        }
    }

    /// Makes it. That it is there already is no error.
    pub async fn create(&self, private: bool) -> Result<()> {
        let body = json!({
            "name": self.id.name,
            "organization": self.id.owner,
            "type": self.kind.as_str(),
            "private": private,
        });
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.hub.post("api/repos/create", &body).await?;
            let is_busy = answer.status == StatusCode::CONFLICT
                && answer
                    .text()
                    .contains("another conflicting operation is in progress");
            match answer.status {
                _ if is_busy && tries < TRIES => tokio::time::sleep(super::http::PAUSE).await,
                StatusCode::CONFLICT if !is_busy => return Ok(()),
                status if status.is_success() => return Ok(()),
                _ => return Err(self.hub.refused(&format!("make {}", self.id), &answer)),
            }
        }
    }

    /// Has the hub check the head of a README.md.
    ///
    /// # Errors
    ///
    /// In the hub's words, if it does not take it.
    pub async fn check_card(&self, text: &str) -> Result<()> {
        let body = json!({"content": text, "repoType": self.kind.as_str()});
        let answer = self.hub.post("api/validate-yaml", &body).await?;
        if answer.status != StatusCode::BAD_REQUEST {
            // Mirrors have no such check.
            return Ok(());
        }
        let json = answer.json().unwrap_or_default();
        let errors = json["errors"].as_array().into_iter().flatten();
        let words: Vec<String> = errors
            .filter_map(|error| error["message"].as_str())
            .map(|words| self.hub.quoted(words))
            .collect();
        bail!(
            "{} does not take the head of README.md: {}\nhint: --license and --language are names that the hub knows, such as apache-2.0 and en; a README.md of the folder is taken as it is",
            self.hub.endpoint(),
            words.join("; ")
        )
    }

    /// Asks how files are to be sent.
    pub async fn preupload(&self, files: &[PushFile]) -> Result<Vec<Preupload>> {
        let mut found = Vec::with_capacity(files.len());
        for files in files.chunks(MOST_FILES) {
            let asked = files
                .iter()
                .map(|file| {
                    let sample = base64(&file.sample()?);
                    Ok(json!({"path": file.path, "sample": sample, "size": file.size}))
                })
                .collect::<Result<Vec<Value>>>()?;
            let path = format!("{}/preupload/{BRANCH}", self.api());
            let answer = self.hub.post(&path, &json!({ "files": asked })).await?;
            if !answer.status.is_success() {
                return Err(self.hub.refused(&format!("take files for {}", self.id), &answer));
            }
            let json = answer.json().unwrap_or_default();
            let said: Vec<&Value> = json["files"].as_array().into_iter().flatten().collect();
            for file in files {
                let of = said.iter().find(|of| of["path"] == file.path.as_str());
                let of = of.and_then(|of| Preupload::read(of, file.size));
                found.push(of.with_context(|| self.is_unknown(&format!("how to send {}", file.path)))?);
            }
        }
        Ok(found)
    }

    /// Makes a commit of files; large ones must be in the storage.
    pub async fn commit(&self, message: &str, files: &[CommitFile<'_>]) -> Result<Commit> {
        let header = json!({"key": "header", "value": {"summary": message, "description": ""}});
        let lines = std::iter::once(header).chain(files.iter().map(CommitFile::line));
        let body: String = lines.map(|line| format!("{line}\n")).collect();
        let body = hyper::body::Bytes::from(body);
        // Counted, or a large commit over a slow line would seem to stand still.
        let sent: Arc<AtomicU64> = Arc::default();
        let call = Call {
            method: Method::POST,
            url: self.hub.url(&format!("{}/commit/{BRANCH}", self.api()))?,
            to_hub: true,
            with: &|request| {
                let request = request.header("content-type", "application/x-ndjson");
                Ok(request.body(counted_body(body.clone(), &sent)))
            },
            sent: sent.clone(),
        };
        let answer = self.hub.call(&call, &mut |_| ()).await?;
        if !answer.status.is_success() {
            return Err(self
                .hub
                .refused(&format!("take a commit to {}", self.id), &answer));
        }
        self.commit_of(&answer)
    }

    fn commit_of(&self, answer: &Answer) -> Result<Commit> {
        let json = answer.json().unwrap_or_default();
        let oid = json["commitOid"].as_str().map(str::to_owned);
        Ok(Commit {
            oid: oid.ok_or_else(|| anyhow!(self.is_unknown("whether the commit was made")))?,
            url: json["commitUrl"].as_str().map(|url| one_line(url, 300)),
        })
    }

    /// Returns the words for an answer that does not say what it should.
    pub(super) fn is_unknown(&self, what: &str) -> String {
        format!("{} says in an unknown way {what}", self.hub.endpoint())
    }
}

impl Preupload {
    fn read(json: &Value, size: u64) -> Option<Preupload> {
        let mode = match json["uploadMode"].as_str()? {
            // The storage takes no empty files.
            _ if size == 0 => Mode::Regular,
            "lfs" => Mode::Large,
            "regular" => Mode::Regular,
            _ => return None,
        };
        Some(Preupload {
            mode,
            is_ignored: json["shouldIgnore"].as_bool().unwrap_or(false),
            there: json["oid"].as_str().map(str::to_owned),
        })
    }
}

impl CommitFile<'_> {
    /// A line of the commit.
    fn line(&self) -> Value {
        match self {
            CommitFile::Regular { path, content } => json!({
                "key": "file",
                "value": {"content": base64(content), "path": path, "encoding": "base64"},
            }),
            CommitFile::Large { path, oid, size } => json!({
                "key": "lfsFile",
                "value": {"path": path, "algo": "sha256", "oid": oid, "size": size},
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hub_says_of_a_file_is_read() {
        let read = |json: Value| Preupload::read(&json, 5);
        let large = read(json!({"path": "a", "uploadMode": "lfs", "shouldIgnore": false, "oid": "0f"}));
        let large = large.unwrap();
        assert_eq!((large.mode, large.is_ignored), (Mode::Large, false));
        assert_eq!(large.there.as_deref(), Some("0f"));
        let small = read(json!({"path": "a", "uploadMode": "regular", "shouldIgnore": true})).unwrap();
        assert_eq!(
            (small.mode, small.is_ignored, small.there),
            (Mode::Regular, true, None)
        );
        assert_eq!(read(json!({"path": "a", "uploadMode": "xet"})), None);
        assert_eq!(read(json!({"path": "a"})), None);
        let empty = Preupload::read(&json!({"uploadMode": "lfs"}), 0).unwrap();
        assert_eq!(empty.mode, Mode::Regular);
    }

    #[test]
    fn lines_of_a_commit_are_those_of_the_hub() {
        let regular = CommitFile::Regular {
            path: "README.md",
            content: b"foo".to_vec(),
        };
        assert_eq!(
            regular.line().to_string(),
            r#"{"key":"file","value":{"content":"Zm9v","path":"README.md","encoding":"base64"}}"#
        );
        let large = CommitFile::Large {
            path: "model.safetensors",
            oid: "0f",
            size: 7,
        };
        assert_eq!(
            large.line().to_string(),
            r#"{"key":"lfsFile","value":{"path":"model.safetensors","algo":"sha256","oid":"0f","size":7}}"#
        );
    }
}
