//! A model on a thread of its own, as a [`Backend`]. Requests reach the thread over a channel and
//! join its batch; text comes back as it is generated. Dropping an [`AnswerStream`] cancels its
//! request.

use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use ewe::backend::{Backend, BackendError, Completion, Sampling};
use ewe::text::{counted, format_size};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::answer::AnswerStream;
use super::batch::{BatchConfig, Engine, EngineRequest, RequestOptions, Stats};
use super::budget;
use super::grammar::{Grammar, GrammarSource, Grammars};
use super::state::WorkerState;
use super::text::TextStream;
use super::worker;
use crate::model::LoadedModel;
use crate::model::cache::KvCache;
use crate::model::text::tokenizer::Tokenizer;

/// A prompt to continue, in token ids.
#[derive(Debug, Clone)]
pub struct GenerationRequest {
    /// Token ids of [`LocalBackend::encode`] or of a chat template.
    pub prompt: Vec<i64>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Further options.
    pub options: RequestOptions,
}

/// The size of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvBudget {
    /// In bytes.
    pub bytes: usize,
    /// In tokens of this model, of prompts and answers.
    pub tokens: usize,
}

/// A model of this machine and its thread. Shared by reference; dropping it stops the thread.
pub struct LocalBackend {
    name: String,
    tokenizer: Tokenizer,
    end_tokens: Vec<i64>,
    context: usize,
    vocabulary: i64,
    capacity: usize,
    budget: KvBudget,
    /// Bytes of the prefix cache on a GPU, 0 within a KV cache of pages; none on the CPU.
    gpu_prefix_bytes: Option<usize>,
    /// None only while dropping.
    requests: Option<mpsc::Sender<Vec<EngineRequest>>>,
    worker: Option<JoinHandle<()>>,
    state: Arc<WorkerState>,
    /// Compiles grammars; made with the first.
    grammars: OnceLock<Result<Grammars, String>>,
}

impl LocalBackend {
    /// Starts the engine of a loaded model, which is called `name`.
    pub fn start(loaded: LoadedModel, name: String, config: BatchConfig) -> Result<LocalBackend> {
        let LoadedModel {
            model,
            tokenizer,
            kind,
            device,
            ..
        } = loaded;
        let (context, vocabulary) = (model.info().context, model.info().vocab);
        let budget = KvBudget {
            bytes: config.kv_bytes,
            tokens: KvCache::tokens_within(config.kv_bytes, model.info(), kind, device),
        };
        let capacity = config.max_batch;
        let gpu_prefix_bytes = match KvCache::has_pages(model.info(), kind, device) {
            true => Some(0),
            false => device.is_cuda().then_some(config.prefix_bytes),
        };
        let state = Arc::new(WorkerState::new(config.advice));
        let (requests, incoming) = mpsc::channel();
        let theirs = state.clone();
        let worker = std::thread::Builder::new()
            .name("ewe-engine".to_string())
            .spawn(move || worker::run(Engine::new(model, kind, device, config), &incoming, &theirs))
            .context("cannot start the engine's thread")?;
        Ok(LocalBackend {
            name,
            end_tokens: tokenizer.end_tokens().to_vec(),
            tokenizer,
            context,
            vocabulary,
            capacity,
            budget,
            gpu_prefix_bytes,
            requests: Some(requests),
            worker: Some(worker),
            state,
            grammars: OnceLock::new(),
        })
    }

    /// Returns the model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Also ends answers at this token: the one that ends messages in the chat template.
    pub fn also_end_at(&mut self, token: Option<i64>) {
        self.end_tokens.extend(token);
    }

    /// Returns the most tokens that prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Returns the size of the vocabulary: token ids are below it.
    pub fn vocabulary(&self) -> i64 {
        self.vocabulary
    }

    /// Compiles what an answer is held to. The first call takes some tenths of a second, later ones
    /// a few milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Grammars::of`] and [`Grammars::compile`].
    pub fn grammar(&self, source: &GrammarSource) -> Result<Grammar> {
        let grammars = self.grammars.get_or_init(|| {
            Grammars::of(&self.tokenizer, self.vocabulary, &self.end_tokens)
                .map_err(|error| format!("{error:#}"))
        });
        match grammars {
            Ok(grammars) => grammars.compile(source),
            Err(error) => bail!("{error}"),
        }
    }

    /// Returns the size of the KV cache.
    pub fn budget(&self) -> KvBudget {
        self.budget
    }

    /// Returns the most tokens of one request: the context, or the size of the KV cache if that is
    /// less.
    pub fn room(&self) -> usize {
        self.context.min(self.budget.tokens)
    }

