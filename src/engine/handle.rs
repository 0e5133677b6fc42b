//! A model of this machine as a [`Backend`], on one device or on several. Requests reach the
//! threads of its [engines](Engines) and join their batches; text comes back as it is generated.
//! Dropping an [`AnswerStream`] cancels its request.

use std::sync::OnceLock;

use anyhow::{Result, bail};
use ewe::backend::{Backend, BackendError, Completion, Sampling};
use ewe::choice;
use ewe::text::{counted, format_size};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::answer::AnswerStream;
use super::batch::{BatchConfig, Begun, EngineRequest, RequestOptions, Stats};
pub use super::engines::KvBudget;
use super::engines::{DeviceFailure, Engines, PlacedModel};
use super::grammar::{Grammar, GrammarSource, Grammars};
use super::logprobs::Logprobs;
use super::state::stopped;
use super::text::TextStream;
use crate::model::LoadedModel;
use crate::model::text::token_bytes::TokenBytes;
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

/// A model of this machine. Shared by reference; dropping it stops the threads of its engines.
pub struct LocalBackend {
    name: String,
    tokenizer: Tokenizer,
    end_tokens: Vec<i64>,
    context: usize,
    vocabulary: i64,
    /// Of the smallest KV cache.
    budget: KvBudget,
    /// What to do about a request that is too large for it.
    room_advice: &'static str,
    engines: Engines,
    /// Compiles grammars; made with the first.
    grammars: OnceLock<Result<Grammars, String>>,
    /// The texts of tokens; read with the first request for the likelihood of choices.
    token_bytes: OnceLock<TokenBytes>,
}

impl LocalBackend {
    /// Starts the engine of a loaded model, which is called `name`.
    #[cfg(test)]
    pub fn start(loaded: LoadedModel, name: String, config: BatchConfig) -> Result<LocalBackend> {
        let device = match loaded.device {
            tch::Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".to_owned(),
        };
        LocalBackend::start_all(vec![(device, loaded, config)], Vec::new(), name)
    }

    /// Starts the engines of the same model on several devices, at least one; `absent` are those
    /// that could not hold it.
    pub fn start_all(
        loaded: Vec<(String, LoadedModel, BatchConfig)>,
        absent: Vec<DeviceFailure>,
        name: String,
    ) -> Result<LocalBackend> {
        let (mut placed, mut first) = (Vec::new(), None);
        for (device_name, loaded, config) in loaded {
            let LoadedModel {
                model,
                tokenizer,
                kind,
                device,
                ..
            } = loaded;
            let sizes = (model.info().context, model.info().vocab);
            first.get_or_insert((tokenizer, sizes, config.advice.room));
            placed.push(PlacedModel {
                name: device_name,
                model,
                kind,
                device,
                config,
            });
        }
        let Some((tokenizer, (context, vocabulary), room_advice)) = first else {
            bail!("there is no device for the model");
        };
        let engines = Engines::start(placed, absent)?;
        Ok(LocalBackend {
            name,
            end_tokens: tokenizer.end_tokens().to_vec(),
            tokenizer,
            context,
            vocabulary,
            budget: engines.smallest_budget(),
            room_advice,
            engines,
            grammars: OnceLock::new(),
            token_bytes: OnceLock::new(),
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

    /// Returns the engines.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Returns the size of the KV cache; of the smallest, if there are several.
    #[cfg(test)]
    pub fn budget(&self) -> KvBudget {
        self.budget
    }

    /// Returns the most tokens of one request: the context, or the size of the KV cache if that is
    /// less.
    pub fn room(&self) -> usize {
        self.context.min(self.budget.tokens)
    }

    /// Returns one line for people for each device about the KV cache and what it holds, and on a
    /// GPU about the limits that follow from its memory.
    pub fn budget_lines(&self) -> Vec<String> {
        self.engines.budget_lines(self.context)
    }

    /// Returns what the engines have done so far, and what they are doing now, together.
    pub fn stats(&self) -> Stats {
        self.engines.stats()
    }

    /// Returns why the model cannot go on, if so: the threads of its engines have ended, or step
    /// after step fails.
    pub fn broken(&self) -> Option<String> {
        self.engines.broken()
    }

    /// Waits until none of the model's GPUs can compute any more, so that only a new process can
    /// answer. Returns the error that broke one. On the CPU this never happens.
    pub async fn device_lost(&self) -> String {
        self.engines.devices_lost().await
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
            self.room_advice
        )))
    }

    /// Starts to continue `prompt`, the token ids of [`LocalBackend::encode`] or of a chat
    /// template.
    pub fn stream(&self, prompt: Vec<i64>, sampling: Sampling) -> Result<AnswerStream, BackendError> {
        Ok(self.stream_all(vec![(prompt, sampling)])?.remove(0))
    }

    /// Continues `prompt` as [`LocalBackend::stream`] does, to the end, and tells how likely each
    /// of [`Sampling::choices`] was.
    pub async fn answer(&self, prompt: Vec<i64>, sampling: Sampling) -> Result<Completion, BackendError> {
        let words = sampling.choices.clone();
        let answer = self.stream(prompt, sampling)?;
        if words.is_empty() {
            return answer.completion().await;
        }
        let bytes = self.token_bytes.get_or_init(|| TokenBytes::of(&self.tokenizer));
        let mut tokens = Vec::new();
        let mut show = |logprobs: Logprobs| tokens.push(logprobs.reported(bytes));
        let mut completion = answer.completion_with(&mut show).await?;
        completion.places = Some(choice::places(&completion.text, &tokens, &words));
        Ok(completion)
    }

    /// Starts several requests at once. They join the batch in this order, whatever the timing of
    /// threads, so the same call to an idle model returns the same texts to the last bit. Of
    /// several engines, the timing decides which one answers.
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
            if !sampling.choices.is_empty() {
                options.logprobs = options.logprobs.max(Some(choice::LIKELIEST));
            }
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
            let (answer, sender) =
                AnswerStream::pair(prompt.len(), awaits_prompt, text, self.engines.orphans());
            answers.push(answer);
            requests.push(EngineRequest {
                prompt,
                sampling,
                end_tokens,
                options,
                listener: Box::new(sender),
                begun: Begun::default(),
            });
        }
        self.engines.submit(requests).map_err(stopped)?;
        Ok(answers)
    }
}

impl Backend for LocalBackend {
    fn model(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        self.engines.capacity()
    }

    fn complete(
        &self,
        prompt: String,
        sampling: Sampling,
    ) -> BoxFuture<'_, Result<Completion, BackendError>> {
        async move { self.answer(self.encode(&prompt)?, sampling).await }.boxed()
    }
}
