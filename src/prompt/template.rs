//! Training templates: how a row of the dataset is laid out as a prompt, which is given, and an answer, which is learnt.
//!
//! Each is a chat template in Jinja. Training renders rows with it, and it is saved with what was trained, so that whoever asks the
//! model later (`ewe`, `transformers`, vLLM, llama.cpp) asks in the form that it learnt. What is learnt is marked with
//! `{% generation %}`, never searched for: an instruction that quotes `### Response:` cannot move the boundary.
//!
//! - `alpaca`: the published texts of Stanford Alpaca (<https://github.com/tatsu-lab/stanford_alpaca>,
//!   `train.py`, `PROMPT_DICT`), with and without an input. The answer follows `### Response:` directly.
//! - `dolly`: those of Databricks Dolly (<https://github.com/databrickslabs/dolly>, `training/consts.py`), where
//!   an input stands under `Input:` and the answer ends with `### End`.
//! - `completion`: prompt and completion as they are.
//! - `chat`: the model's own; it comes with the tokenizer, so the tensor half renders it.
//!
//! A row is one user message, whose field `input` holds the row's input, and one assistant message. Beyond rows: a system message stands
//! in front of the instruction that follows it, after an empty line; later turns repeat the keys and not the preamble.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a row is laid out for training.
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
    /// Its chat template, over two expressions of Jinja: `begin` is what the tokenizer puts in front of a text, `end` what ends an
    /// answer. None for [`Template::Chat`], which is the tokenizer's to give.
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

/// How Alpaca's template begins where there is an input.
const ALPACA_WITH_INPUT: &str = "Below is an instruction that describes a task, paired with an input that provides \
    further context. Write a response that appropriately completes the request.";
/// How it begins where there is none, and how Dolly's always does.
const WITHOUT_INPUT: &str = "Below is an instruction that describes a task. Write a response that appropriately \
    completes the request.";

/// The instruction and the input that Alpaca's or Dolly's template laid out as this prompt; none where it was laid out
/// otherwise. Where an instruction itself speaks of an input, what follows is taken for it.
pub fn apart(prompt: &str) -> Option<(&str, &str)> {
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

/// What `--template` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateChoice {
    /// One of ewe's, or the model's own.
    Known(Template),
    /// A Jinja file: a chat template over `messages`, or one with the blocks `prompt` and `completion`.
    File(PathBuf),
}

impl std::str::FromStr for TemplateChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.parse() {
            Ok(known) => Ok(TemplateChoice::Known(known)),
            // A word that is neither a name nor looks like a file is a name mistyped.
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
