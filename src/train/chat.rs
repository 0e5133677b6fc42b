//! The model's own chat template, applied to one exchange and cut where the answer begins.

use crate::model::chat_template::{self, Message};
use crate::model::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};
use ewe::prompt::template::Spans;

/// Renders the exchange. The prompt is the template over the question with the answer's opening; the completion is
/// what the template over both adds to it.
///
/// Fails when the model has no template, when it refuses the exchange, and when its rendering of both does not begin
/// with its rendering of the question: then no span is the answer's.
pub fn render(tokenizer: &Tokenizer, user: &str, assistant: &str) -> Result<Spans> {
    let (question, answer) = (Message::new("user", user), Message::new("assistant", assistant));
    let prompt = chat_template::render(tokenizer, std::slice::from_ref(&question), true)?.context(
        "the model has no chat template\nhint: --template alpaca, or put chat_template.jinja beside its tokenizer",
    )?;
    let both = chat_template::render(tokenizer, &[question, answer], false)?.unwrap_or_default();
    match both.strip_prefix(&prompt) {
        Some(completion) => Ok(Spans {
            prompt,
            completion: completion.to_owned(),
        }),
        None => bail!(
            "the model's chat template writes a question differently once it is answered, so no part is the answer's\n\
             hint: --template alpaca"
        ),
    }
}
