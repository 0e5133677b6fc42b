//! The options with which a command reads a file of rows.

use super::{Format, Need, mapping::Mapping};

/// The options with which a file is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The format; `None`: the first row that has the columns of one decides.
    pub format: Option<Format>,
    /// The columns that `--map` assigns.
    pub mapping: Mapping,
    /// What the command needs of a row.
    pub need: Need,
}
