//! Paths on the command line: an output is no input, and no other output; `-` is standard output where a text is written.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{ArgMatches, Command, CommandFactory};

use crate::{atomic_file, streams};

/// Options that name what a command writes.
pub const OUTPUTS: [&str; 4] = ["out", "verdicts", "batch_file", "left_out"];

/// What is no text, and so cannot be `-`: commands, the option, what it names.
const NO_TEXTS: [(&[&str], &str, &str); 3] = [
    (&["backup"], "out", "a dataset"),
    (&["train", "merge"], "out", "a folder"),
    (&[], "db", "a dataset"),
];

/// Other names of standard output.
const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Refuses a command line whose output is what it reads, or what it writes by another option. An output that is a dataset
/// or belongs to one is refused where it is written ([`crate::atomic_file`]). Where an output is standard output, that is kept for it
/// from now on ([`streams::keep_for_data`]).
///
/// # Errors
///
/// The message names both options and the path.
pub fn check(matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(());
    };
    let command = crate::cli::Cli::command();
    let command = command
        .find_subcommand(name)
        .expect("clap knows what it has parsed");
    let paths = paths(command, matches);
    for path in paths.iter().filter(|path| atomic_file::is_stdout(&path.path)) {
        path.refuse_no_text(name)?;
    }
    if let Some(Named { option, .. }) = paths.iter().find(|path| path.is_stdout()) {
        if matches.try_get_one("json").ok().flatten() == Some(&true) {
            bail!(
                "--json and {option} would both write to standard output\nhint: give {option} the name of a file"
            );
        }
        streams::keep_for_data();
    }
    for (at, output) in paths.iter().enumerate().filter(|(_, path)| path.is_output) {
        // Of two outputs each is compared with the other once.
        let others = paths
            .iter()
            .enumerate()
            .filter(|(other, path)| *other < at || *other > at && !path.is_output);
        for (_, other) in others {
            if output.is_same(other) {
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

impl Named {
    fn is_stdout(&self) -> bool {
        let is_other_name = STDOUT.iter().any(|name| self.path == Path::new(name));
        self.is_output && (atomic_file::is_stdout(&self.path) || is_other_name)
    }

    /// Fails where this is `-` and `command` means something else than a text by it.
    fn refuse_no_text(&self, command: &str) -> anyhow::Result<()> {
        for (commands, option, what) in NO_TEXTS {
            if self.option == format!("--{option}") && (commands.is_empty() || commands.contains(&command)) {
                bail!(
                    "{} of `ewe {command}` is {what}, and cannot be `-`, which is standard {}\nhint: give it a name; `./-` is one that is called `-`",
                    self.option,
                    if self.is_output { "output" } else { "input" },
                );
            }
        }
        Ok(())
    }

    fn is_same(&self, other: &Named) -> bool {
        match (self.is_stdout(), other.is_stdout()) {
            (true, true) => true,
            // What is read from `-` is standard input.
            _ if atomic_file::is_stdout(&self.path) || atomic_file::is_stdout(&other.path) => false,
            _ => is_same(&self.path, &other.path),
        }
    }
}

/// What was given to arguments that take files or directories, with those that write known by their names.
fn paths(command: &Command, matches: &ArgMatches) -> Vec<Named> {
    let mut paths = Vec::new();
    for argument in command.get_arguments().filter(|argument| is_path(argument)) {
        let id = argument.get_id().as_str();
        let option = match argument.get_long() {
            Some(long) => format!("--{long}"),
            None => format!("<{}>", id.to_uppercase()),
        };
        let values = matches.get_raw(id).into_iter().flatten();
        paths.extend(values.map(|value| Named {
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