    /// Returns one line for people about the KV cache and what it holds, and on a GPU about the
    /// limits that follow from its memory.
    pub fn budget_line(&self) -> String {
        let KvBudget { bytes, tokens } = self.budget;
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
        let more = self.gpu_prefix_bytes.map(|prefix_bytes| {
            let limits = budget::gpu_limits(self.capacity, prefix_bytes);
            format!("; {limits}")
        });
        format!(
            "{} for keys and values hold {}, {holds}{}",
            format_size(bytes as u64),
            counted(tokens, "token"),
            more.unwrap_or_default()
        )
    }

    /// Returns what the engine has done so far, and what it is doing now.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Returns why the model cannot go on, if so: its thread has ended, or step after step fails.
    pub fn broken(&self) -> Option<String> {
        let ended = self.worker.as_ref().is_none_or(JoinHandle::is_finished);
        self.state
            .broken()
            .or_else(|| ended.then(|| self.state.fatal().to_string()))
    }

    /// Waits until the model's GPU cannot compute any more, so that only a new process can answer.
    /// Returns the error that broke it. On the CPU this never happens.
    pub async fn device_lost(&self) -> String {
        self.state.device_lost().await
    }

    /// Returns the token ids of a prompt, with special tokens. Fails when the prompt is empty or
    /// leaves no room in the context.
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

    /// Returns the token ids, if there are some and they leave room in the context.
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

    /// Fails when the KV cache cannot hold prompt and answer. An answer ends where the context
    /// does.
    fn check_room(&self, prompt: usize, max_tokens: usize) -> Result<(), BackendError> {
        let most = prompt.saturating_add(max_tokens).min(self.context);
        if most <= self.budget.tokens {
            return Ok(());
        }
        Err(BackendError::Request(format!(
            "the request needs keys and values of {} ({prompt} of its prompt, up to {} of its answer), the \
             {} for them hold {}\nhint: {}",
            counted(most, "token"),
            most - prompt,
            format_size(self.budget.bytes as u64),
            self.budget.tokens,
            self.state.advice.room
        )))
    }

    /// Starts to continue `prompt`, the token ids of [`LocalBackend::encode`] or of a chat
    /// template.
    pub fn stream(&self, prompt: Vec<i64>, sampling: Sampling) -> Result<AnswerStream, BackendError> {
        Ok(self.stream_all(vec![(prompt, sampling)])?.remove(0))
    }

    /// Starts several requests at once. They join the batch in this order, whatever the timing of
    /// threads, so the same call to an idle model returns the same texts to the last bit.
    pub fn stream_all(&self, prompts: Vec<(Vec<i64>, Sampling)>) -> Result<Vec<AnswerStream>, BackendError> {
        let requests = prompts.into_iter().map(|(prompt, sampling)| GenerationRequest {
            prompt,
            sampling,
            options: RequestOptions::default(),
        });
        self.generate_all(requests.collect())
    }

    /// As [`LocalBackend::stream_all`], with all options. Fails, before any request is started, as
    /// [`LocalBackend::encode`] does, and when the KV cache cannot hold one of them.
    pub fn generate_all(&self, asked: Vec<GenerationRequest>) -> Result<Vec<AnswerStream>, BackendError> {
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        for request in asked {
            let (prompt, sampling) = (self.checked(request.prompt)?, request.sampling);
            let mut options = request.options;
            let least = usize::from(options.prompt_logprobs);
            self.check_room(prompt.len(), sampling.max_tokens.max(least))?;
            if let (Some(schema), None) = (&sampling.schema, &options.grammar) {
                let source = GrammarSource::Schema(schema.clone());
                let grammar = self.grammar(&source);
                options.grammar = Some(
                    grammar.map_err(|error| BackendError::Request(format!("the JSON Schema: {error:#}")))?,
                );
            }
            let text = TextStream::after(&self.tokenizer, &prompt, &sampling.stop)
                .stopping_behind(options.min_tokens)
                .showing(&self.tokenizer, &options.shown);
            let end_tokens = [&self.end_tokens[..], &options.stop_tokens].concat();
            let awaits_prompt = options.prompt_logprobs;
            let (answer, sender) = AnswerStream::pair(prompt.len(), awaits_prompt, text, &self.state);
            answers.push(answer);
            requests.push(EngineRequest {
                prompt,
                sampling,
                end_tokens,
                options,
                listener: Box::new(sender),
            });
        }
        let sent = self
            .requests
            .as_ref()
            .is_some_and(|channel| channel.send(requests).is_ok());
        if sent {
            Ok(answers)
        } else {
            Err(self.state.fatal())
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
