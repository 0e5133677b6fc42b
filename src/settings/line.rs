//! A command line with its settings.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use super::collect::{self, PREFIX, Sources};
use super::company::Company;
use super::file::{self, SettingsFile};
use super::merge::{self, Merged};
use super::options::{Commands, Options};

/// Where a command runs, as far as its settings depend on it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The working folder, absolute; none if it is gone.
    pub folder: Option<PathBuf>,
    /// The home folder.
    pub home: Option<PathBuf>,
    /// Variables of the environment.
    pub variables: BTreeMap<String, OsString>,
}

impl Surroundings {
    /// Returns those of this process.
    pub fn of_process() -> Surroundings {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Surroundings {
            folder: std::env::current_dir().ok(),
            home: std::env::home_dir(),
            variables: std::env::vars_os()
                .filter_map(named)
                .filter(|(name, _)| name.starts_with(PREFIX))
                .collect(),
        }
    }

    /// Returns whether a file or a variable may say something for a command line.
    pub fn may_set(&self, line: &[OsString]) -> bool {
        let asks = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with("--config"));
        !self.variables.is_empty() || line.iter().any(asks) || self.found().is_some()
    }

    /// Returns the file and the variables that hold for the `typed` arguments of a command, as
    /// `--config` and `--no-config` among them say.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has unknown names.
    pub fn sources(&self, options: &Options, typed: &[OsString], commands: &dyn Commands) -> Result<Sources> {
        let file = match self.file(&options.look_at(typed)) {
            Some(path) => Some(SettingsFile::read(&path)?),
            None => None,
        };
        if let Some(file) = &file {
            collect::check_names(options, commands, file)?;
        }
        let variables = self.variables.iter();
        Ok(Sources {
            file,
            variables: variables
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }

    /// The path of the file.
    fn file(&self, matches: &ArgMatches) -> Option<PathBuf> {
        if matches.get_flag("no_config") {
            return None;
        }
        let variable = self.variables.get("EWE_CONFIG").filter(|path| !path.is_empty());
        let typed = matches.get_one::<PathBuf>("config").cloned();
        typed
            .or_else(|| variable.map(PathBuf::from))
            .or_else(|| self.found())
    }

    /// The path of the file that nobody names.
    fn found(&self) -> Option<PathBuf> {
        let home = self.home.as_deref().filter(|home| home.is_absolute());
        file::find(self.folder.as_deref()?, home)
    }
}

/// A command line, cut at its command.
#[derive(Debug)]
pub struct Line<'a> {
    root: &'a Command,
    whole: &'a [OsString],
    /// The place of the command's name.
    at: usize,
}

/// A command line whose settings are known.
pub struct Resolved {
    /// The options of its command.
    pub options: Options,
    /// Where settings come from.
    pub sources: Sources,
    /// The settings that hold, and those that do not.
    pub merged: Merged,
    /// The line with its settings, as if they were typed.
    pub arguments: Vec<OsString>,
}

impl<'a> Line<'a> {
    /// Finds the command in the arguments of the program `root`, of which the first is its own
    /// name; none if there is no command.
    pub fn of(root: &'a Command, whole: &'a [OsString]) -> Option<Line<'a>> {
        let at = command_at(root, whole)?;
        root.find_subcommand(&whole[at])?;
        Some(Line { root, whole, at })
    }

    /// Returns the name of the command.
    pub fn command(&self) -> &OsStr {
        &self.whole[self.at]
    }

    /// Returns the arguments around the name of the command.
    pub fn typed(&self) -> Vec<OsString> {
        let (before, after) = (&self.whole[1..self.at], &self.whole[self.at + 1..]);
        [before, after].concat()
    }

    /// Finds the settings of the line. None if the line has a fault of its own, or asks for help.
    /// `root` need only have the command of the line; `commands` are all that there are.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has unknown names, and as [`merge::merge`].
    pub fn resolve(
        &self,
        surroundings: &Surroundings,
        company: &dyn Company,
        commands: &dyn Commands,
    ) -> Result<Option<Resolved>> {
        let Some(options) = self.root.find_subcommand(self.command()) else {
            return Ok(None);
        };
        let Some(options) = Options::of(self.root, options.get_name()) else {
            return Ok(None);
        };
        let typed = self.typed();
        if let Err(error) = options.parse(&typed)
            && error.kind() != ErrorKind::MissingRequiredArgument
        {
            return Ok(None);
        }
        let sources = surroundings.sources(&options, &typed, commands)?;
        let settings = collect::settings(&options, &sources)?;
        let merged = merge::merge(&options, &typed, settings, company)?;
        let (until, after) = self.whole.split_at(self.at + 1);
        let arguments = [until, &merged.arguments[..], after].concat();
        Ok(Some(Resolved {
            options,
            sources,
            merged,
            arguments,
        }))
    }
}

/// Returns the place of the first word of a line that is neither an option of every command nor its
/// value, which is the name of a command if the line is right. The first word is the program's own
/// name. `program` has the options of every command.
pub fn command_at(program: &Command, line: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while at < line.len() {
        match line[at].to_str() {
            Some(word) if word.starts_with('-') && word != "-" => {
                at += 1 + usize::from(wants_next(program, word));
            }
            _ => return Some(at),
        }
    }
    None
}

/// Returns whether an option before the command has its value in the next word.
fn wants_next(root: &Command, word: &str) -> bool {
    let Some(long) = word.strip_prefix("--") else {
        return false;
    };
    let mut args = root.get_arguments();
    args.any(|arg| arg.get_long() == Some(long) && arg.get_action().takes_values())
}
