//! The formats of rows: their names, their columns, and how to tell them apart.

use super::{
    json::{Fields, Json},
    need::Need,
};

/// The field that marks rows of one task: an export gives all rows of a task with several instances
/// the same number.
pub const GROUP: &str = "ewe_group";

/// The field with the messages after a first question and its answer, in formats without a place
/// for them, and where their other fields have none.
pub const LATER: &str = "ewe_turns";

/// The field with the name of a tree of OpenAssistant.
pub(super) const TREE_ID: &str = "message_tree_id";

/// The field that says how many rows a tree is, if they are several: all of its conversations, not
/// only the best one.
pub(super) const TREE_ROWS: &str = "ewe_rows";

/// The field with earlier questions and answers in format `alpaca`.
pub const HISTORY: &str = "history";

/// The prefix of a field of a row or message whose name the format has, or by which the row would
/// be taken for one of another format.
pub(super) const PREFIX: &str = "ewe_";

/// Dolly's field for the kind of a task.
pub(super) const CATEGORY: &str = "category";

/// The metadata key by which a Parquet file says that ewe wrote it. Its value is [`DATASET_TABLE`]
/// or the name of a format.
pub(super) const WRITTEN_AS: &str = "ewe";

/// The value of [`WRITTEN_AS`] for the whole dataset as a table.
pub(super) const DATASET_TABLE: &str = "dataset";

/// A set of columns that makes a row a task.
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
    /// A question and its answer under any of the names in use, such as `question`, `answer` or
    /// `query`, `response`
    #[value(name = "qa")]
    QuestionAnswer,
    /// Tasks with `instances`, the format of the seeds
    SelfInstruct,
    /// Trees of OpenAssistant: of each the conversation that people ranked best
    Oasst,
    /// Trees of OpenAssistant: all conversations of each
    OasstAll,
    /// Instructions without answers
    #[value(skip)]
    Instructions,
}

/// Names that other files give the question.
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

/// Names that other files give the answer.
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

/// Names that other files give the input.
pub(super) const INPUTS: &[&str] = &["input", "context"];

/// Names that other files give a conversation.
pub(super) const CONVERSATIONS: &[&str] =
    &["messages", "conversations", "conversation", "dialog", "dialogue"];

/// A column that is a conversation if it is a list of strings, as in UltraChat. Elsewhere it wraps
/// the rows.
pub(super) const TURNS: &str = "data";

/// Names that other files give the system message.
pub(super) const SYSTEMS: &[&str] = &["system", "system_prompt"];

/// Whether a value is the prompt of a tree of OpenAssistant.
pub(super) fn is_tree(prompt: Json<'_>) -> bool {
    prompt.kind() == "an object"
        && Fields::of(prompt.get()).is_some_and(|fields| fields.has("replies") && fields.has("text"))
}

impl Format {
    /// The values of `--format` of commands that read.
    pub const ALL: [Format; 9] = [
        Format::Alpaca,
        Format::Dolly,
        Format::Chat,
        Format::ShareGpt,
        Format::Completion,
        Format::QuestionAnswer,
        Format::SelfInstruct,
        Format::Oasst,
        Format::OasstAll,
    ];

    /// The formats that a dataset is exported in.
    pub const WRITTEN: [Format; 7] = [
        Format::Alpaca,
        Format::Dolly,
        Format::Chat,
        Format::ShareGpt,
        Format::Completion,
        Format::SelfInstruct,
        Format::Oasst,
    ];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Alpaca => "alpaca",
            Format::Dolly => "dolly",
            Format::Chat => "chat",
            Format::ShareGpt => "sharegpt",
            Format::Completion => "completion",
            Format::QuestionAnswer => "qa",
            Format::SelfInstruct => "self-instruct",
            Format::Oasst => "oasst",
            Format::OasstAll => "oasst-all",
            Format::Instructions => "instructions",
        }
    }

    /// Lists the names of these formats, for messages.
    pub fn names(formats: &[Format]) -> String {
        let names: Vec<_> = formats.iter().map(|format| format.as_str()).collect();
        names.join(", ")
    }

    /// The columns that a file without rows gets: enough to tell the format.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Format::Alpaca => &["instruction", "output"],
            Format::Dolly => &["instruction", "response"],
            Format::Chat => &["messages"],
            Format::ShareGpt => &["conversations"],
            Format::Completion => &["prompt", "completion"],
            Format::QuestionAnswer => &["question", "answer"],
            Format::SelfInstruct => &["instruction", "instances"],
            Format::Oasst | Format::OasstAll => &["prompt"],
            Format::Instructions => &["instruction"],
        }
    }

    /// The columns to read the question from, the likeliest first.
    pub(super) fn questions(self) -> &'static [&'static str] {
        match self {
            Format::Alpaca | Format::Dolly => &["instruction"],
            Format::Completion => &["prompt"],
            _ => QUESTIONS,
        }
    }

    /// The columns to read the answer from, the likeliest first.
    pub(super) fn answers(self) -> &'static [&'static str] {
        match self {
            Format::Alpaca => &["output"],
            Format::Dolly => &["response"],
            Format::Completion => &["completion"],
            _ => ANSWERS,
        }
    }

    /// The columns to read the input from. A prompt to complete has none.
    pub(super) fn inputs(self) -> &'static [&'static str] {
        match self {
            Format::Completion => &[],
            _ => INPUTS,
        }
    }

    /// The columns to read the system message from. A prompt to complete has none.
    pub(super) fn systems(self) -> &'static [&'static str] {
        match self {
            Format::Completion => &[],
            _ => SYSTEMS,
        }
    }

    /// The columns to read a conversation from, the likeliest first.
    pub(super) fn conversations(self) -> Vec<&'static str> {
        match self {
            Format::Chat => vec!["messages"],
            _ => [CONVERSATIONS, &[TURNS]].concat(),
        }
    }

    /// Recognizes the format of a file by one of its rows. Names may differ in case if the exact
    /// names make no format.
    pub(super) fn of(object: &Fields<'_>, need: Need) -> Option<Format> {
        if object.get("prompt").is_some_and(is_tree) {
            return Some(Format::Oasst);
        }
        let exact = |name: &str| object.get_exact(name);
        let has_exact = |name: &str| exact(name).is_some_and(|value| !value.is_null());
        Format::of_columns(|name| exact(name).is_some(), has_exact, need)
            .or_else(|| Format::of_columns(|name| object.get(name).is_some(), |name| object.has(name), need))
            .or_else(|| object.get(TURNS)?.is_list_of_texts().then_some(Format::ShareGpt))
    }

    /// Recognizes a format by its columns: `named` says which ones a row has, `has` which of them
    /// are not null.
    pub(super) fn of_columns(
        named: impl Fn(&str) -> bool,
        has: impl Fn(&str) -> bool,
        need: Need,
    ) -> Option<Format> {
        let all = |names: &[&str]| names.iter().all(|name| named(name));
        let any = |names: &[&str]| names.iter().any(|name| has(name));
        // The first format counts whose columns the row has.
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

/// The categories of Dolly. A task has no column for them: the category of a Dolly row becomes the
/// task's name, and a name that is one of these becomes the category again.
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
