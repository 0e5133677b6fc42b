//! A model that is asked by post: requests go to a file, and their answers come in others, once somebody had them
//! answered (OpenAI's batch service and those like it, vLLM's `run-batch`).

use super::batch::{self, Unanswered};
use super::endpoint::Api;
use super::objection::{Objection, objections};
use super::results::Results;
use super::shape::{Learnt, Shape};
use super::wire::{self, Dialect};
use crate::atomic_file::{self, Lines};
use crate::backend::{Backend, BackendError, Completion, Leave, Sampling, content_key};
use anyhow::{Context, Result, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// Bytes of a file by which it is told to be one of requests.
const LOOKED_AT: u64 = 1 << 20;

/// Looks answers up among results; what has none is deferred, and can be written to the file of requests. A request's
/// `custom_id` is its content key: 64 letters and digits, the most that some services allow.
pub struct BatchBackend {
    /// The model's name where it is asked.
    served: String,
    /// Its name in content keys.
    name: String,
    dialect: Dialect,
    /// The shape of requests.
    shape: Shape,
    out: PathBuf,
    results: Results,
    post: Mutex<Post>,
}

/// What was asked so far.
#[derive(Default)]
struct Post {
    /// By content key.
    deferred: HashMap<String, (String, Sampling)>,
    found: HashSet<String>,
    /// Requests that were refused for a field which is not in them any more.
    reshaped: HashSet<String>,
    /// What the refusals taught.
    learnt: Learnt,
}

/// What the results were worth.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Requests with an answer.
    pub answers: u64,
    /// Requests that cannot be answered as they stand.
    pub refused: u64,
    /// Requests that were refused for a field which is not in them any more; they are written again.
    pub reshaped: u64,
    /// Requests that failed in passing, and are asked again.
    pub passing: u64,
    /// The first such failure.
    pub passing_error: Option<String>,
    /// Lines whose request had a result already.
    pub repeated: u64,
    /// Lines that are no result.
    pub damaged: u64,
    /// Tokens of the prompts that were answered.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
}

impl BatchBackend {
    /// For requests to `model`, which go to `out`. What stands there is replaced or removed at the end, so it must be a
    /// file of requests, if anything.
    ///
    /// # Errors
    ///
    /// When something else stands there, or nothing can be written there.
    pub fn new(model: &str, api: Api, shape: Shape, out: &Path, results: Results) -> Result<BatchBackend> {
        atomic_file::check(out)?;
        if !is_ours(out).with_context(|| format!("cannot read `{}`", out.display()))? {
            bail!(
                "`{}` exists and is no file of requests\nhint: choose another name, or move the file away",
                out.display()
            );
        }
        let model = model.to_string();
        let name = match shape.in_name() {
            Some(fields) => format!("{model} with {fields}"),
            None => model.clone(),
        };
        let (dialect, name) = match api {
            Api::Chat => (Dialect::Chat, format!("{name} (chat)")),
            Api::Completions | Api::Auto => (Dialect::Completions, name),
        };
        Ok(BatchBackend {
            served: model,
            name,
            dialect,
            shape,
            out: out.into(),
            results,
            post: Mutex::default(),
        })
    }

