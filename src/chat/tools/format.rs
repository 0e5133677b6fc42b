//! How models write calls of tools. The chat template shows which way a model has learned.

use super::asked::Tools;
use super::call::{ArgumentSchemas, Call};
use super::read::{self, DEEPSEEK_PARTS, FUNCTION, HERMES, LIST, MISTRAL};
use super::{gemma, python};
use crate::engine::grammar::calls::CallMarks;
use crate::model::text::tokenizer::Tokenizer;

/// A way to write calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, of Hermes, Qwen, SmolLM 3, Granite 4.
    Hermes,
    /// `<function=…><parameter=…>…</parameter></function>`, in `<tool_call>` or without, of
    /// Qwen3-Coder.
    QwenCoder,
    /// `[TOOL_CALLS]` before a list of such objects, or before a name and its arguments, of
    /// Mistral.
    Mistral,
    /// `<|tool_call|>` or `functools` before such a list, of Granite 3 and Phi-4.
    List,
    /// The answer is such an object, with `parameters`, behind `<|python_tag|>` or without, or a
    /// list of calls as Python writes them, of Llama 3 and 4.
    Llama,
    /// `<function_calls>` around calls as Python writes them, of OLMo 3.
    Olmo,
    /// `<｜tool▁calls▁begin｜>` around names with their arguments, of DeepSeek.
    DeepSeek,
    /// `<start_function_call>call:name{…}<end_function_call>`, of FunctionGemma.
    Gemma,
}

/// What begins and ends calls within a text.
#[derive(Debug)]
pub struct Mark {
    /// Stands before them.
    pub begin: &'static str,
    /// Stands behind them; none if they go on to the end of the answer.
    pub end: Option<&'static str>,
    /// Reads what is in between; none if that is no call.
    pub read: fn(&str, &ArgumentSchemas) -> Option<Vec<Call>>,
    /// Whether what is read does not show by itself that it was cut off.
    pub must_end: bool,
}

impl Mark {
    const fn new(
        begin: &'static str,
        end: Option<&'static str>,
        read: fn(&str, &ArgumentSchemas) -> Option<Vec<Call>>,
    ) -> Mark {
        Mark {
            begin,
            end,
            read,
            must_end: false,
        }
    }

    /// Takes nothing without its end.
    const fn closed(mut self) -> Mark {
        self.must_end = true;
        self
    }
}

/// Stand between the name of a tool, the id of the call, and the arguments.
const MISTRAL_PARTS: [&str; 2] = ["[CALL_ID]", "[ARGS]"];

/// Stand around all calls of DeepSeek.
const DEEPSEEK: [&str; 2] = ["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"];

/// Stand around all calls of OLMo.
const OLMO: [&str; 2] = ["<function_calls>", "</function_calls>"];

/// Stand around a call of FunctionGemma.
const GEMMA: [&str; 2] = ["<start_function_call>", "<end_function_call>"];

const IN_TAGS: Mark = Mark::new(HERMES[0], Some(HERMES[1]), read::tagged);

/// Qwen3-Coder and Llama 3.1 leave out what should stand around it.
const IN_FUNCTION: Mark = Mark::new(FUNCTION[0], Some(FUNCTION[1]), read::one_function).closed();

/// The end of what was left out.
const STRAY_END: Mark = Mark::new(HERMES[1], Some(""), read::nothing);

const OF_HERMES: [Mark; 1] = [IN_TAGS];

const OF_QWEN_CODER: [Mark; 3] = [IN_TAGS, IN_FUNCTION, STRAY_END];

const OF_MISTRAL: [Mark; 1] = [Mark::new(MISTRAL, None, read::mistral)];

const OF_LISTS: [Mark; 3] = [
    Mark::new(LIST[0], None, read::list),
    Mark::new(HERMES[0], None, read::list),
    Mark::new("functools", None, read::list),
];

const OF_LLAMA: [Mark; 3] = [
    Mark::new("<|python_tag|>", None, read::python_tagged),
    Mark::new("<|python_start|>", Some("<|python_end|>"), read::python_tagged),
    IN_FUNCTION,
];

const OF_OLMO: [Mark; 1] = [Mark::new(OLMO[0], Some(OLMO[1]), python::calls)];

const OF_DEEPSEEK: [Mark; 1] = [Mark::new(DEEPSEEK[0], Some(DEEPSEEK[1]), read::deepseek)];

const OF_GEMMA: [Mark; 1] = [Mark::new(GEMMA[0], Some(GEMMA[1]), gemma::calls)];

