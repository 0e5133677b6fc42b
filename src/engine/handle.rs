//! The model on a thread of its own. Requests reach it over a channel and take part in its batch; their text comes
//! back piece by piece. Dropping an [`Answer`] gives its request up.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use ewe::backend::{Backend, BackendError, Completion, Sampling};
use ewe::cli::args::size;
use ewe::text::counted;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::answer::Answer;
use super::batch::{Config, Engine, Request, Stats, Wants};
use super::text::TextStream;
use super::worker::{Shared, work};
use crate::model::cache::KvCache;
use crate::model::fault;
use crate::model::fingerprint::fingerprint;
use crate::model::hub::{self, Want};
use crate::model::tokenizer::Tokenizer;
use crate::model::{LoadedModel, open};

/// A prompt to continue, in token ids, and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Ask {
    /// As [`LocalBackend::encode`] or a chat template made it.
    pub prompt: Vec<i64>,
    /// How to choose.
    pub sampling: Sampling,
    /// What else is wanted.
    pub wants: Wants,
}

/// What there is for keys and values of running requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// In bytes.
    pub bytes: usize,
    /// In tokens of this model, prompts and answers together.
    pub tokens: usize,
}

/// A language model of this machine. Cheap to share by reference; dropping it stops its thread.
pub struct LocalBackend {
    name: String,
    tokenizer: Tokenizer,
    end_tokens: Vec<i64>,
    context: usize,
    vocabulary: i64,
    capacity: usize,
    budget: Budget,
    /// None only while dropping.
    requests: Option<mpsc::Sender<Vec<Request>>>,
    worker: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl LocalBackend {
    /// Opens a model, a directory or an id of the hub, as [`open`] does, and starts it.
    pub fn open(
        dir: &Path,
        adapter: Option<&Path>,
        device: &str,
        dtype: &str,
        config: Config,
    ) -> Result<LocalBackend> {
        let dir = hub::resolve(dir, Want::Model)?;
        let loaded = load(&dir, adapter, device, dtype)?;
        let name = fingerprint(&dir, adapter, loaded.kind)?;
        LocalBackend::start(loaded, name, config)
    }

    /// Starts a loaded model under `name`.
    pub fn start(loaded: LoadedModel, name: String, config: Config) -> Result<LocalBackend> {
        let LoadedModel {
            model,
            tokenizer,
            kind,
            device,
            ..
        } = loaded;
        let (context, vocabulary) = (model.info().context, model.info().vocab);
        let bytes_per_token = KvCache::bytes_per_token(model.info(), kind).max(1);
        let budget = Budget {
            bytes: config.kv_bytes,
            tokens: config.kv_bytes / bytes_per_token,
        };
        let capacity = config.max_batch;
        let shared = Arc::new(Shared::new(config.advice));
        let (requests, incoming) = mpsc::channel();
        let theirs = shared.clone();
        let worker = std::thread::Builder::new()
            .name("ewe-engine".to_string())
            .spawn(move || work(Engine::new(model, kind, device, config), &incoming, &theirs))
            .context("cannot start the engine's thread")?;
        Ok(LocalBackend {
            name,
            end_tokens: tokenizer.end_tokens().to_vec(),
            tokenizer,
            context,
            vocabulary,
            capacity,
            budget,
            requests: Some(requests),
            worker: Some(worker),
            shared,
        })
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Ends answers at this token, too: the one that ends a turn in the form in which the model is asked.
    pub fn also_end_at(&mut self, token: Option<i64>) {
        self.end_tokens.extend(token);
    }

    /// The most tokens that prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Token ids are below this.
    pub fn vocabulary(&self) -> i64 {
        self.vocabulary
    }

    /// What there is for keys and values.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// The most tokens that one request may come to: the context, or what the budget holds if that is less.
    pub fn room(&self) -> usize {
        self.context.min(self.budget.tokens)
    }

    /// One line on the budget and what it holds.
    pub fn budget_line(&self) -> String {
        let Budget { bytes, tokens } = self.budget;
        let whole = tokens / self.context;
        let holds = match whole {
            0 => format!(
                "less than the model's context of {}, so longer requests are refused",
                self.context
            ),
            _ => format!(
                "{} of the model's whole context of {}",
                counted(whole, "request"),
                self.context
            ),
        };
        format!(
            "{} for keys and values hold {}, {holds}",
            size::shown(bytes as u64),
            counted(tokens, "token")
        )
    }

    /// What has been done so far, and what is being done now.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Why the model cannot go on, if so: its thread has ended, or step after step fails.
    pub fn broken(&self) -> Option<String> {
        let ended = self.worker.as_ref().is_none_or(JoinHandle::is_finished);
        self.shared
            .broken()
            .or_else(|| ended.then(|| self.shared.fatal().to_string()))
    }

    /// Token ids of a prompt, with special tokens. Fails when it is empty or leaves no room in the context.
    pub fn encode(&self, prompt: &str) -> Result<Vec<i64>, BackendError> {
        let ids = self
            .tokenizer
            .encode(prompt, true)
            .map_err(|e| BackendError::Request(format!("{e:#}")))?;
        if ids.is_empty() {
            return Err(BackendError::Request(
                "the prompt is empty, and this model has no begin-of-text token".into(),
            ));
        }
        self.checked(ids)
    }

    fn checked(&self, ids: Vec<i64>) -> Result<Vec<i64>, BackendError> {
        if ids.is_empty() {
            return Err(BackendError::Request(
                "the prompt has no tokens, and a model needs one to go on from".into(),
            ));
        }
        if ids.len() >= self.context {
            return Err(BackendError::Request(format!(
                "the prompt has {}, the model's context is {}\nhint: shorten the prompt",
                counted(ids.len(), "token"),
                self.context
            )));
        }
        Ok(ids)
    }

    /// Whether prompt and answer have room in the budget; an answer ends where the context does.
    fn has_room(&self, prompt: usize, max_tokens: usize) -> Result<(), BackendError> {
        let most = prompt.saturating_add(max_tokens).min(self.context);
        if most <= self.budget.tokens {
            return Ok(());
        }
        Err(BackendError::Request(format!(
            "the request needs keys and values of {} ({prompt} of its prompt, up to {} of its answer), the \
             {} for them hold {}\nhint: {}",
            counted(most, "token"),
            most - prompt,
            size::shown(self.budget.bytes as u64),
            self.budget.tokens,
            self.shared.advice.room
        )))
    }

    /// Starts to continue `prompt`, as [`LocalBackend::encode`] or a chat template made it.
    pub fn stream(&self, prompt: Vec<i64>, sampling: Sampling) -> Result<Answer, BackendError> {
        Ok(self.stream_all(vec![(prompt, sampling)])?.remove(0))
    }

    /// Starts several at once, which join the batch in this order whatever the threads' timing. So the same call to an
    /// idle model gives the same texts to the last bit.
    pub fn stream_all(&self, prompts: Vec<(Vec<i64>, Sampling)>) -> Result<Vec<Answer>, BackendError> {
        let asks = prompts.into_iter().map(|(prompt, sampling)| Ask {
            prompt,
            sampling,
            wants: Wants::default(),
        });
        self.ask_all(asks.collect())
    }

    /// The same, with all that can be asked for. Fails, before anything is started, as [`LocalBackend::encode`] does, and
    /// when one of them has no room in the budget.
    pub fn ask_all(&self, asks: Vec<Ask>) -> Result<Vec<Answer>, BackendError> {
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        for ask in asks {
            let (prompt, sampling) = (self.checked(ask.prompt)?, ask.sampling);
            self.has_room(prompt.len(), sampling.max_tokens)?;
            if sampling.schema.is_some() {
                return Err(BackendError::Request(
                    "a local model cannot be held to a JSON schema".to_string(),
                ));
            }
            let text = TextStream::after(&self.tokenizer, &prompt, &sampling.stop)
                .stopping_behind(ask.wants.min_tokens);
            let (answer, teller) = Answer::pair(prompt.len(), text, &self.shared);
            answers.push(answer);
            requests.push(Request {
                prompt,
                sampling,
                end_tokens: self.end_tokens.clone(),
                wants: ask.wants,
                listener: Box::new(teller),
            });
        }
        let sent = self
            .requests
            .as_ref()
            .is_some_and(|channel| channel.send(requests).is_ok());
        if sent {
            Ok(answers)
        } else {
            Err(self.shared.fatal())
        }
    }
}

impl Backend for LocalBackend {
    fn model(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn complete(
        &self,
        prompt: String,
        sampling: Sampling,
    ) -> BoxFuture<'_, Result<Completion, BackendError>> {
        async move { self.stream(self.encode(&prompt)?, sampling)?.completion().await }.boxed()
    }
}

impl Drop for LocalBackend {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Opens a model on a thread that ends with it. A thread that has computed in parallel keeps its helpers, and with those
/// of a second one libtorch's threads outnumber the cores: they then sleep between any two operations instead of waiting
/// for the next, and to wake them costs more than most operations do.
fn load(dir: &Path, adapter: Option<&Path>, device: &str, dtype: &str) -> Result<LoadedModel> {
    let load = || fault::caught(|| open(dir, adapter, device, dtype));
    std::thread::scope(|scope| scope.spawn(load).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
