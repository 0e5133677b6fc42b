//! Talking to a model: [`terminal`] line by line, [`serve`] over HTTP in OpenAI's dialect. What belongs to the server, in the
//! order in which a request meets it:
//!
//! - [`door`]: who may come.
//! - [`desk`]: bodies, how large and how many at once.
//! - [`order`]: what a request asks for, with its [`messages`], out of [`fields`] of JSON, some of which have [`names`] only;
//!   [`layout`] is what a chat says about its template, [`refusal`] what it hears if something is not served.
//! - [`answering`]: from there to the engine.
//! - [`pieces`]: what the engine says, made into pieces of answers; [`answers`] sends them in the shapes of [`wire`].
//! - [`models`]: what the model is called, here and by requests.
//! - [`metrics`]: figures for Prometheus.

mod answering;
mod answers;
mod desk;
mod door;
mod fields;
mod layout;
mod messages;
mod metrics;
mod models;
mod names;
mod order;
mod pieces;
mod refusal;
pub mod serve;
pub mod terminal;
mod wire;

use crate::model::chat_form::ChatForm;
use crate::model::tokenizer::Tokenizer;
use order::Conversation;
use refusal::Refusal;

/// Turns a conversation into a prompt in the form in which the model is asked; none where it has more than `most` tokens. Fails as
/// [`ChatForm::prompt`] does, and on what the template does not read.
fn prompt(
    form: &ChatForm,
    tokenizer: &Tokenizer,
    said: &Conversation,
    most: usize,
) -> Result<Option<Vec<i64>>, Refusal> {
    said.layout.check(form)?;
    let mut messages = said.messages.iter().enumerate();
    if form.stands_in()
        && let Some((index, name)) =
            messages.find_map(|(index, message)| Some((index, message.more.keys().next()?)))
    {
        let place = format!("messages[{index}].{name}");
        let message =
            format!("`{place}`: the model has no chat template that could read it\nhint: leave it away");
        return Err(Refusal::parameter(&place, message).coded("unsupported_parameter"));
    }
    form.prompt(tokenizer, &said.messages, &said.layout.rendering, most)
        .map_err(|error| Refusal::parameter("messages", ewe::cli::told(&error)))
}
