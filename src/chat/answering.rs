//! What both endpoints do with a request: read it, reserve places for its answers, encode its
//! prompts, and pass them to the engine.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use ewe::backend::Sampling;
use ewe::text::{counted, format_error};
use tokio::sync::OwnedSemaphorePermit;

use super::answers::{PendingAnswers, Selection};
use super::delta::Deltas;
use super::echo::{self, Echo};
use super::error::ApiError;
use super::metrics::RequestMetrics;
use super::request::{ChatRequest, Prompt};
use super::server::ServerState;
use super::tools::format::ToolFormat;
use super::tools::stream::ToolReading;
use super::wire::{CompletionKind, ResponseHead};
use crate::engine::batch::RequestOptions;
use crate::engine::handle::GenerationRequest;

/// `POST /v1/completions`.
pub async fn completions(
    State(server): State<Arc<ServerState>>,
    Extension(metrics): Extension<Arc<RequestMetrics>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = server.body_limits.body(request).await?;
    let read = |json: &[u8]| {
        let (mut request, prompts) = ChatRequest::completion(json)?;
        let model = server.chosen(&request)?;
        server.prepare(model, &mut request)?;
        let permit = server.reserve(request.candidates.saturating_mul(prompts.len()))?;
        let prompts = prompts.into_iter().map(|prompt| server.encode(prompt, &request));
        let mut prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        if request.options.prompt_logprobs {
            let tokens = prompts.iter().map(|prompt| prompt.ids.len()).sum();
            echo::check_logprobs(tokens, &request)?;
            for prompt in &mut prompts {
                prompt.echo.add_tokens(server.backend.tokenizer(), &prompt.ids)?;
            }
        }
        Ok((request, prompts, permit, model))
    };
    let (request, prompts, permit, model) = server.body_limits.work(&body, read).await?;
    drop(body);
    server
        .answer(AnswerShape::text(model), &request, prompts, metrics, permit)
        .await
}

/// `POST /v1/chat/completions`.
pub async fn chat(
    State(server): State<Arc<ServerState>>,
    Extension(metrics): Extension<Arc<RequestMetrics>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = server.body_limits.body(request).await?;
    let read = |json: &[u8]| {
        let (mut request, conversation) = ChatRequest::chat(json)?;
        let model = server.chosen(&request)?;
        let (tokenizer, most) = (server.backend.tokenizer(), server.backend.context());
        let template = &server.models[model].template;
        let tools = conversation.tools.as_ref().map(|tools| {
            let format = ToolFormat::of(template.source(), |token| tokenizer.id(token).is_some());
            let asked = request.format.take();
            let is_held = asked.is_some();
            request.format = tools.beside(asked, format.calls(tools, tokenizer));
            request.options.shown = format.special(tokenizer);
            ToolReading::of(tools, format, is_held)
        });
        server.prepare(model, &mut request)?;
        let permit = server.reserve(request.candidates)?;
        let ids = super::prompt(template, tokenizer, &conversation, most)?;
        let ids = ids.ok_or_else(|| server.too_long("messages", None))?;
        request.sampling.stop.extend_from_slice(template.stop());
        let prompt = server.checked(ids, Echo::default(), "messages")?;
        let shape = AnswerShape {
            kind: CompletionKind::Chat,
            model,
            tools,
        };
        Ok((request, prompt, permit, shape))
    };
    let (request, prompt, permit, shape) = server.body_limits.work(&body, read).await?;
    drop(body);
    server
        .answer(shape, &request, vec![prompt], metrics, permit)
        .await
}

/// A prompt in token ids, fewer than the model's context.
struct EncodedPrompt {
    ids: Vec<i64>,
    /// What each answer begins with.
    echo: Echo,
}

/// How answers are told.
struct AnswerShape {
    /// The endpoint.
    kind: CompletionKind,
    /// Which of the models that are served answers.
    model: usize,
    /// How calls of tools are taken out of the text; none where there are no tools.
    tools: Option<ToolReading>,
}

impl AnswerShape {
    /// Returns that of `/v1/completions`.
    fn text(model: usize) -> AnswerShape {
        AnswerShape {
            kind: CompletionKind::Text,
            model,
            tools: None,
        }
    }
}

impl ServerState {
    /// Returns which model a request is for, among those that are served. Fails when it names
    /// another.
    fn chosen(&self, request: &ChatRequest) -> Result<usize, ApiError> {
        let Some(name) = request.model.as_deref() else {
            return Ok(0);
        };
        match self.models.iter().position(|model| model.names.has(name)) {
            Some(model) => Ok(model),
            // Clients may send whatever their own settings call a model, if there is only one.
            None if self.models.len() == 1 => self.models[0].names.check(name).map(|()| 0),
            None => Err(super::models::unknown(name, &self.models)),
        }
    }

    /// Fills in what the engine needs of a request to this model: its adapter, what ends its
    /// answers, and their format.
    fn prepare(&self, model: usize, request: &mut ChatRequest) -> Result<(), ApiError> {
        let model = &self.models[model];
        request.options.adapter = model.adapter;
        if !request.sampling.ignore_eos {
            request.options.stop_tokens.extend_from_slice(&model.end_tokens);
        }
        if let Some(format) = &request.format {
            request.options.grammar = Some(format.compile(&self.backend)?);
        }
        Ok(())
    }

