//! Talking to a model: [`terminal`] line by line, [`serve`] over HTTP in OpenAI's dialect. Both turn messages into a
//! prompt here. What belongs to the server, in the order in which a request meets it:
//!
//! - [`door`]: connections and bodies.
//! - [`order`]: what a request asks for, out of [`fields`] of JSON; [`refusal`] is what it hears if that is not served.
//! - [`pieces`]: what the engine says, made into pieces of answers; [`answers`] sends them in the shapes of [`wire`].
//! - [`metrics`]: figures for Prometheus.

mod answers;
mod door;
mod fields;
mod metrics;
mod order;
mod pieces;
mod refusal;
pub mod serve;
pub mod terminal;
mod wire;

use anyhow::Result;
use ewe::prompt::template::Template;

use crate::model::chat_template::{Message, render};
use crate::model::tokenizer::Tokenizer;

/// A conversation as the model continues it, and what ends its turn besides its end-of-text token.
pub struct Prompt {
    /// Token ids, special ones included.
    pub ids: Vec<i64>,
    /// Stop strings.
    pub stop: Vec<String>,
}

/// Turns `messages`, the last of them the user's, into a prompt: by the model's chat template, else by the Alpaca
/// template that `ewe train` uses, one exchange after the other. Fails as [`render`] does.
pub fn prompt(tokenizer: &Tokenizer, messages: &[Message]) -> Result<Prompt> {
    if let Some(text) = render(tokenizer, messages, true)? {
        return Ok(Prompt {
            ids: tokenizer.encode(&text, false)?,
            stop: Vec::new(),
        });
    }
    let text = alpaca(messages);
    // A base model that has not learnt to end its answer goes on with the next instruction.
    Ok(Prompt {
        ids: tokenizer.encode(&text, true)?,
        stop: vec!["### Instruction:".to_string()],
    })
}

fn alpaca(messages: &[Message]) -> String {
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
        let text = alpaca(&messages);
        assert!(text.starts_with("Below is an instruction that describes a task."));
        assert!(text.ends_with(
            "### Instruction:\nBe brief.\n\nHi\n\n### Response:Hello.\n\n### Instruction:\nBye\n\n### Response:"
        ));
        assert_eq!(text.matches("Below is").count(), 1);
    }
}
