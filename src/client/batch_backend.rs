//! A backend that contacts nobody: it writes requests to a batch file, and looks answers up in the
//! result files of a batch service (OpenAI's and similar ones, vLLM's `run-batch`).

use super::batch::{self, Unanswered};
use super::batch_results::Results;
use super::endpoint::Api;
use super::objection::{FieldObjection, objections};
use super::request_shape::{Learnt, RequestShape};
use super::wire::{self, Dialect};
use crate::atomic_file::{self, Lines};
use crate::backend::{Backend, BackendError, Completion, Leave, Prompt, Question, Sampling, content_key};
use anyhow::{Context, Result, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// How many bytes of a file are read to recognize a batch file.
const LOOKED_AT: u64 = 1 << 20;

/// Looks answers up in results. Requests without one are deferred, and can be written to the batch
/// file. A request's `custom_id` is its content key: 64 letters and digits, the most that some
/// services allow.
pub struct BatchBackend {
    /// The model's name at the service.
    served: String,
    /// The model's name in content keys.
    name: String,
    dialect: Dialect,
    /// Names and omissions of the fields of requests.
    shape: RequestShape,
    out: PathBuf,
    results: Arc<Results>,
    requests: Mutex<Requests>,
}

/// What a deferred request asks.
enum Asked {
    /// A text to continue.
    Text(String),
    /// A question to answer.
    Question(Question),
}

impl Asked {
    fn of(prompt: Prompt<'_>) -> Asked {
        match prompt {
            Prompt::Text(text) => Asked::Text(text.to_owned()),
            Prompt::Question(question) => Asked::Question(question.clone()),
        }
    }

    fn prompt(&self) -> Prompt<'_> {
        match self {
            Asked::Text(text) => Prompt::Text(text),
            Asked::Question(question) => Prompt::Question(question),
        }
    }
}

/// The requests so far.
#[derive(Default)]
struct Requests {
    /// Requests without an answer, by content key.
    deferred: HashMap<String, (Asked, Sampling)>,
    /// Content keys of requests with an answer.
    found: HashSet<String>,
    /// Content keys of requests refused for a field that is not sent any more.
    reshaped: HashSet<String>,
    /// What was learnt from refusals.
    learnt: Learnt,
}

/// Counts of the results.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Requests with an answer.
    pub answers: u64,
    /// Requests that cannot be answered as they are.
    pub refused: u64,
    /// Requests refused for a field that is not sent any more. They are written again.
    pub reshaped: u64,
    /// Requests that failed for a while, and are written again.
    pub passing: u64,
    /// The error of the first of them.
    pub passing_error: Option<String>,
    /// Lines whose request had a result already.
    pub repeated: u64,
    /// Lines that are no result.
    pub damaged: u64,
    /// Tokens of the answered prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
}

/// What a batch file asks for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Requests.
    pub requests: u64,
    /// Bytes of their prompts.
    pub prompt_bytes: u64,
    /// The most tokens that the answers may have.
    pub most_tokens: u64,
}

