//! The formats, and how to tell them apart.

use serde_json::{Map, Value};

/// A format of files of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON array of `instruction`, `input`, `output` (Stanford Alpaca)
    Alpaca,
    /// JSON lines of `instruction`, `context`, `response`, `category` (Databricks Dolly)
    Dolly,
    /// JSON lines of `messages` with `role` and `content`
    Chat,
    /// JSON lines of `prompt`, `completion`
    Completion,
    /// JSON lines of tasks with `instances`, the format of the seeds
    SelfInstruct,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 5] = [
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
            Format::Completion => "completion",
            Format::SelfInstruct => "self-instruct",
        }
    }

    /// The fields that tell it.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Format::Alpaca => &["instruction", "output"],
            Format::Dolly => &["instruction", "response"],
            Format::Chat => &["messages"],
            Format::Completion => &["prompt", "completion"],
            Format::SelfInstruct => &["instruction", "instances"],
        }
    }

    /// The format of a file in which this object is a row, if it is one of ours.
    pub fn of(object: &Map<String, Value>) -> Option<Format> {
        // A row with all fields of several is of the first.
        [
            Format::SelfInstruct,
            Format::Dolly,
            Format::Alpaca,
            Format::Chat,
            Format::Completion,
        ]
        .into_iter()
        .find(|format| format.fields().iter().all(|field| object.contains_key(*field)))
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
