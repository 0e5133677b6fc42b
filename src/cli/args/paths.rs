//! Paths on the command line: an output must not be an input or another output, and `-` is standard
//! output only for text.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{ArgMatches, Command, CommandFactory};

use crate::{atomic_file, streams};

/// The options of outputs.
pub const OUTPUTS: [&str; 8] = [
    "answers",
    "out",
    "verdicts",
    "batch_file",
    "left_out",
    "dir",
    "gguf",
    "result",
];

/// Options that cannot be `-` because they name no text: commands, option, what it names.
const NO_TEXTS: [(&[&str], &str, &str); 5] = [
    (&["backup", "merge-db"], "out", "a dataset"),
    (&["train", "merge", "man", "gain"], "out", "a folder"),
    (&["demo"], "dir", "a folder"),
    (&["merge"], "gguf", "a GGUF file"),
    (&[], "db", "a dataset"),
];

/// Other names of standard output.
const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Refuses a command line whose output is also an input, or another output. An output that is a
/// dataset or belongs to one is refused where it is written ([`crate::atomic_file`]). If an output
/// is standard output, keeps that for it from now on ([`streams::keep_for_data`]).
///
/// # Errors
///
/// The message names both options and the path.
pub fn check(matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(());
    };
    let command = crate::cli::tree::options_of(name).unwrap_or_else(|| {
        let whole = crate::cli::Cli::command();
        let command = whole.find_subcommand(name);
        command.expect("clap knows what it has parsed").clone()
    });
    let paths = paths(&command, matches);
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
        // Each pair of outputs is compared once.
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
    /// The option as typed.
    option: String,
    path: PathBuf,
    is_output: bool,
}

impl Named {
    fn is_stdout(&self) -> bool {
        let is_other_name = STDOUT.iter().any(|name| self.path == Path::new(name));
        self.is_output && (atomic_file::is_stdout(&self.path) || is_other_name)
    }

    /// Fails if this is `-` and `command` means something else than text by it.
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
            // An input `-` is standard input.
            _ if atomic_file::is_stdout(&self.path) || atomic_file::is_stdout(&other.path) => false,
            _ => is_same(&self.path, &other.path),
        }
    }
}

/// Returns the values of all arguments that take files or directories.
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

/// Whether an argument takes a file or a directory, judged by the name of its value.
pub fn is_path(argument: &clap::Arg) -> bool {
    let names = argument.get_value_names().unwrap_or_default();
    names
        .iter()
        .any(|name| ["FILE", "DIR", "jsonl"].iter().any(|word| name.contains(word)))
}

/// Whether two paths lead to the same file or directory, or would once it exists. A pipe or a
/// device may be both.
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

/// Returns where a missing file will be.
fn absent(path: &Path) -> Option<PathBuf> {
    let parent = atomic_file::parent(path);
    Some(parent.canonicalize().ok()?.join(path.file_name()?))
}
