//! What a template writes after an answer.

use anyhow::Result;

use crate::model::text::chat_template::Rendered;
use crate::model::text::tokenizer::Tokenizer;

/// An answer that no template writes.
pub(super) const ANSWER: &str = "ewe's answer";

/// What a template writes after an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Closing {
    /// Text up to the end token, or all of it without one.
    pub(super) text: String,
    /// Text up to and including the end token, or all of it without one.
    pub(super) whole: String,
    /// The first special token, which ends the message.
    pub(super) end: Option<i64>,
}

impl Closing {
    /// Reads the closing from a conversation that ends with [`ANSWER`].
    pub(super) fn of(whole: &Rendered, tokenizer: &Tokenizer) -> Result<Closing> {
        let Some(at) = whole.text.rfind(ANSWER) else {
            return Ok(Closing::default());
        };
        let from = at + ANSWER.len();
        let mut closing = Closing {
            text: whole.text[from..].to_owned(),
            whole: whole.text[from..].to_owned(),
            end: None,
        };
        let all = tokenizer.encode_marked(&whole.text, false, &[from..whole.text.len()])?;
        let ends = |id: &i64| tokenizer.is_special(*id) || tokenizer.end_tokens().contains(id);
        closing.end = all.ids[all.marked[0].clone()].iter().copied().find(ends);
        let text = closing.end.and_then(|end| tokenizer.token(end));
        if let Some((at, text)) = text.and_then(|text| Some((closing.text.find(&text)?, text))) {
            closing.text.truncate(at);
            closing.whole.truncate(at + text.len());
        }
        Ok(closing)
    }
}
