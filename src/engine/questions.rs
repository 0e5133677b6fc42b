//! A model of this machine that answers questions, laid out by a chat template as `ewe complete
//! --chat` lays rows out, or put as one text.

use anyhow::Result;
use ewe::backend::{Backend, BackendError, Completion, Leave, Question, Sampling};
use ewe::job::model::{EngineLimits, ModelSpec};
use ewe::job::rows::PromptFormat;
use futures::FutureExt;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};

use super::handle::LocalBackend;
use super::open;
use crate::model::text::chat_template::ChatMessage;
use crate::model::text::conversation_template::ConversationTemplate;

/// A model, and how questions are put to it.
pub struct QuestionBackend {
    backend: LocalBackend,
    /// None for texts to continue.
    template: Option<ConversationTemplate>,
    /// The model's fingerprint, and how it is asked.
    name: String,
}

impl QuestionBackend {
    /// Opens a model for questions.
    pub fn open(spec: &ModelSpec, limits: EngineLimits, format: &PromptFormat) -> Result<QuestionBackend> {
        let mut backend = open::batched(spec, limits)?;
        let template = match format {
            PromptFormat::Chat(choice) => Some(ConversationTemplate::for_inference(
                choice.as_ref(),
                backend.tokenizer(),
            )?),
            PromptFormat::Text => None,
        };
        if let Some(template) = &template {
            backend.also_end_at(template.end_token());
        }
        let name = format!("{} ({})", backend.model(), way(template.as_ref()));
        Ok(QuestionBackend {
            backend,
            template,
            name,
        })
    }

    /// Opens a model for prompts that are questions as well as texts to continue: asked by the
    /// template that came with it, and as texts if none did.
    pub fn open_either(spec: &ModelSpec, limits: EngineLimits) -> Result<QuestionBackend> {
        let mut asked = QuestionBackend::open(spec, limits, &PromptFormat::Chat(None))?;
        if asked
            .template
            .as_ref()
            .is_some_and(ConversationTemplate::is_fallback)
        {
            asked.template = None;
            asked.name = format!("{} ({})", asked.backend.model(), way(None));
        }
        Ok(asked)
    }

    /// Returns what people are told of it: the model, how it is asked, and what its KV cache holds;
    /// of several devices, each in a line of its own.
    pub fn line(&self) -> String {
        let asked = match &self.template {
            Some(template) => format!("asked by the template {}", template.name()),
            None => "asked by texts to continue".to_owned(),
        };
        let lines = self.backend.budget_lines();
        let between = if lines.len() == 1 { "; " } else { "\n" };
        format!("{}: {asked}{between}{}", self.backend.model(), lines.join("\n"))
    }
}

/// How a model is asked, in its name: answers by another template are other answers. The fallback
/// for models without a template also ends answers at other strings.
fn way(template: Option<&ConversationTemplate>) -> String {
    let Some(template) = template else {
        return "text".to_owned();
    };
    let digest = ewe::text::hex(&Sha256::digest(template.source()));
    let fallback = if template.is_fallback() { ", fallback" } else { "" };
    format!("template {}{fallback}", &digest[..8])
}

impl Backend for QuestionBackend {
    fn model(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        self.backend.capacity()
    }

    fn complete(
        &self,
        prompt: String,
        sampling: Sampling,
    ) -> BoxFuture<'_, Result<Completion, BackendError>> {
        self.backend.complete(prompt, sampling)
    }

    fn ask<'a>(
        &'a self,
        question: &'a Question,
        mut sampling: Sampling,
        leave: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        async move {
            leave.request().await?;
            let backend = &self.backend;
            let ids = match &self.template {
                Some(template) => {
                    sampling.stop.extend_from_slice(template.stop());
                    let messages =
                        ChatMessage::of_row(&question.system, &question.instruction, &question.input);
                    template
                        .question(backend.tokenizer(), &messages)
                        .map_err(|error| BackendError::Request(format!("{error:#}")))?
                }
                None => backend.encode(&question.text())?,
            };
            backend.answer(ids, sampling).await
        }
        .boxed()
    }
}
