//! What files and the environment add to a command line ([`crate::settings`]).

use std::ffi::OsString;

use anyhow::{Error, Result, bail};
use clap::{ArgMatches, Command};

use super::args::together::Together;
use super::command;
use super::tree::{self, Tree};
use crate::settings::collect::{self, Sources};
use crate::settings::line::{Line, Resolved, Surroundings};
use crate::settings::merge;
use crate::settings::options::Options;
use crate::settings::written::RunOptions;

/// Returns the command line with its settings, as if they were typed. A line that has a fault of
/// its own, or asks for help, stays as it is.
pub(super) fn added(typed: Vec<OsString>) -> Result<Vec<OsString>> {
    let surroundings = Surroundings::of_process();
    if !surroundings.may_set(&typed) {
        return Ok(typed);
    }
    let root = root_of(&typed);
    let resolved = match Line::of(&root, &typed) {
        Some(line) => line.resolve(&surroundings, &Together, &Tree)?,
        None => None,
    };
    Ok(resolved.map_or(typed, |resolved| resolved.arguments))
}

/// The program with the command of the line, or with all.
fn root_of(line: &[OsString]) -> Command {
    tree::of_line(line).unwrap_or_else(command)
}

/// Returns the options of a complete command line, to run it again.
pub(super) fn of_run(line: &[OsString], matches: &ArgMatches) -> RunOptions {
    let root = root_of(line);
    let (Some(line), Some((name, of_command))) = (Line::of(&root, line), matches.subcommand()) else {
        return RunOptions::default();
    };
    let folder = std::env::current_dir().ok();
    Options::of(&root, name).map_or_else(RunOptions::default, |options| {
        RunOptions::of(&options, &line.typed(), of_command, folder.as_deref(), &Together)
    })
}

/// Returns what holds for the command line that `ewe config` was given.
///
/// # Errors
///
/// If the line is wrong, or what files and the environment add to it.
pub(super) fn resolved(root: &Command, line: &[OsString]) -> Result<Resolved> {
    let Some(cut) = Line::of(root, line) else {
        bail!(
            "there is no command `{}`\nhint: `ewe --help` lists the commands",
            line.get(1)
                .map_or_else(Default::default, |word| word.to_string_lossy())
        );
    };
    if let Some(resolved) = cut.resolve(&Surroundings::of_process(), &Together, &Tree)? {
        return Ok(resolved);
    }
    match root.clone().try_get_matches_from(line) {
        Err(error) => {
            let text = error.render().to_string();
            bail!("{}", text.trim_start_matches("error: ").trim_end())
        }
        Ok(_) => bail!("nothing can be set for this command"),
    }
}

/// Returns where settings come from, and the errors of all commands that could not use them.
/// `typed` says where they stand.
///
/// # Errors
///
/// If the file cannot be read or has unknown names.
pub(super) fn checked(root: &Command, typed: &[OsString]) -> Result<(Sources, Vec<Error>)> {
    let surroundings = Surroundings::of_process();
    let (all, mut errors) = (Options::of_all(root), Vec::new());
    let sources = match all.first() {
        Some(any) => surroundings.sources(any, typed, &Tree)?,
        None => Sources::default(),
    };
    for options in &all {
        let merged = collect::settings(options, &sources)
            .and_then(|settings| merge::merge(options, typed, settings, &Together));
        errors.extend(merged.err());
    }
    Ok((sources, errors))
}

#[cfg(test)]
mod tests;
