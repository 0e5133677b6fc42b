//! How files of tasks are read: what all commands that read them have in common.

use clap::ValueEnum;

use crate::interchange::Format;

/// Reads the name of a format.
pub fn format(word: &str) -> Result<Format, String> {
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
