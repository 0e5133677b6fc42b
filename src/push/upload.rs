//! A push from its plan to its commit, in an order in which nothing is lost or published by
//! halves: the repository and who may read it, the card's head, checksums, large files, one commit.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::file::{PushFile, git_id};
use super::http::Hub;
use super::lfs;
use super::plan::PushPlan;
use super::repository::{CommitFile, Mode, Preupload, Repository};
use crate::progress::ProgressMeter;
use crate::text::{counted, format_size};

/// Most bytes of a file within a commit. The hub takes up to ten million.
const LARGEST_REGULAR: u64 = 64 << 20;

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The address of the repository's page.
    pub page: String,
    /// The commit and its address; none if nothing had changed.
    pub commit: Option<String>,
    /// Files in the commit.
    pub files: usize,
    /// Files that the repository has already.
    pub unchanged: usize,
    /// Bytes that were sent to the storage.
    pub sent: u64,
    /// Paths that the repository's .gitignore names.
    pub ignored: Vec<String>,
}

/// A file with its checksum.
struct Ready<'a> {
    file: &'a PushFile,
    mode: Mode,
    /// SHA-256 of a large file, git's id of another one.
    sum: String,
    /// The bytes of a small file.
    content: Vec<u8>,
}

/// Sends what the plan says.
///
/// # Errors
///
/// If the hub cannot be reached or refuses something, if everybody can read a repository that the
/// plan calls private, or if a file changes meanwhile. Nothing is published then, except that the
/// repository may have been made; if even that is not known of the commit, the error says so.
pub async fn push(plan: &PushPlan, hub: &Hub, quiet: bool) -> Result<Pushed> {
    let to = Repository {
        hub,
        kind: plan.kind,
        id: &plan.id,
    };
    make_sure_of(&to, plan.is_public, quiet).await?;
    to.check_card(&plan.card).await?;
    let said = to.preupload(&plan.files).await?;
    let ignored: Vec<String> = plan
        .files
        .iter()
        .zip(&said)
        .filter(|(_, said)| said.is_ignored)
        .map(|(file, _)| file.path.clone())
        .collect();
    let changed = changed(plan, &said, quiet)?;
    let sent = send_large(&to, &changed, quiet).await?;
    for file in &plan.files {
        file.check_unchanged()?;
    }
    let lines: Vec<CommitFile<'_>> = changed.iter().map(Ready::line).collect();
    let commit = match lines.is_empty() {
        true => None,
        false => Some(match to.commit(&plan.message, &lines).await {
            Ok(commit) => commit.url.unwrap_or(commit.oid),
            Err(error) => in_spite_of(error, &to, plan, &changed).await?,
        }),
    };
    Ok(Pushed {
        page: to.page(),
        commit,
        files: lines.len(),
        unchanged: plan.files.len() - lines.len() - ignored.len(),
        sent,
        ignored,
    })
}

