//! Talking to a model: [`terminal`] line by line, [`serve`] over HTTP with OpenAI's API. The parts
//! of the server, in the order in which a request meets them:
//!
//! - [`server`]: what all requests share.
//! - [`access`]: which requests are allowed.
//! - [`body`]: limits on bodies.
//! - [`request`]: what a request asks for, with its [`messages`], read from JSON [`fields`];
//!   [`names`] lists parameters without an effect, [`template_options`] reads those of the chat
//!   template, [`structured`] the format of an answer, [`sampling`] how tokens are chosen,
//!   [`tools`] what may be called; [`error`] has the errors.
//! - [`answering`]: from there to the engine; [`echo`]: the prompt as the beginning of an answer.
//! - [`delta`]: the engine's events as parts of an answer; [`answers`] sends them in the formats of
//!   [`wire`].
//! - [`models`]: what the model is called.
//! - [`tokenize`]: tokens of a text, without an answer.
//! - [`metrics`]: metrics for Prometheus.

mod access;
mod answering;
mod answers;
mod body;
mod delta;
mod echo;
mod error;
mod fields;
mod messages;
mod metrics;
mod models;
mod names;
mod request;
mod sampling;
pub mod serve;
mod server;
mod structured;
mod template_options;
pub mod terminal;
mod tokenize;
mod tools;
mod wire;

use crate::model::text::conversation_template::ConversationTemplate;
use crate::model::text::tokenizer::Tokenizer;
use error::ApiError;
use ewe::text::format_error;
use request::Conversation;

/// Returns the prompt of a conversation in token ids; none if it has more than `most` tokens. Fails
/// as [`ConversationTemplate::prompt`] does, and on fields that the template does not read.
fn prompt(
    template: &ConversationTemplate,
    tokenizer: &Tokenizer,
    conversation: &Conversation,
    most: usize,
) -> Result<Option<Vec<i64>>, ApiError> {
    conversation.template.check(template)?;
    let mut messages = conversation.messages.iter().enumerate();
    if template.is_fallback()
        && let Some((index, name)) =
            messages.find_map(|(index, message)| Some((index, message.more.keys().next()?)))
    {
        let place = format!("messages[{index}].{name}");
        let message =
            format!("`{place}`: the model has no chat template that could read it\nhint: leave it away");
        return Err(ApiError::parameter(&place, message).coded("unsupported_parameter"));
    }
    check_tools(template, conversation)?;
    let mut rendering = conversation.template.rendering.clone();
    if let Some(tools) = &conversation.tools {
        rendering.variables.insert(TOOLS.to_owned(), tools.sent.clone());
    }
    template
        .prompt(tokenizer, &conversation.messages, &rendering, most)
        .map_err(|error| ApiError::parameter("messages", format_error(&error)))
}

/// The variable of chat templates that has the tools.
const TOOLS: &str = "tools";

/// Fails on tools, calls and their results that the template does not read: the model would not
/// learn of them.
fn check_tools(template: &ConversationTemplate, conversation: &Conversation) -> Result<(), ApiError> {
    const HINT: &str = "take a model whose template has tools, or --template with such a file";
    let unread = |place: &str, what: &str| {
        let message = format!("`{place}`: the model's chat template does not read {what}\nhint: {HINT}");
        Err(ApiError::parameter(place, message).coded("unsupported_parameter"))
    };
    if conversation.tools.is_some() && !template.variables().contains(TOOLS) {
        return unread(TOOLS, "tools");
    }
    for (index, message) in conversation.messages.iter().enumerate() {
        for (name, is_there) in [
            ("tool_calls", message.more.contains_key("tool_calls")),
            ("role", message.role == "tool"),
        ] {
            let word = if name == "role" { "tool" } else { name };
            if is_there && !template.source().contains(word) {
                let place = format!("messages[{index}].{name}");
                return unread(&place, "calls of tools and their results");
            }
        }
    }
    Ok(())
}
