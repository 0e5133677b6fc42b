//! The formats, and how to tell them apart.

use super::{fields::Fields, parse::Need};

/// A format of files of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `instruction`, `input`, `output` (Stanford Alpaca)
    Alpaca,
    /// `instruction`, `context`, `response`, `category` (Databricks Dolly)
    Dolly,
    /// `messages` with `role` and `content`
    Chat,
    /// `conversations` with `from` and `value` (ShareGPT)
    #[value(name = "sharegpt")]
    ShareGpt,
    /// `prompt`, `completion`: finished texts, which no template is laid over
    Completion,
    /// A question and its answer under any of the names in use, such as `question`, `answer` or `query`, `response`
    #[value(name = "qa")]
    QuestionAnswer,
    /// Tasks with `instances`, the format of the seeds
    SelfInstruct,
    /// Instructions without answers
    #[value(skip)]
    Instructions,
}

/// Columns in use for what is asked.
pub(super) const QUESTIONS: &[&str] = &[
    "instruction",
    "prompt",
    "question",
    "query",
    "problem",
    "user",
    "human",
    "inputs",
    "input",
];

/// Columns in use for the answer.
pub(super) const ANSWERS: &[&str] = &[
    "output",
    "response",
    "answer",
    "completion",
    "solution",
    "assistant",
    "bot",
    "gpt",
    "targets",
    "target",
];

/// Columns in use for what a question is about.
pub(super) const INPUTS: &[&str] = &["input", "context"];

/// Columns in use for conversations.
pub(super) const CONVERSATIONS: &[&str] =
    &["messages", "conversations", "conversation", "dialog", "dialogue"];

/// A column that is a conversation where it is a list of texts, as in UltraChat; elsewhere it wraps the rows.
pub(super) const TURNS: &str = "data";

/// Columns in use for a system message.
pub(super) const SYSTEMS: &[&str] = &["system", "system_prompt"];

impl Format {
    /// Those that can be asked for by name.
    pub const ALL: [Format; 7] = [
        Format::Alpaca,
        Format::Dolly,
        Format::Chat,
        Format::ShareGpt,
        Format::Completion,
        Format::QuestionAnswer,
        Format::SelfInstruct,
    ];

    /// Those that a dataset is written in.
    pub const WRITTEN: [Format; 5] = [
        Format::Alpaca,
        Format::Dolly,
        Format::Chat,
        Format::Completion,
        Format::SelfInstruct,
    ];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Alpaca => "alpaca",
            Format::Dolly => "dolly",
            Format::Chat => "chat",
            Format::ShareGpt => "sharegpt",
            Format::Completion => "completion",
            Format::QuestionAnswer => "qa",
            Format::SelfInstruct => "self-instruct",
            Format::Instructions => "instructions",
        }
    }

    /// The names of these, for people.
    pub fn names(formats: &[Format]) -> String {
        let names: Vec<_> = formats.iter().map(|format| format.as_str()).collect();
        names.join(", ")
    }

    /// The columns that a file without rows gets.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Format::Alpaca => &["instruction", "output"],
            Format::Dolly => &["instruction", "response"],
            Format::Chat => &["messages"],
            Format::ShareGpt => &["conversations"],
            Format::Completion => &["prompt", "completion"],
            Format::QuestionAnswer => &["question", "answer"],
            Format::SelfInstruct => &["instruction", "instances"],
            Format::Instructions => &["instruction"],
        }
    }

    /// The format of a file in which this object is a row, if it is one of ours. Names in another case count where those that are
    /// spelt as ours make no format.
    pub(super) fn of(object: &Fields<'_>, need: Need) -> Option<Format> {
        let exact = |name: &str| object.get_exact(name);
        let has_exact = |name: &str| exact(name).is_some_and(|value| !value.is_null());
        Format::of_columns(|name| exact(name).is_some(), has_exact, need)
            .or_else(|| Format::of_columns(|name| object.get(name).is_some(), |name| object.has(name), need))
            .or_else(|| object.get(TURNS)?.is_list_of_texts().then_some(Format::ShareGpt))
    }

    /// The format of rows that are `named` so, of which `has` says what is not null.
    pub(super) fn of_columns(
        named: impl Fn(&str) -> bool,
        has: impl Fn(&str) -> bool,
        need: Need,
    ) -> Option<Format> {
        let all = |names: &[&str]| names.iter().all(|name| named(name));
        let any = |names: &[&str]| names.iter().any(|name| has(name));
        // A row with all fields of several is of the first.
        [
            (Format::SelfInstruct, all(&["instruction", "instances"])),
            (Format::Dolly, all(&["instruction", "response"])),
            (Format::Alpaca, all(&["instruction", "output"])),
            (Format::Chat, all(&["messages"])),
            (Format::Completion, all(&["prompt", "completion"])),
            (Format::ShareGpt, any(CONVERSATIONS)),
            (Format::QuestionAnswer, any(QUESTIONS) && any(ANSWERS)),
            (Format::Instructions, !need.answer() && any(QUESTIONS)),
        ]
        .into_iter()
        .find_map(|(format, found)| found.then_some(format))
    }
}

/// The categories of Dolly's rows. A task has no column for them: a Dolly row's category becomes the task's name, and
/// a name that is one of these becomes the category again.
pub const DOLLY_CATEGORIES: [&str; 8] = [
    "brainstorming",
    "classification",
    "closed_qa",
    "creative_writing",
    "general_qa",
    "information_extraction",
    "open_qa",
    "summarization",
];
