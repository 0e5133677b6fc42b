//! What precedes every text and what ends an answer, as Jinja expressions.

use anyhow::{Context, Result};

use crate::model::text::block_template::literal;
use crate::model::text::tokenizer::Tokenizer;

/// Returns what precedes every text, as a Jinja expression. `space` is the expression for a space
/// at its end, which the tokenizer puts before a text. Fails if the tokenizer puts a token there
/// that cannot be written.
pub(super) fn begin(tokenizer: &Tokenizer, space: &str) -> Result<String> {
    let text = tokenizer.begin_text().context(
        "the tokenizer puts a token in front of every text that a chat template cannot write\nhint: --template chat, with a template of \
         the model's own",
    )?;
    let (special, space) = match text.strip_suffix(' ') {
        Some(special) => (special, Some(space)),
        None => (text.as_str(), None),
    };
    let bos = tokenizer
        .special_texts()
        .get("bos_token")
        .filter(|bos| !bos.is_empty());
    let special = match bos.and_then(|bos| special.strip_prefix(bos.as_str())) {
        Some("") => "bos_token".to_owned(),
        Some(rest) => format!("bos_token + {}", literal(rest)),
        None => literal(special),
    };
    Ok(match space {
        Some(space) => format!("{special} + {space}"),
        None => special,
    })
}

/// Returns what ends an answer, as a Jinja expression: empty if no text stands for the end token,
/// which is then appended as an id.
pub(super) fn end(tokenizer: &Tokenizer) -> String {
    let text = tokenizer.end_token().and_then(|end| tokenizer.end_text(end));
    match (text, tokenizer.special_texts().get("eos_token")) {
        (Some(text), Some(eos)) if &text == eos => "eos_token".to_owned(),
        (text, _) => literal(&text.unwrap_or_default()),
    }
}
