//! Templates for training: they lay out a row as a prompt, which is given, and an answer, which is
//! learned.
//!
//! Each is a chat template in Jinja. Training renders rows with it and saves it with the model, so
//! that `ewe`, `transformers`, vLLM and llama.cpp later prompt the model in the form that it
//! learned. The learned part is marked with `{% generation %}`, never searched for: an instruction
//! that quotes `### Response:` cannot move the boundary.
//!
//! - `alpaca`: the published texts of Stanford Alpaca
//!   (<https://github.com/tatsu-lab/stanford_alpaca>, `train.py`, `PROMPT_DICT`), with and without
//!   an input. The answer follows `### Response:` directly.
//! - `dolly`: the texts of Databricks Dolly (<https://github.com/databrickslabs/dolly>,
//!   `training/consts.py`). The input follows `Input:`, and the answer ends with `### End`.
//! - `completion`: prompt and completion as they are.
//! - `chat`: the model's own template. It comes with the tokenizer, so the tensor half renders it.
//!
//! A row is one user message, whose field `input` holds the row's input, and one assistant message.
//! In longer conversations, a system message precedes the next instruction, separated by an empty
//! line, and later messages repeat the labels but not the preamble.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The layout of rows for training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Template {
    /// Stanford Alpaca's two prompts.
    Alpaca,
    /// Databricks Dolly's prompts, which end with `### End`.
    Dolly,
    /// The chat template that comes with the model's tokenizer.
    Chat,
    /// `prompt` and `completion`, with nothing around them.
    Completion,
}

impl Template {
    /// The chat template. `begin` and `end` are Jinja expressions: the text that the tokenizer puts
    /// before every text, and the text that ends an answer. `None` for [`Template::Chat`], which
    /// only the tokenizer has.
    pub fn source(self, begin: &str, end: &str) -> Option<String> {
        let body = match self {
            Template::Alpaca => include_str!("chat_templates/alpaca.jinja"),
            Template::Dolly => include_str!("chat_templates/dolly.jinja"),
            Template::Completion => include_str!("chat_templates/completion.jinja"),
            Template::Chat => return None,
        };
        Some(format!(
            "{{%- set begin = {begin} -%}}\n{{%- set end = {end} -%}}\n{body}"
        ))
    }
}

/// The beginning of Alpaca's template with an input.
const ALPACA_WITH_INPUT: &str = "Below is an instruction that describes a task, paired with an input that provides \
    further context. Write a response that appropriately completes the request.";
/// The beginning of Alpaca's template without an input, and of Dolly's.
const WITHOUT_INPUT: &str = "Below is an instruction that describes a task. Write a response that appropriately \
    completes the request.";

/// Splits a prompt in the layout of Alpaca's or Dolly's template into instruction and input; `None`
/// for another layout. If the instruction contains the label of an input, the text after it is the
/// input.
pub fn split(prompt: &str) -> Option<(&str, &str)> {
    let prompt = prompt.trim();
    let body = |preamble: &str| {
        prompt
            .strip_prefix(preamble)?
            .strip_prefix("\n\n### Instruction:\n")?
            .strip_suffix("\n\n### Response:")
    };
    if let Some(body) = body(ALPACA_WITH_INPUT) {
        return body.split_once("\n\n### Input:\n");
    }
    let body = body(WITHOUT_INPUT)?;
    Some(body.split_once("\n\nInput:\n").unwrap_or((body, "")))
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Template::Alpaca => "alpaca",
            Template::Dolly => "dolly",
            Template::Chat => "chat",
            Template::Completion => "completion",
        })
    }
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "alpaca" => Ok(Template::Alpaca),
            "dolly" => Ok(Template::Dolly),
            "chat" => Ok(Template::Chat),
            "completion" => Ok(Template::Completion),
            _ => Err("expected alpaca, dolly, chat or completion".to_owned()),
        }
    }
}

/// The value of `--template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateChoice {
    /// A built-in template, or the model's own.
    Known(Template),
    /// A Jinja file: a chat template over `messages`, or one with the blocks `prompt` and
    /// `completion`.
    File(PathBuf),
}

impl std::str::FromStr for TemplateChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.parse() {
            Ok(known) => Ok(TemplateChoice::Known(known)),
            // A word that is neither a name nor looks like a file is a mistyped name.
            Err(_) if word.contains(['.', '/']) || std::path::Path::new(word).is_file() => {
                Ok(TemplateChoice::File(word.into()))
            }
            Err(error) => Err(format!("{error}, or a Jinja file")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_and_files_are_told_from_names_mistyped() {
        for template in [
            Template::Alpaca,
            Template::Dolly,
            Template::Chat,
            Template::Completion,
        ] {
            assert_eq!(template.to_string().parse(), Ok(template));
            assert_eq!(template.to_string().parse(), Ok(TemplateChoice::Known(template)));
        }
        assert!("vicuna".parse::<Template>().is_err());
        assert!("vicuna".parse::<TemplateChoice>().is_err());
        assert_eq!(
            "vicuna.jinja".parse(),
            Ok(TemplateChoice::File("vicuna.jinja".into()))
        );
        assert_eq!(Template::Chat.source("''", "''"), None);
    }
}
