//! Documents: files that people wrote, read as blocks of text, and passages of them.
//!
//! - [`kind`]: which format a file has; [`source`]: its bytes, within a limit, decompressed.
//! - [`read`]: one file as a [`Document`], whatever its format.
//! - [`plain`]: text, Markdown and source code; [`html`]; [`docx`] and [`epub`] (with [`package`]);
//!   [`columns`]: CSV, recognized as `interchange` does, and JSONL.
//! - [`roff`]: manual pages, rendered by a program that is installed.
//! - [`pdf`]: the text layer; [`apart`]: a process of its own for it; [`layout`]: reading order.
//! - [`walk`]: the files of folders.
//! - [`passage`]: blocks cut into passages.
//! - [`clean`]: a passage as an answer.
//! - [`fault`]: why a file cannot be read.
//!
//! Nothing here knows the dataset, and nothing leaves the machine.

pub mod apart;
pub mod clean;
pub mod columns;
pub mod docx;
pub mod epub;
pub mod fault;
pub mod html;
pub mod kind;
pub mod layout;
pub mod package;
pub mod passage;
pub mod pdf;
pub mod plain;
pub mod read;
pub mod roff;
pub mod source;
pub mod walk;

pub use fault::Fault;
pub use kind::Kind;

use serde::{Deserialize, Serialize};

/// What a block of a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// A heading of this level, from 1.
    Heading(u8),
    /// A paragraph, an item of a list, or a row of a table.
    Paragraph,
    /// Lines whose breaks and indents matter.
    Code,
    /// Text that is a passage by itself: a cell of a column.
    Whole,
}

/// A block of a document, trimmed and not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Its text.
    pub text: String,
    /// The page it begins on, from 1, where the format has pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
}

impl Block {
    /// A block without a page.
    pub fn new(kind: BlockKind, text: impl Into<String>) -> Block {
        Block {
            kind,
            text: text.into(),
            page: None,
        }
    }
}

/// The text of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its title, where it has one.
    pub title: Option<String>,
    /// Its blocks, in reading order.
    pub blocks: Vec<Block>,
    /// Pages without a text layer: pictures of text, such as scans.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scanned: Vec<u32>,
    /// Other things that a reader of the result should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Document {
    /// The text of all blocks, an empty line between two.
    pub fn text(&self) -> String {
        let blocks: Vec<&str> = self.blocks.iter().map(|block| block.text.as_str()).collect();
        blocks.join("\n\n")
    }
}

/// `page 3`, `pages 3 and 5`, `pages 3, 5 and 4 more`.
pub fn page_list(pages: &[u32]) -> String {
    match pages {
        [] => "no page".into(),
        [one] => format!("page {one}"),
        [one, two] => format!("pages {one} and {two}"),
        [one, two, rest @ ..] => format!("pages {one}, {two} and {} more", rest.len()),
    }
}
