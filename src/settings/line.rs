//! A command line with its settings.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use super::collect::{self, PREFIX, Sources};
use super::company::Company;
use super::file::{self, SettingsFile};
use super::merge::{self, Merged};
use super::options::Options;

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

    /// Returns the file and the variables that hold for a command line, as its options `--config`
    /// and `--no-config` say.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has unknown names.
    pub fn sources(&self, root: &Command, matches: &ArgMatches) -> Result<Sources> {
        let variables = self.variables.iter();
        Ok(Sources {
            file: self
                .file(matches)
                .map(|path| SettingsFile::read(&path))
                .transpose()?
                .map(|file| collect::check_names(root, &file).map(|()| file))
                .transpose()?,
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
        typed.or_else(|| variable.map(PathBuf::from)).or_else(|| {
            let home = self.home.as_deref().filter(|home| home.is_absolute());
            file::find(self.folder.as_deref()?, home)
        })
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
        let mut at = 1;
        while at < whole.len() {
            let word = whole[at].to_str();
            match word {
                Some(word) if word.starts_with('-') && word != "-" => {
                    at += 1 + usize::from(wants_next(root, word));
                }
                _ => {
                    root.find_subcommand(&whole[at])?;
                    return Some(Line { root, whole, at });
                }
            }
        }
        None
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
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has unknown names, and as [`merge::merge`].
    pub fn resolve(&self, surroundings: &Surroundings, company: &dyn Company) -> Result<Option<Resolved>> {
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
        let sources = surroundings.sources(self.root, &options.look_at(&typed))?;
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

    /// Whether anything but the line itself can say something: a file, or a variable.
    pub fn may_have_settings(&self, surroundings: &Surroundings) -> bool {
        let asks = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with("--config"));
        let folder = surroundings.folder.as_deref();
        !surroundings.variables.is_empty()
            || self.whole.iter().any(asks)
            || folder.is_some_and(|folder: &Path| file::find(folder, surroundings.home.as_deref()).is_some())
    }
}

/// Returns whether an option before the command has its value in the next word.
fn wants_next(root: &Command, word: &str) -> bool {
    let Some(long) = word.strip_prefix("--") else {
        return false;
    };
    let mut args = root.get_arguments();
    args.any(|arg| arg.get_long() == Some(long) && arg.get_action().takes_values())
}
