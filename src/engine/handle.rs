//! The model on a thread of its own. Requests reach it over a channel and take part in its batch; their text comes
//! back piece by piece. Dropping an [`Answer`] gives its request up.

use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use ewe::backend::{Backend, BackendError, Completion, FinishReason, Sampling};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};

use super::batch::{Config, Engine, Listener, Request, Stats};
use super::text::TextStream;
use crate::model::fingerprint::fingerprint;
use crate::model::hub::{self, Want};
use crate::model::tokenizer::Tokenizer;
use crate::model::{LoadedModel, open};

/// What an [`Answer`] yields: any number of texts, then one end.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// More text; pieces join to the whole.
    Text(String),
    /// The answer is complete.
    Done {
        /// Why it ended.
        finish_reason: FinishReason,
        /// Tokens generated, as in [`Completion`].
        completion_tokens: usize,
    },
}

/// A language model of this machine. Cheap to share by reference; dropping it stops its thread.
pub struct LocalBackend {
    name: String,
    tokenizer: Tokenizer,
    context: usize,
    capacity: usize,
    /// None only while dropping.
    requests: Option<mpsc::Sender<Vec<Request>>>,
    worker: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stats: Mutex<Stats>,
    /// Why the worker stopped before its time.
    failure: Mutex<Option<String>>,
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
        let context = model.info().context;
        let capacity = config.max_batch;
        let shared = Arc::new(Shared::default());
        let (requests, incoming) = mpsc::channel();
        let theirs = shared.clone();
        let worker = std::thread::Builder::new()
            .name("ewe-engine".to_string())
            .spawn(move || {
                let engine = Engine::new(model, kind, device, config);
                let run = std::panic::AssertUnwindSafe(|| work(engine, &incoming, &theirs));
                // libtorch's errors, out of memory among them, arrive as panics; requests end with the reason.
                if let Err(panic) = std::panic::catch_unwind(run) {
                    let reason = panic
                        .downcast_ref::<String>()
                        .map(String::as_str)
                        .or(panic.downcast_ref::<&str>().copied())
                        .unwrap_or("unknown");
                    *theirs.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_string());
                }
            })
            .context("cannot start the engine's thread")?;
        Ok(LocalBackend {
            name,
            tokenizer,
            context,
            capacity,
            requests: Some(requests),
            worker: Some(worker),
            shared,
        })
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The most tokens that prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Token ids of a prompt, with special tokens. Fails when it is empty or leaves no room in the context.
    pub fn encode(&self, prompt: &str) -> Result<Vec<i64>, BackendError> {
        self.checked(
            self.tokenizer
                .encode(prompt, true)
                .map_err(|e| BackendError::Request(format!("{e:#}")))?,
        )
    }

    fn checked(&self, ids: Vec<i64>) -> Result<Vec<i64>, BackendError> {
        if ids.is_empty() {
            return Err(BackendError::Request(
                "the prompt is empty, and this model has no begin-of-text token".into(),
            ));
        }
        if ids.len() >= self.context {
            return Err(BackendError::Request(format!(
                "the prompt has {} tokens, the model's context is {}\nhint: shorten the prompt",
                ids.len(),
                self.context
            )));
        }
        Ok(ids)
    }

    /// Starts to continue `prompt`, as [`LocalBackend::encode`] or a chat template made it.
    pub fn stream(&self, prompt: Vec<i64>, sampling: Sampling) -> Result<Answer, BackendError> {
        Ok(self.stream_all(vec![(prompt, sampling)])?.remove(0))
    }

    /// Starts several at once, which join the batch in this order whatever the threads' timing. So the same call to an
    /// idle model gives the same texts to the last bit.
    pub fn stream_all(&self, prompts: Vec<(Vec<i64>, Sampling)>) -> Result<Vec<Answer>, BackendError> {
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        for (prompt, sampling) in prompts {
            let prompt = self.checked(prompt)?;
            if sampling.schema.is_some() {
                return Err(BackendError::Request(
                    "a local model cannot be held to a JSON schema".to_string(),
                ));
            }
            let (events, incoming) = unbounded();
            let text = TextStream::after(&self.tokenizer, &prompt, &sampling.stop);
            let (prompt_tokens, shared) = (prompt.len(), self.shared.clone());
            answers.push(Answer {
                events: incoming,
                prompt_tokens,
                shared,
                ended: false,
            });
            let listener = Box::new(Teller { text, events });
            requests.push(Request {
                prompt,
                sampling,
                end_tokens: self.tokenizer.end_tokens().to_vec(),
                listener,
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

impl Shared {
    fn fatal(&self) -> BackendError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        BackendError::Fatal(format!(
            "the local model stopped: {}",
            failure.as_deref().unwrap_or("its thread ended")
        ))
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
    std::thread::scope(|scope| scope.spawn(|| open(dir, adapter, device, dtype)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// One answer, as it comes. Yields an error once if the model dies meanwhile.
pub struct Answer {
    events: UnboundedReceiver<Event>,
    prompt_tokens: usize,
    shared: Arc<Shared>,
    ended: bool,
}

impl Answer {
    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Waits for the whole.
    pub async fn completion(mut self) -> Result<Completion, BackendError> {
        let mut text = String::new();
        while let Some(event) = self.next().await {
            match event? {
                Event::Text(more) => text.push_str(&more),
                Event::Done {
                    finish_reason,
                    completion_tokens,
                } => {
                    let prompt_tokens = self.prompt_tokens;
                    return Ok(Completion {
                        text,
                        finish_reason,
                        prompt_tokens,
                        completion_tokens,
                    });
                }
            }
        }
        Err(self.shared.fatal())
    }
}

impl Stream for Answer {
    type Item = Result<Event, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = futures::ready!(self.events.poll_next_unpin(task));
        self.ended = !matches!(event, Some(Event::Text(_)));
        Poll::Ready(Some(event.ok_or_else(|| self.shared.fatal())))
    }
}

/// Turns tokens into events.
struct Teller {
    text: TextStream,
    events: UnboundedSender<Event>,
}

impl Teller {
    fn tell(&self, text: String) {
        if !text.is_empty() {
            // Nobody listening is noticed by `gone`.
            let _ = self.events.unbounded_send(Event::Text(text));
        }
    }
}

impl Listener for Teller {
    fn token(&mut self, id: i64) -> bool {
        let text = self.text.push(id).unwrap_or_default();
        self.tell(text);
        !self.text.stopped()
    }

    fn done(&mut self, finish_reason: FinishReason, completion_tokens: usize) {
        let text = self.text.finish().unwrap_or_default();
        self.tell(text);
        // What was held back may complete a stop string only now.
        let finish_reason = if self.text.stopped() {
            FinishReason::Stop
        } else {
            finish_reason
        };
        let _ = self.events.unbounded_send(Event::Done {
            finish_reason,
            completion_tokens,
        });
    }

    fn gone(&self) -> bool {
        self.events.is_closed()
    }
}

/// The worker: takes what has come, advances the batch, waits when there is nothing to do.
fn work(mut engine: Engine, incoming: &mpsc::Receiver<Vec<Request>>, shared: &Shared) {
    loop {
        if engine.idle() {
            match incoming.recv() {
                Ok(requests) => requests.into_iter().for_each(|request| engine.submit(request)),
                Err(_) => return,
            }
        }
        while let Ok(requests) = incoming.try_recv() {
            requests.into_iter().for_each(|request| engine.submit(request));
        }
        engine.advance();
        *shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = engine.stats();
        engine.deliver();
    }
}
