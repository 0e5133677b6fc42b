//! Paths on the command line: an output is no input, and no other output.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{ArgMatches, Command, CommandFactory};

/// Options that name what a command writes.
pub const OUTPUTS: [&str; 4] = ["out", "verdicts", "batch_file", "left_out"];

/// Refuses a command line whose output is what it reads, or what it writes by another option. An output that is a dataset
/// or belongs to one is refused where it is written ([`crate::replace`]).
///
/// # Errors
///
/// The message names both options and the path.
pub fn check(matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(());
    };
    let command = super::Cli::command();
    let command = command
        .find_subcommand(name)
        .expect("clap knows what it has parsed");
    let paths = paths(command, matches);
    for (at, output) in paths.iter().enumerate().filter(|(_, path)| path.is_output) {
        // Of two outputs each is compared with the other once.
        let others = paths
            .iter()
            .enumerate()
            .filter(|(other, path)| *other < at || *other > at && !path.is_output);
        for (_, other) in others {
            if is_same(&output.path, &other.path) {
                bail!(
                    "{} and {} are the same: `{}`\nhint: choose another name for {}",
                    other.option,
                    output.option,
                    output.path.display(),
                    output.option
                );
            }
        }
    }
    Ok(())
}

struct Named {
    /// As it is typed.
    option: String,
    path: PathBuf,
    is_output: bool,
}

/// What was given to arguments that take files or directories; those that write, and `-`, as they are known by their names.
fn paths(command: &Command, matches: &ArgMatches) -> Vec<Named> {
    let mut paths = Vec::new();
    for argument in command.get_arguments().filter(|argument| is_path(argument)) {
        let id = argument.get_id().as_str();
        let option = match argument.get_long() {
            Some(long) => format!("--{long}"),
            None => format!("<{}>", id.to_uppercase()),
        };
        let values = matches.get_raw(id).into_iter().flatten();
        paths.extend(values.filter(|value| *value != "-").map(|value| Named {
            option: option.clone(),
            path: value.into(),
            is_output: OUTPUTS.contains(&id),
        }));
    }
    paths
}

/// Whether an argument takes a file or a directory: its value has such a name.
pub fn is_path(argument: &clap::Arg) -> bool {
    let names = argument.get_value_names().unwrap_or_default();
    names
        .iter()
        .any(|name| ["FILE", "DIR", "jsonl"].iter().any(|word| name.contains(word)))
}

/// Whether two paths mean the same file or directory, or would once it is there. A pipe or a device may be both.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => {
            let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
            (one.is_file() || one.is_dir()) && identity(&one) == identity(&other)
        }
        (Err(_), Err(_)) => absent(one).is_some_and(|one| Some(one) == absent(other)),
        _ => false,
    }
}

/// Where something will be that is not there yet.
fn absent(path: &Path) -> Option<PathBuf> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    Some(parent.canonicalize().ok()?.join(path.file_name()?))
}