    /// Encodes a prompt of `/v1/completions`.
    fn encode(&self, prompt: Prompt, request: &ChatRequest) -> Result<EncodedPrompt, ApiError> {
        let tokenizer = self.backend.tokenizer();
        let unusable = |error: anyhow::Error| ApiError::parameter("prompt", format_error(&error));
        let (ids, echo) = match prompt {
            Prompt::Text(text) => {
                let ids = tokenizer
                    .encode_within(&text, request.special, self.backend.context())
                    .map_err(unusable)?
                    .ok_or_else(|| self.too_long("prompt", None))?;
                if ids.is_empty() {
                    return Err(ApiError::parameter("prompt", empty_prompt(request.special)));
                }
                (ids, if request.echo { text } else { String::new() })
            }
            Prompt::Ids(ids) => {
                let vocabulary = self.backend.vocabulary();
                if let Some(id) = ids.iter().find(|&&id| id < 0 || id >= vocabulary) {
                    let message = format!("there is no token {id}: the model has {vocabulary}");
                    return Err(ApiError::parameter("prompt", message));
                }
                if ids.len() >= self.backend.context() {
                    return Err(self.too_long("prompt", Some(ids.len())));
                }
                let echo = if request.echo {
                    tokenizer.decode(&ids).map_err(unusable)?
                } else {
                    String::new()
                };
                (ids, echo)
            }
        };
        self.checked(ids, Echo::of(echo), "prompt")
    }

    /// Fails on a prompt that leaves no room in the context; `of` is the parameter that it comes
    /// from.
    fn checked(&self, ids: Vec<i64>, echo: Echo, of: &str) -> Result<EncodedPrompt, ApiError> {
        if ids.len() >= self.backend.context() {
            return Err(self.too_long(of, Some(ids.len())));
        }
        Ok(EncodedPrompt { ids, echo })
    }

    /// Answers `prompts`, with as many choices each as the request asks for.
    async fn answer(
        self: Arc<Self>,
        shape: AnswerShape,
        request: &ChatRequest,
        prompts: Vec<EncodedPrompt>,
        metrics: Arc<RequestMetrics>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response, ApiError> {
        let number = self.request_count.fetch_add(1, Ordering::Relaxed);
        let choices = prompts
            .iter()
            .flat_map(|prompt| self.choices(request, prompt, number));
        let answers = self.backend.generate_all(choices.collect())?;
        let prompt_tokens = prompts.iter().map(|prompt| prompt.ids.len()).sum();
        let echoes = prompts
            .into_iter()
            .flat_map(|prompt| std::iter::repeat_n(prompt.echo, request.candidates));
        let answers = PendingAnswers {
            head: ResponseHead::new(
                shape.kind,
                number,
                self.models[shape.model].names.first(),
                request.options.logprobs,
            ),
            prompt_tokens,
            choices: answers.len(),
            selection: Selection {
                of: request.candidates,
                best: request.choices,
            },
            deltas: Deltas::of(answers, echoes, shape.tools.as_ref()),
            server: self,
            metrics,
            _permit: permit,
        };
        if request.stream {
            return Ok(answers.stream(request.usage));
        }
        answers.whole().await
    }

    /// Returns the error of a prompt that is too long; `tokens` is its length, if it was counted to
    /// the end.
    fn too_long(&self, of: &str, tokens: Option<usize>) -> ApiError {
        let context = self.backend.context();
        let has = match tokens {
            Some(tokens) => counted(tokens, "token"),
            None => "more tokens than fit".to_string(),
        };
        let message =
            format!("the prompt has {has}, the model's context is {context}\nhint: shorten the prompt");
        ApiError::parameter(of, message).coded("context_length_exceeded")
    }

    /// Returns the requests for the choices of one prompt. Each has a seed of its own, which does
    /// not depend on the other prompts.
    fn choices(&self, request: &ChatRequest, prompt: &EncodedPrompt, number: u64) -> Vec<GenerationRequest> {
        let seed = if request.seeded {
            request.sampling.seed
        } else {
            self.seeds.hash_one(number)
        };
        let max_tokens = if request.limited {
            request.sampling.max_tokens
        } else {
            // As many as there is room for.
            let left = self.backend.room().saturating_sub(prompt.ids.len());
            request.sampling.max_tokens.min(left.max(1))
        };
        // Candidates are compared by theirs.
        let is_compared = request.candidates > request.choices;
        let logprobs = request.options.logprobs.or(is_compared.then_some(0));
        let choice = |choice: usize| GenerationRequest {
            prompt: prompt.ids.clone(),
            sampling: Sampling {
                max_tokens,
                seed: seed.wrapping_add(choice as u64),
                ..request.sampling.clone()
            },
            options: RequestOptions {
                logprobs,
                ..request.options.clone()
            },
        };
        (0..request.candidates).map(choice).collect()
    }

    /// Reserves places for `answers` answers. Fails when all places are taken.
    fn reserve(&self, answers: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        if answers > self.max_answers {
            let message = format!(
                "the request wants {}, {} may run or wait\nhint: --max-waiting",
                counted(answers, "answer"),
                self.max_answers
            );
            return Err(ApiError::parameter("n", message));
        }
        let permits = self.permits.clone().try_acquire_many_owned(answers as u32);
        permits.map_err(|_| ApiError::busy("too many requests are waiting\nhint: try again later"))
    }
}

/// Returns why a prompt without tokens is refused; `special` is `add_special_tokens`.
fn empty_prompt(special: bool) -> &'static str {
    match special {
        true => "`prompt` is empty, and this model has no begin-of-text token that could stand before it",
        false => {
            "`prompt` is empty, and with `add_special_tokens`: false no token stands before it\nhint: leave `add_special_tokens` away, \
             where the model has a begin-of-text token"
        }
    }
}
