//! Training templates: a row of the dataset becomes a prompt, which is given, and a completion, which is learnt.
//!
//! A template never yields one text in which the answer has to be searched for afterwards: it yields the two
//! spans, and they are encoded separately. So an instruction that quotes `### Response:` cannot move the
//! boundary, and no token straddles it.
//!
//! - `alpaca`: the published texts of Stanford Alpaca (<https://github.com/tatsu-lab/stanford_alpaca>,
//!   `train.py`, `PROMPT_DICT`), with and without an input. The answer follows `### Response:` directly.
//! - `dolly`: those of Databricks Dolly (<https://github.com/databrickslabs/dolly>, `training/consts.py`), where
//!   an input stands under `Input:` and the answer ends with `### End`.
//! - `completion`: prompt and completion as they are.
//! - `chat`: the model's own; it comes with the tokenizer, so the tensor half renders it.

use serde::{Deserialize, Serialize};

/// Opens an Alpaca prompt with an input.
const ALPACA_WITH_INPUT: &str = "Below is an instruction that describes a task, paired with an input that provides \
    further context. Write a response that appropriately completes the request.";
/// Opens an Alpaca prompt without an input, and every Dolly prompt.
const WITHOUT_INPUT: &str = "Below is an instruction that describes a task. Write a response that appropriately \
    completes the request.";

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

/// A rendered row: the model is shown `prompt` and learns to continue it with `completion`, then to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spans {
    /// Given; no loss falls on it.
    pub prompt: String,
    /// Learnt; an end-of-text token follows it.
    pub completion: String,
}

impl Template {
    /// Renders one row. `input` may be empty. For [`Template::Completion`] the instruction is the prompt and the
    /// output the completion; an input, if any, goes between them after a blank line.
    ///
    /// Returns `None` for [`Template::Chat`], whose text is the tokenizer's to give.
    pub fn render(self, instruction: &str, input: &str, output: &str) -> Option<Spans> {
        let has_input = !input.trim().is_empty();
        let prompt = match (self, has_input) {
            (Template::Alpaca, true) => {
                format!(
                    "{ALPACA_WITH_INPUT}\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
                )
            }
            (Template::Alpaca, false) => {
                format!("{WITHOUT_INPUT}\n\n### Instruction:\n{instruction}\n\n### Response:")
            }
            (Template::Dolly, true) => {
                format!(
                    "{WITHOUT_INPUT}\n\n### Instruction:\n{instruction}\n\nInput:\n{input}\n\n### Response:\n"
                )
            }
            (Template::Dolly, false) => {
                format!("{WITHOUT_INPUT}\n\n### Instruction:\n{instruction}\n\n### Response:\n")
            }
            (Template::Completion, true) => format!("{instruction}\n\n{input}"),
            (Template::Completion, false) => instruction.to_owned(),
            (Template::Chat, _) => return None,
        };
        let completion = match self {
            Template::Dolly => format!("{output}\n\n### End"),
            _ => output.to_owned(),
        };
        Some(Spans { prompt, completion })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpaca_is_the_published_text() {
        let with = Template::Alpaca.render("Add.", "1 and 2", "3").unwrap();
        assert_eq!(
            with.prompt,
            "Below is an instruction that describes a task, paired with an input that provides further context. \
             Write a response that appropriately completes the request.\n\n\
             ### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:"
        );
        assert_eq!(with.completion, "3");
        let without = Template::Alpaca.render("Say hi.", " \n", "hi").unwrap();
        assert_eq!(
            without.prompt,
            "Below is an instruction that describes a task. Write a response that appropriately completes the \
             request.\n\n### Instruction:\nSay hi.\n\n### Response:"
        );
    }

    #[test]
    fn dolly_ends_with_its_end_key() {
        let spans = Template::Dolly.render("Add.", "1 and 2", "3").unwrap();
        assert!(
            spans
                .prompt
                .ends_with("\n\n### Instruction:\nAdd.\n\nInput:\n1 and 2\n\n### Response:\n")
        );
        assert_eq!(spans.completion, "3\n\n### End");
    }

    #[test]
    fn a_quoted_key_does_not_move_the_boundary() {
        let spans = Template::Alpaca
            .render("Explain '### Response:'.", "", "A key.")
            .unwrap();
        assert_eq!(spans.completion, "A key.");
    }

    #[test]
    fn chat_is_left_to_the_tokenizer_and_words_round_trip() {
        assert_eq!(Template::Chat.render("a", "", "b"), None);
        for template in [
            Template::Alpaca,
            Template::Dolly,
            Template::Chat,
            Template::Completion,
        ] {
            assert_eq!(template.to_string().parse(), Ok(template));
        }
        assert!("vicuna".parse::<Template>().is_err());
    }
}