impl BatchBackend {
    /// Writes requests to `model` to the file `out`. A file there is replaced or removed at the
    /// end, so it must be a batch file.
    ///
    /// # Errors
    ///
    /// If there is another file, or nothing can be written there.
    pub fn new(
        model: &str,
        api: Api,
        shape: RequestShape,
        out: &Path,
        results: impl Into<Arc<Results>>,
    ) -> Result<BatchBackend> {
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
            results: results.into(),
            requests: Mutex::default(),
        })
    }

    /// Returns the path of the batch file.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Counts the results.
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
                Err(Unanswered::Refused { .. }) if self.requests().reshaped.contains(id) => {
                    counts.reshaped += 1
                }
                Err(Unanswered::Refused { .. }) => counts.refused += 1,
                Err(Unanswered::Transient(error)) => passing.push((id, error)),
            }
        }
        counts.passing = passing.len() as u64;
        counts.passing_error = passing.into_iter().min().map(|(_, error)| error.clone());
        counts
    }

    /// Returns lines that are no result, with file and line number.
    pub fn damaged(&self) -> &[String] {
        &self.results.damaged
    }

    /// Returns the `custom_id`s of answers that no request of this run asked for, in order. Some
    /// may be in the store from earlier runs.
    pub fn unclaimed(&self) -> Vec<&str> {
        let requests = self.requests();
        let answers = self.results.iter().filter(|(_, result)| result.is_ok());
        let unclaimed = answers
            .map(|(id, _)| id)
            .filter(|id| !requests.found.contains(*id));
        let mut unclaimed: Vec<&str> = unclaimed.collect();
        unclaimed.sort_unstable();
        unclaimed
    }

    /// Writes the requests with these content keys, at most `most`, and returns what they are. If
    /// there are none, an old batch file is removed: none of its requests waits any more, and sent
    /// again they would be paid for twice.
    ///
    /// # Errors
    ///
    /// If the disk fails; then the old file stays.
    pub fn write(&self, keys: &[String], most: Option<u64>) -> Result<Written> {
        let requests = self.requests();
        let mut seen = HashSet::new();
        let keys = keys.iter().filter(|key| seen.insert(key.as_str()));
        let keys: Vec<&String> = keys.take(most.unwrap_or(u64::MAX) as usize).collect();
        if keys.is_empty() {
            atomic_file::remove(&self.out)?;
            return Ok(Written::default());
        }
        let mut file = Lines::begin(&self.out)?;
        let mut written = Written::default();
        for key in &keys {
            let (prompt, sampling) = requests.deferred.get(*key).expect("only deferred requests wait");
            let fields = wire::Request::new(self.dialect, &self.served, prompt.prompt(), sampling).fields();
            let body = self.shape.body(&fields, &requests.learnt);
            let line = batch::request_line(key, self.dialect, &body);
            file.line(&line)?;
            written.requests += 1;
            written.prompt_bytes += prompt.prompt().bytes() as u64;
            written.most_tokens += sampling.max_tokens as u64;
        }
        file.commit()?;
        Ok(written)
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().expect("nobody panics with it")
    }

    /// Whether a refused request would be written differently now: the refusal names a field that
    /// is not sent any more, or that is left out from now on because of this refusal.
    fn is_outdated(
        &self,
        refusal: &str,
        prompt: Prompt<'_>,
        sampling: &Sampling,
        learnt: &mut Learnt,
    ) -> bool {
        let fields = wire::Request::new(self.dialect, &self.served, prompt, sampling).fields();
        let plain = objections(refusal, &fields);
        let body = self.shape.body(&fields, learnt);
        let is_otherwise_now = |objection: &FieldObjection| match body.get(&objection.field) {
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

    /// Returns the answer from the results, or defers the request.
    fn look_up(&self, prompt: Prompt<'_>, sampling: Sampling) -> Result<Completion, BackendError> {
        let key = match prompt {
            Prompt::Text(text) => content_key(&self.name, text, &sampling),
            Prompt::Question(question) => content_key(&self.name, &question.prompt(), &sampling),
        };
        let mut requests = self.requests();
        match self.results.get(&key) {
            Some(Ok(reply)) => {
                requests.found.insert(key);
                Ok(reply.clone().completion(&sampling))
            }
            Some(Err(Unanswered::Refused { error, body })) => {
                if !self.is_outdated(body, prompt, &sampling, &mut requests.learnt) {
                    return Err(BackendError::Request(error.clone()));
                }
                requests.reshaped.insert(key.clone());
                requests.deferred.insert(key, (Asked::of(prompt), sampling));
                Err(BackendError::Deferred)
            }
            Some(Err(Unanswered::Transient(_))) | None => {
                requests.deferred.insert(key, (Asked::of(prompt), sampling));
                Err(BackendError::Deferred)
            }
        }
    }
}

impl Backend for BatchBackend {
    /// The name alone. There is no address, and the service is trusted to use that model.
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
        std::future::ready(self.look_up(Prompt::Text(&prompt), sampling)).boxed()
    }

    /// Sends nothing, so it needs no leave.
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        sampling: Sampling,
        _: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        std::future::ready(self.look_up(Prompt::Question(question), sampling)).boxed()
    }

    /// Sends nothing, so it needs no leave.
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

/// Whether a batch file may be written to this path: there is nothing, an empty file, a batch file
/// or a pipe.
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
