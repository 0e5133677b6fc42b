//! Options that stand in a file or in the environment instead of on the command line. What may
//! stand there is derived from clap's description of the commands: every option, with the values,
//! conflicts and requirements that it has when it is typed. In reading order:
//!
//! - [`file`]: `ewe.toml`, where it is found and what it says.
//! - [`options`]: the options of a command, as clap describes them.
//! - [`value`]: values of settings, as arguments.
//! - [`collect`]: the settings that are meant for a command; unknown names are errors.
//! - [`company`]: which options go together, beyond what clap knows.
//! - [`merge`]: which of them hold beside what is typed.
//! - [`line`]: a command line with its settings.
//! - [`shown`]: what holds and where it comes from, for people.
//! - [`written`]: the options of a run, as TOML that gives the run again.

pub mod collect;
pub mod company;
pub mod file;
pub mod line;
pub mod merge;
pub mod options;
pub mod shown;
pub mod value;
pub mod written;

use std::fmt;
use std::path::PathBuf;

use value::Value;

/// How strong a setting is; what comes first goes before what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A variable of the environment.
    Environment,
    /// The table of a command.
    Table,
    /// The top of a file, for every command that has the option.
    TopLevel,
    /// The option's default.
    Default,
}

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this variable of the environment.
    Variable(String),
    /// On this line of a file. Lines count from 1.
    Line(PathBuf, usize),
    /// Nowhere: it is the option's default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Variable(name) => f.write_str(name),
            Place::Line(file, line) => write!(f, "{}:{line}", file.display()),
            Place::Default => f.write_str("default"),
        }
    }
}

/// A setting of one option of one command.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The id of the option.
    pub id: String,
    /// The name of the option, without dashes in front.
    pub key: String,
    /// How strong it is.
    pub level: Level,
    /// Where it stands.
    pub place: Place,
    /// What it says.
    pub value: Value,
}
