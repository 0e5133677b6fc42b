//! Talking to a model: [`terminal`] line by line, [`serve`] over HTTP in OpenAI's dialect. What belongs to the server, in the
//! order in which a request meets it:
//!
//! - [`door`]: who may come.
//! - [`desk`]: bodies, how large and how many at once.
//! - [`order`]: what a request asks for, with its [`messages`], out of [`fields`] of JSON, some of which have [`names`] only;
//!   [`refusal`] is what it hears if that is not served.
//! - [`answering`]: from there to the engine.
//! - [`pieces`]: what the engine says, made into pieces of answers; [`answers`] sends them in the shapes of [`wire`].
//! - [`metrics`]: figures for Prometheus.

mod answering;
mod answers;
mod desk;
mod door;
mod fields;
mod messages;
mod metrics;
mod names;
mod order;
mod pieces;
mod refusal;
pub mod serve;
pub mod terminal;
mod wire;

use anyhow::{Result, bail};

use crate::model::chat_form::ChatForm;
use crate::model::chat_template::Rendering;
use crate::model::tokenizer::Tokenizer;
use order::Conversation;

/// Turns a conversation into a prompt in the form in which the model is asked; none where it has more than `most` tokens. Fails as
/// [`ChatForm::prompt`] does, and on variables that the template has not.
pub fn prompt(
    form: &ChatForm,
    tokenizer: &Tokenizer,
    said: &Conversation,
    most: usize,
) -> Result<Option<Vec<i64>>> {
    check_variables(form, &said.rendering)?;
    let unread = || {
        said.messages
            .iter()
            .find_map(|message| message.more.keys().next())
    };
    if form.stands_in()
        && let Some(name) = unread()
    {
        bail!(
            "a message has a `{name}`, and the model has no chat template that could read it\nhint: leave it away"
        );
    }
    form.prompt(tokenizer, &said.messages, &said.rendering, most)
}

/// Fails on variables that the template does not read, and on those that it has otherwise: to pass over them would change nothing.
fn check_variables(form: &ChatForm, rendering: &Rendering) -> Result<()> {
    const TAKEN: [&str; 4] = ["messages", "add_generation_prompt", "tools", "documents"];
    let Some(first) = rendering.variables.keys().next() else {
        return Ok(());
    };
    if form.stands_in() {
        bail!("the model has no chat template that could read `{first}`\nhint: leave it away");
    }
    let read = form.variables();
    for name in rendering.variables.keys() {
        if TAKEN.contains(&name.as_str()) {
            bail!("`chat_template_kwargs` cannot set `{name}`, which the request has otherwise");
        }
        if !read.contains(name) {
            let mut others: Vec<&str> = read
                .iter()
                .map(String::as_str)
                .filter(|other| !TAKEN.contains(other) && !HELPERS.contains(other))
                .collect();
            others.sort_unstable();
            let hint = match others.as_slice() {
                [] => "it reads no other than the messages".to_string(),
                others => format!("it reads {}", others.join(", ")),
            };
            bail!("the model's chat template does not read `{name}`\nhint: {hint}");
        }
    }
    Ok(())
}

/// What templates call and need not be given.
const HELPERS: [&str; 7] = [
    "raise_exception",
    "strftime_now",
    "namespace",
    "range",
    "dict",
    "joiner",
    "cycler",
];
