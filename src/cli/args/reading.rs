//! Options shared by all commands that read rows from files.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::ValueEnum;

use crate::interchange::{
    Format, Need, Reading,
    left_out::Policy,
    mapping::{Mapped, Mapping},
};

/// Options of every command that reads rows.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReadingArgs {
    /// The format of the file; recognized by its rows if left out [possible values: alpaca, dolly,
    /// chat, sharegpt, completion, qa, self-instruct]
    #[arg(long, value_name = "FORMAT", value_parser = format, help_heading = "Rows")]
    pub format: Option<Format>,

    /// Assign columns to roles, such as instruction=question,output=answer. Roles are instruction,
    /// input, output, system; or messages; or prompt, completion. `answers.text.0` is a value
    /// within a column
    #[arg(
        long,
        value_name = "ROLE=COLUMN",
        value_delimiter = ',',
        help_heading = "Rows"
    )]
    pub map: Vec<Mapped>,

    /// Leave out rows that cannot be read, and go on
    #[arg(long, help_heading = "Rows")]
    pub keep_going: bool,

    /// With --keep-going, write rows that are left out here, each with its place and the reason, as
    /// JSON lines; `-` is standard output
    #[arg(long, value_name = "FILE", help_heading = "Rows")]
    pub left_out: Option<PathBuf>,
}

impl ReadingArgs {
    /// Returns the options for reading a file, for a command with this need.
    ///
    /// # Errors
    ///
    /// If `--map` has roles that exclude each other.
    pub fn reading(&self, need: Need) -> anyhow::Result<Reading> {
        Ok(Reading {
            format: self.format,
            mapping: Mapping::new(&self.map).map_err(|what| anyhow!(what))?,
            need,
        })
    }

    /// Returns what to do with rows that cannot be read.
    pub fn policy(&self) -> Policy {
        Policy {
            keep_going: self.keep_going,
            file: self.left_out.clone(),
        }
    }
}

/// Parses the name of a format.
fn format(word: &str) -> Result<Format, String> {
    Format::from_str(word, false).map_err(|_| {
        let names = Format::names(&Format::ALL);
        match word {
            "parquet" | "arrow" | "csv" | "tsv" | "json" | "jsonl" => format!(
                "that is told by the file's content; its fields are those of another format\nhint: leave --format out, or give one of {names}"
            ),
            _ => format!("no such format\nhint: one of {names}"),
        }
    })
}
