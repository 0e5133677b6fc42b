//! Talking to a model: [`terminal`] line by line, [`serve`] over HTTP in OpenAI's dialect. Both turn messages into a
//! prompt here. What belongs to the server, in the order in which a request meets it:
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
use ewe::prompt::template::Template;

use crate::model::chat_template::{Ending, Message, Rendering, render_as, variables};
use crate::model::tokenizer::Tokenizer;
use order::Conversation;

/// A conversation as the model continues it, and what ends its turn besides its end-of-text token.
pub struct Prompt {
    /// Token ids, special ones included; none where they are more than were wanted.
    pub ids: Option<Vec<i64>>,
    /// Stop strings.
    pub stop: Vec<String>,
}

/// Turns a conversation into a prompt: by the model's chat template, else by the Alpaca template that `ewe train` uses, one exchange
/// after the other. `most` is how many tokens may be of use. Fails as [`render_as`] does, and on variables that the template has not.
pub fn prompt(tokenizer: &Tokenizer, said: &Conversation, most: usize) -> Result<Prompt> {
    check_variables(tokenizer, &said.rendering)?;
    if let Some(text) = render_as(tokenizer, &said.messages, &said.rendering)? {
        return Ok(Prompt {
            ids: tokenizer.encode_within(&text, false, most)?,
            stop: Vec::new(),
        });
    }
    if let Some(name) = said
        .messages
        .iter()
        .find_map(|message| message.more.keys().next())
    {
        bail!(
            "a message has a `{name}`, and the model has no chat template that could read it\nhint: leave it away"
        );
    }
    let text = alpaca(&said.messages, said.rendering.ending);
    // A base model that has not learnt to end its answer goes on with the next instruction.
    Ok(Prompt {
        ids: tokenizer.encode_within(&text, true, most)?,
        stop: vec!["### Instruction:".to_string()],
    })
}

/// Fails on variables that the template does not read, and on those that it has otherwise: to pass over them would change nothing.
fn check_variables(tokenizer: &Tokenizer, rendering: &Rendering) -> Result<()> {
    const TAKEN: [&str; 4] = ["messages", "add_generation_prompt", "tools", "documents"];
    let Some(first) = rendering.variables.keys().next() else {
        return Ok(());
    };
    let Some(read) = variables(tokenizer) else {
        bail!("the model has no chat template that could read `{first}`\nhint: leave it away");
    };
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

fn alpaca(messages: &[Message], ending: Ending) -> String {
    let (mut text, mut context) = (String::new(), String::new());
    for message in messages {
        match message.role.as_str() {
            "assistant" => text.push_str(&message.content),
            "user" => {
                let instruction = std::mem::take(&mut context) + &message.content;
                let rendered = Template::Alpaca
                    .render(&instruction, "", "")
                    .map(|spans| spans.prompt);
                let rendered = rendered.expect("Alpaca's text is its own");
                // Later turns repeat the keys, not the preamble.
                let from = if text.is_empty() {
                    0
                } else {
                    rendered.find("\n\n### Instruction:").unwrap_or(0)
                };
                text.push_str(&rendered[from..]);
            }
            _ => context.push_str(&format!("{}\n\n", message.content)),
        }
    }
    if ending == Ending::Closed {
        let opening = "\n\n### Response:";
        text.truncate(text.strip_suffix(opening).map_or(text.len(), str::len));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpaca_turns_follow_each_other_and_a_system_message_opens_the_first() {
        let said = [
            ("system", "Be brief."),
            ("user", "Hi"),
            ("assistant", "Hello."),
            ("user", "Bye"),
        ];
        let messages: Vec<Message> = said
            .iter()
            .map(|(role, content)| Message::new(role, content))
            .collect();
        let text = alpaca(&messages, Ending::Opening);
        assert!(text.starts_with("Below is an instruction that describes a task."));
        assert!(text.ends_with(
            "### Instruction:\nBe brief.\n\nHi\n\n### Response:Hello.\n\n### Instruction:\nBye\n\n### Response:"
        ));
        assert_eq!(text.matches("Below is").count(), 1);
        assert!(alpaca(&messages, Ending::Closed).ends_with("### Instruction:\nBye"));
    }
}