impl ToolFormat {
    /// Returns the way of the model whose chat template has this source, and whose vocabulary has
    /// the tokens that `has_token` says.
    pub fn of(template: &str, has_token: impl Fn(&str) -> bool) -> ToolFormat {
        let has = |mark: &str| template.contains(mark);
        if has(MISTRAL) {
            ToolFormat::Mistral
        } else if has(DEEPSEEK[0]) {
            ToolFormat::DeepSeek
        } else if has(GEMMA[0]) {
            ToolFormat::Gemma
        } else if has(OLMO[0]) {
            ToolFormat::Olmo
        } else if has(LIST[0]) || has("functools") {
            ToolFormat::List
        } else if has(FUNCTION[0]) && has("<parameter=") {
            ToolFormat::QwenCoder
        } else if has(HERMES[0]) {
            ToolFormat::Hermes
        } else if has_token(LIST[0]) {
            // Templates of Phi-4 say nothing of how calls are written.
            ToolFormat::List
        } else {
            ToolFormat::Llama
        }
    }

    /// Returns what calls stand between.
    pub fn marks(self) -> &'static [Mark] {
        match self {
            ToolFormat::Hermes => &OF_HERMES,
            ToolFormat::QwenCoder => &OF_QWEN_CODER,
            ToolFormat::Mistral => &OF_MISTRAL,
            ToolFormat::List => &OF_LISTS,
            ToolFormat::Llama => &OF_LLAMA,
            ToolFormat::Olmo => &OF_OLMO,
            ToolFormat::DeepSeek => &OF_DEEPSEEK,
            ToolFormat::Gemma => &OF_GEMMA,
        }
    }

    /// Returns what else calls are written with that may be special tokens.
    fn parts(self) -> &'static [&'static str] {
        match self {
            ToolFormat::Mistral => &MISTRAL_PARTS,
            ToolFormat::List => &[LIST[1], HERMES[1]],
            ToolFormat::DeepSeek => &DEEPSEEK_PARTS,
            ToolFormat::Gemma => &[gemma::QUOTE],
            _ => &[],
        }
    }

    /// Returns how the calls of these tools begin, for a grammar that has them beside a format.
    pub fn calls(self, tools: &Tools, tokenizer: &Tokenizer) -> CallMarks {
        let mut calls = CallMarks {
            within: self.special(tokenizer),
            bare: (self == ToolFormat::Llama).then(|| tools.bare()),
            ..CallMarks::default()
        };
        // What only ends calls begins none.
        for mark in self.marks().iter().filter(|mark| mark.end != Some("")) {
            match tokenizer.id(mark.begin).filter(|&id| tokenizer.is_special(id)) {
                Some(id) => calls.tokens.push(id),
                None => calls.texts.push(mark.begin.to_owned()),
            }
        }
        calls
    }

    /// Returns the special tokens of a vocabulary that calls are written with. They have to stand
    /// in the text.
    pub fn special(self, tokenizer: &Tokenizer) -> Vec<i64> {
        let ends = self.marks().iter().filter_map(|mark| mark.end);
        let texts: Vec<&str> = self.marks().iter().map(|mark| mark.begin).chain(ends).collect();
        let special = tokenizer
            .added_tokens()
            .into_iter()
            .filter(|(_, special)| *special);
        let ids = special.map(|(id, _)| id);
        ids.filter(|&id| {
            tokenizer
                .token(id)
                .is_some_and(|token| texts.iter().chain(self.parts()).any(|text| *text == token))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_shows_its_format() {
        for (template, token, want) in [
            ("{{ '<tool_call>' }}", "", ToolFormat::Hermes),
            (
                "<tool_call>\\n<function=' + name + '>\\n<parameter=",
                "",
                ToolFormat::QwenCoder,
            ),
            ("{{ '[TOOL_CALLS]' }}", "<|tool_call|>", ToolFormat::Mistral),
            (
                "respond with <|tool_call|> followed by a JSON list",
                "",
                ToolFormat::List,
            ),
            (
                "{{ '<|tool|>' + tools | tojson + '<|/tool|>' }}",
                "<|tool_call|>",
                ToolFormat::List,
            ),
            ("{{ '<tool_call>' }}", "<|tool_call|>", ToolFormat::Hermes),
            (
                "{\"name\": function name, \"parameters\": dictionary}",
                "<|python_tag|>",
                ToolFormat::Llama,
            ),
            ("<function_calls>", "", ToolFormat::Olmo),
            ("{{ '<｜tool▁calls▁begin｜>' }}", "", ToolFormat::DeepSeek),
            ("{{ '<start_function_call>call:' }}", "", ToolFormat::Gemma),
        ] {
            assert_eq!(ToolFormat::of(template, |text| text == token), want, "{template}");
        }
    }
}