/// Asks the hub whether a commit was made whose answer is an error: the answer may be all that was
/// lost. Returns the address of the commits if so, and otherwise the error.
async fn in_spite_of(
    error: anyhow::Error,
    to: &Repository<'_>,
    plan: &PushPlan,
    changed: &[Ready<'_>],
) -> Result<String> {
    let Ok(said) = to.preupload(&plan.files).await else {
        return Err(error.context(format!(
            "whether the commit was made is not known\nhint: see {}; a push of what is there changes nothing",
            to.history()
        )));
    };
    let sums: BTreeMap<&str, Option<&str>> = plan
        .files
        .iter()
        .zip(&said)
        .map(|(file, said)| (file.path.as_str(), said.there.as_deref()))
        .collect();
    let is_there = |ready: &Ready<'_>| sums.get(ready.file.path.as_str()) == Some(&Some(ready.sum.as_str()));
    match changed.iter().all(is_there) {
        true => Ok(to.history()),
        false => Err(error),
    }
}

/// Makes the repository unless it is there, and makes sure of who may read it.
async fn make_sure_of(to: &Repository<'_>, is_public: bool, quiet: bool) -> Result<()> {
    let mut private = to.is_private().await?;
    let is_new = private.is_none();
    if is_new {
        to.create(!is_public).await?;
        private = to.is_private().await?;
    }
    let (kind, id) = (to.kind.as_str(), to.id);
    match private {
        None => bail!(
            "{} has made no {kind} {id}, or does not show it to this token\nhint: the token must be one that may read and write what {} has",
            to.hub.endpoint(),
            id.owner
        ),
        Some(false) if !is_public && is_new => bail!(
            "{} made {id} so that everybody can read it, so nothing was sent\nhint: make it private at {}/settings, then push again",
            to.hub.endpoint(),
            to.page()
        ),
        Some(false) if !is_public => bail!(
            "everybody can read {}, so nothing was sent\nhint: --public, if everybody may read what is sent; or make it private at {}/settings",
            to.page(),
            to.page()
        ),
        Some(true) if is_public => {
            if !quiet {
                eprintln!(
                    "{} is private and stays so; its settings at {}/settings make it public",
                    id,
                    to.page()
                );
            }
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

/// Computes checksums, and returns the files that the repository does not have as they are.
fn changed<'a>(plan: &'a PushPlan, said: &[Preupload], quiet: bool) -> Result<Vec<Ready<'a>>> {
    let pairs = plan.files.iter().zip(said).filter(|(_, said)| !said.is_ignored);
    let total = pairs.clone().map(|(file, _)| file.size).sum();
    let mut meter = ProgressMeter::bytes("checksums", total, quiet);
    let (mut done, mut changed) = (0, Vec::new());
    for (file, said) in pairs {
        let ready = match said.mode {
            Mode::Large => Ready {
                file,
                mode: said.mode,
                sum: file.sha256(&mut |read| meter.set(done + read, &file.path))?,
                content: Vec::new(),
            },
            Mode::Regular if file.size > LARGEST_REGULAR => bail!(
                "the hub wants {} within the commit, and it has {}, which is too much for that",
                file.path,
                format_size(file.size)
            ),
            Mode::Regular => {
                let content = file.all()?;
                Ready {
                    file,
                    mode: said.mode,
                    sum: git_id(&content),
                    content,
                }
            }
        };
        done += file.size;
        meter.set(done, &file.path);
        if said.there.as_deref() != Some(ready.sum.as_str()) {
            changed.push(ready);
        }
    }
    meter.finish();
    Ok(changed)
}

/// Sends large files that the storage lacks; returns their bytes.
async fn send_large(to: &Repository<'_>, changed: &[Ready<'_>], quiet: bool) -> Result<u64> {
    let mut seen = BTreeSet::new();
    let large: Vec<&Ready<'_>> = changed
        .iter()
        // Two files with the same bytes are one to the storage.
        .filter(|ready| ready.mode == Mode::Large && seen.insert(&ready.sum))
        .collect();
    if large.is_empty() {
        return Ok(0);
    }
    let total = large.iter().map(|ready| ready.file.size).sum();
    let mut meter = ProgressMeter::bytes(&format!("push {}", to.id), total, quiet);
    let (mut done, mut sent) = (0, 0);
    for (at, ready) in large.iter().enumerate() {
        let file = ready.file;
        let mut show = |bytes: u64| meter.set(done + bytes, &file.path);
        let was_sent = lfs::send(to, file, &ready.sum, &mut show)
            .await
            .with_context(|| match at {
                0 => format!("{} was not sent", file.path),
                at => format!("{} was not sent, after {}", file.path, counted(at, "other file")),
            })?;
        if was_sent {
            sent += file.size;
        } else {
            meter.say(&format!("{} is in the storage already", file.path));
        }
        done += file.size;
        meter.set(done, &file.path);
    }
    meter.finish();
    Ok(sent)
}

impl Ready<'_> {
    fn line(&self) -> CommitFile<'_> {
        match self.mode {
            Mode::Regular => CommitFile::Regular {
                path: &self.file.path,
                content: self.content.clone(),
            },
            Mode::Large => CommitFile::Large {
                path: &self.file.path,
                oid: &self.sum,
                size: self.file.size,
            },
        }
    }
}

impl Pushed {
    /// Returns what became of it for programs.
    pub fn json(&self) -> Value {
        json!({
            "url": self.page,
            "commit": self.commit,
            "files": self.files,
            "unchanged": self.unchanged,
            "ignored": self.ignored,
            "bytes": self.sent,
        })
    }

    /// Says what became of it.
    pub fn describe(&self) -> String {
        let unchanged = match self.unchanged {
            0 => String::new(),
            some => format!(", {} already there", counted(some, "file")),
        };
        match &self.commit {
            None => format!("{}: nothing has changed{unchanged}", self.page),
            Some(commit) => format!(
                "{}: {} in one commit{unchanged}, {} sent to the storage\n{commit}",
                self.page,
                counted(self.files, "file"),
                format_size(self.sent)
            ),
        }
    }
}
