//! A file of rows, and how a row becomes a prompt.

use std::path::PathBuf;

use crate::interchange::Reading;
use crate::interchange::left_out::Policy;
use crate::prompt::template::TemplateChoice;

/// A file of rows, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsFile {
    /// The file.
    pub path: PathBuf,
    /// Its format, its columns, and what a row must have.
    pub reading: Reading,
    /// What happens to rows that cannot be read.
    pub left_out: Policy,
}

/// How a row becomes a prompt.
#[derive(Debug, Clone)]
pub enum PromptFormat {
    /// One text, which the model continues.
    Text,
    /// Messages, laid out by this template, or by the one that came with the model.
    Chat(Option<TemplateChoice>),
}
