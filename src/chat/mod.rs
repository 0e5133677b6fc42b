//! Talking to a model: [`terminal`] line by line, [`serve`] over HTTP in OpenAI's dialect. What belongs to the server, in the
//! order in which a request meets it:
//!
//! - [`access`]: who may come.
//! - [`body`]: bodies, how large and how many at once.
//! - [`request`]: what a request asks for, with its [`messages`], out of [`fields`] of JSON, some of which have [`names`] only;
//!   [`layout`] is what a chat says about its template, [`error`] what it hears if something is not served.
//! - [`answering`]: from there to the engine.
//! - [`delta`]: what the engine says, made into pieces of answers; [`answers`] sends them in the shapes of [`wire`].
//! - [`models`]: what the model is called, here and by requests.
//! - [`metrics`]: figures for Prometheus.

mod access;
mod answering;
mod answers;
mod body;
mod delta;
mod error;
mod fields;
mod layout;
mod messages;
mod metrics;
mod models;
mod names;
mod request;
pub mod serve;
pub mod terminal;
mod wire;

use crate::model::conversation_template::ConversationTemplate;
use crate::model::tokenizer::Tokenizer;
use error::ApiError;
use request::Conversation;

/// Turns a conversation into a prompt in the form in which the model is asked; none where it has more than `most` tokens. Fails as
/// [`ConversationTemplate::prompt`] does, and on what the template does not read.
fn prompt(
    form: &ConversationTemplate,
    tokenizer: &Tokenizer,
    said: &Conversation,
    most: usize,
) -> Result<Option<Vec<i64>>, ApiError> {
    said.layout.check(form)?;
    let mut messages = said.messages.iter().enumerate();
    if form.stands_in()
        && let Some((index, name)) =
            messages.find_map(|(index, message)| Some((index, message.more.keys().next()?)))
    {
        let place = format!("messages[{index}].{name}");
        let message =
            format!("`{place}`: the model has no chat template that could read it\nhint: leave it away");
        return Err(ApiError::parameter(&place, message).coded("unsupported_parameter"));
    }
    form.prompt(tokenizer, &said.messages, &said.layout.rendering, most)
        .map_err(|error| ApiError::parameter("messages", ewe::cli::told(&error)))
}