    /// The file of requests.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// What the results are worth.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            repeated: self.results.repeated,
            damaged: self.results.damaged.len() as u64,
            ..Counts::default()
        };
        let mut passing = Vec::new();
        for (id, result) in self.results.iter() {
            match result {
                Ok(reply) => {
                    counts.answers += u64::from(reply.refusal.is_none());
                    counts.refused += u64::from(reply.refusal.is_some());
                    counts.prompt_tokens += reply.prompt_tokens as u64;
                    counts.completion_tokens += reply.completion_tokens as u64;
                }
                Err(Unanswered::Refused { .. }) if self.post().reshaped.contains(id) => counts.reshaped += 1,
                Err(Unanswered::Refused { .. }) => counts.refused += 1,
                Err(Unanswered::Passing(error)) => passing.push((id, error)),
            }
        }
        counts.passing = passing.len() as u64;
        counts.passing_error = passing.into_iter().min().map(|(_, error)| error.clone());
        counts
    }

    /// Lines that are no result, by file and line.
    pub fn damaged(&self) -> &[String] {
        &self.results.damaged
    }

    /// The `custom_id`s of answers that nobody asked for, in order. Some may be in the store from earlier runs.
    pub fn unclaimed(&self) -> Vec<&str> {
        let post = self.post();
        let answers = self.results.iter().filter(|(_, result)| result.is_ok());
        let unclaimed = answers.map(|(id, _)| id).filter(|id| !post.found.contains(*id));
        let mut unclaimed: Vec<&str> = unclaimed.collect();
        unclaimed.sort_unstable();
        unclaimed
    }

    /// Writes the requests with these content keys, at most so many, and returns how many. Where there is none, what
    /// stood at the place is removed: nothing of it waits any more, and sent again it would be paid for twice.
    ///
    /// # Errors
    ///
    /// When the disk refuses; then what stood there stands there still.
    pub fn write(&self, keys: &[String], most: Option<u64>) -> Result<u64> {
        let post = self.post();
        let mut seen = HashSet::new();
        let keys = keys.iter().filter(|key| seen.insert(key.as_str()));
        let keys: Vec<&String> = keys.take(most.unwrap_or(u64::MAX) as usize).collect();
        if keys.is_empty() {
            atomic_file::remove(&self.out)?;
            return Ok(0);
        }
        let mut file = Lines::begin(&self.out)?;
        for key in &keys {
            let (prompt, sampling) = post.deferred.get(*key).expect("only deferred requests wait");
            let fields = wire::Request::new(self.dialect, &self.served, prompt, sampling).fields();
            let body = self.shape.body(&fields, &post.learnt);
            let line = batch::request_line(key, self.dialect, &body);
            file.line(&line)?;
        }
        file.commit()?;
        Ok(keys.len() as u64)
    }

    fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().expect("nobody panics with it")
    }

    /// Whether a refusal is of a request that would be written otherwise now: it named a field that is not in it any more,
    /// or that is left out from now on because of it.
    fn is_outdated(&self, refusal: &str, prompt: &str, sampling: &Sampling, learnt: &mut Learnt) -> bool {
        let fields = wire::Request::new(self.dialect, &self.served, prompt, sampling).fields();
        let plain = objections(refusal, &fields);
        let body = self.shape.body(&fields, learnt);
        let is_otherwise_now = |objection: &Objection| match body.get(&objection.field) {
            None => true,
            Some(value) => objection.least.is_some() && fields.get(&objection.field) != Some(value),
        };
        if plain.iter().any(is_otherwise_now) {
            return true;
        }
        let mut is_news = false;
        for objection in objections(refusal, &body) {
            if let Some(line) = self.shape.learn(&objection, &fields, learnt) {
                is_news = true;
                tracing::warn!(
                    "the results refuse `{}`: '{}'; {line}",
                    wire::excerpt(&objection.field),
                    wire::excerpt(&wire::error_message(refusal))
                );
            }
        }
        is_news
    }

    fn look_up(&self, prompt: String, sampling: Sampling) -> Result<Completion, BackendError> {
        let key = content_key(&self.name, &prompt, &sampling);
        let mut post = self.post();
        match self.results.get(&key) {
            Some(Ok(reply)) => {
                post.found.insert(key);
                Ok(reply.clone().completion(&sampling))
            }
            Some(Err(Unanswered::Refused { error, body })) => {
                if !self.is_outdated(body, &prompt, &sampling, &mut post.learnt) {
                    return Err(BackendError::Request(error.clone()));
                }
                post.reshaped.insert(key.clone());
                post.deferred.insert(key, (prompt, sampling));
                Err(BackendError::Deferred)
            }
            Some(Err(Unanswered::Passing(_))) | None => {
                post.deferred.insert(key, (prompt, sampling));
                Err(BackendError::Deferred)
            }
        }
    }
}

impl Backend for BatchBackend {
    /// The name alone: there is no address, and whoever answers is trusted to be that model.
    fn model(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        usize::MAX
    }

    fn complete(
        &self,
        prompt: String,
        sampling: Sampling,
    ) -> BoxFuture<'_, Result<Completion, BackendError>> {
        std::future::ready(self.look_up(prompt, sampling)).boxed()
    }

    /// Nothing is sent.
    fn complete_with<'a>(
        &'a self,
        prompt: String,
        sampling: Sampling,
        _: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        self.complete(prompt, sampling)
    }

    fn defers(&self) -> bool {
        true
    }
}

/// Whether there is nothing at the path, or what may be replaced: an empty file, a file of requests, a pipe.
fn is_ours(path: &Path) -> std::io::Result<bool> {
    if atomic_file::is_stdout(path) {
        return Ok(true);
    }
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.is_dir() => return Ok(false),
        Ok(metadata) if !metadata.is_file() || metadata.len() == 0 => return Ok(true),
        Ok(_) => {}
    }
    let mut line = Vec::new();
    BufReader::new(File::open(path)?)
        .take(LOOKED_AT)
        .read_until(b'\n', &mut line)?;
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
    Ok(["custom_id", "method", "url", "body"]
        .iter()
        .all(|name| line.get(name).is_some()))
}
