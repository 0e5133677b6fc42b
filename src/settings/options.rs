//! The options of a command, as clap describes them.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// Options that say where settings stand, or that are no settings. A program that runs is typed.
const NO_SETTINGS: [&str; 5] = ["help", "version", "config", "no-config", "validator"];

/// Commands that take no settings. The first two tell what holds, and must work where a file is
/// broken. What leaves the machine, and who may read it, is typed.
pub const WITHOUT: [&str; 3] = ["config", "doctor", "push"];

/// Options whose values are secrets, with what takes their place in a file.
pub const SECRETS: [(&str, &str); 1] = [(
    "token",
    "`token-file` names a file that holds it; the variable EWE_TOKEN holds it itself",
)];

/// The commands of the program. To describe all takes longer than most commands take to start.
pub trait Commands {
    /// Returns the program with the command of this name alone; none if there is no such command.
    fn one(&self, name: &str) -> Option<Command>;

    /// Returns the program with all commands.
    fn all(&self) -> Command;
}

/// A command with the options of every command, apart from the others.
pub struct Options {
    command: Command,
}

impl Options {
    /// Returns the options of the command `name` of the program `root`; none if there is no such
    /// command, or one that takes no settings.
    pub fn of(root: &Command, name: &str) -> Option<Options> {
        if WITHOUT.contains(&name) {
            return None;
        }
        let globals = root.get_arguments().filter(|arg| arg.is_global_set()).cloned();
        let command = root.find_subcommand(name)?.clone().args(globals);
        Some(Options { command })
    }

    /// Returns the options of all commands of `root`.
    pub fn of_all(root: &Command) -> Vec<Options> {
        let names = root.get_subcommands().map(Command::get_name);
        names.filter_map(|name| Options::of(root, name)).collect()
    }

    /// Returns the name of the command.
    pub fn command(&self) -> &str {
        self.command.get_name()
    }

    /// Returns the options that can be set, in the order of the help.
    pub fn all(&self) -> impl Iterator<Item = &Arg> {
        self.command.get_arguments().filter(|arg| can_be_set(arg))
    }

    /// Returns the option that a key means: its long name or an alias, with dashes or underscores.
    pub fn named(&self, key: &str) -> Option<&Arg> {
        let key = key.replace('_', "-");
        self.all().find(|arg| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(key.as_str()) || aliases.contains(&key.as_str())
        })
    }

    /// Returns the option with this id.
    pub fn find(&self, id: &str) -> Option<&Arg> {
        self.command.get_arguments().find(|arg| arg.get_id() == id)
    }

    /// Returns the pairs of ids of which clap takes only one, each in both orders.
    pub fn exclusions(&self) -> BTreeSet<(String, String)> {
        let mut pairs = BTreeSet::new();
        let mut add = |one: &str, other: &str| {
            pairs.insert((one.to_owned(), other.to_owned()));
            pairs.insert((other.to_owned(), one.to_owned()));
        };
        for arg in self.command.get_arguments() {
            for other in self.command.get_arg_conflicts_with(arg) {
                add(arg.get_id().as_str(), other.get_id().as_str());
            }
        }
        // Options that name their group themselves are among its members once it is built.
        let mut built = self.command.clone();
        built.build();
        for group in built.get_groups() {
            if group.clone().is_multiple() {
                continue;
            }
            let members: Vec<&str> = group.get_args().map(|id| id.as_str()).collect();
            for one in &members {
                for other in members.iter().filter(|other| *other != one) {
                    add(one, other);
                }
            }
        }
        pairs
    }

    /// Parses the arguments of the command.
    ///
    /// # Errors
    ///
    /// Those of clap.
    pub fn parse(&self, line: &[OsString]) -> Result<ArgMatches, clap::Error> {
        self.command.clone().try_get_matches_from(self.with_name(line))
    }

    /// Parses the arguments of the command as far as they can be understood: what is missing or
    /// contradicts itself is no error.
    pub fn look_at(&self, line: &[OsString]) -> ArgMatches {
        let tolerant = self.command.clone().ignore_errors(true);
        let parsed = tolerant.try_get_matches_from(self.with_name(line));
        // Only a request for help is an error then.
        parsed.unwrap_or_default()
    }

    /// Returns the ids of arguments that stand in the line.
    pub fn given(&self, line: &[OsString]) -> BTreeSet<String> {
        let matches = self.look_at(line);
        let args = self.command.get_arguments().map(|arg| arg.get_id().as_str());
        args.filter(|id| is_given(&matches, id))
            .map(str::to_owned)
            .collect()
    }

    /// Returns what clap misses in the line, in its words; nothing if the line has another fault.
    pub fn missing(&self, line: &[OsString]) -> BTreeSet<String> {
        match self.parse(line) {
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                match error.get(ContextKind::InvalidArg) {
                    Some(ContextValue::Strings(words)) => words.iter().cloned().collect(),
                    Some(ContextValue::String(word)) => BTreeSet::from([word.clone()]),
                    _ => BTreeSet::new(),
                }
            }
            _ => BTreeSet::new(),
        }
    }

    fn with_name(&self, line: &[OsString]) -> Vec<OsString> {
        let name = OsString::from(self.command.get_name());
        std::iter::once(name).chain(line.iter().cloned()).collect()
    }
}

/// Returns whether the argument `id` was typed, or set as if it was. Not every command has each.
pub fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// Returns whether settings may set an argument: positional ones are typed.
fn can_be_set(arg: &Arg) -> bool {
    let Some(long) = arg.get_long() else {
        return false;
    };
    let is_secret = SECRETS.iter().any(|(name, _)| *name == long);
    let action = arg.get_action();
    !NO_SETTINGS.contains(&long)
        && !is_secret
        && (action.takes_values() || is_flag(arg) || matches!(action, ArgAction::Count))
}

/// Returns whether an option is a flag, on or off.
pub fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Returns whether an option may be given several times.
pub fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// How the text of an option names a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathForm {
    /// Not at all.
    No,
    /// It is one.
    Always,
    /// It is one if there is such a file or directory; else it is an id on a hub.
    IfThere,
    /// It is one if it looks like one, with a dot or a slash, and exists; else it is a name.
    IfNotAName,
    /// As a model of `ewe compare`: two paths with `+` between, or an address.
    Model,
}

/// Returns how the values of an option name paths, judged by their type and the name in the help.
pub fn path_form(arg: &Arg) -> PathForm {
    let names = arg.get_value_names().unwrap_or_default();
    let parts: Vec<&str> = names.iter().flat_map(|name| name.split('|')).collect();
    let is_path = |part: &&str| {
        ["FILE", "DIR", "json", "SUITE"]
            .iter()
            .any(|word| part.contains(word))
    };
    let has_path_type = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    if parts.contains(&"MODEL") {
        PathForm::Model
    } else if parts.iter().any(|part| part.contains("HF_ID")) {
        PathForm::IfThere
    } else if has_path_type || !parts.is_empty() && parts.iter().all(is_path) {
        PathForm::Always
    } else if parts.iter().any(is_path) {
        PathForm::IfNotAName
    } else {
        PathForm::No
    }
}

/// Where a path stands in the text of an option that names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathPlace {
    /// The text is the path.
    Whole,
    /// After an equals sign, as in `ifeval=FILE`; a text without one has no path.
    AfterName,
    /// After an equals sign if there is one, as in `[NAME=]DIR`.
    AfterAnyName,
}

/// Returns where the path stands.
pub fn path_place(arg: &Arg) -> PathPlace {
    let names = arg.get_value_names().unwrap_or_default();
    let has = |what: &[&str]| {
        names
            .iter()
            .any(|name| what.iter().any(|what| name.contains(what)))
    };
    match (has(&["=]"]), has(&["=", "SUITE"])) {
        (true, _) => PathPlace::AfterAnyName,
        (false, true) => PathPlace::AfterName,
        (false, false) => PathPlace::Whole,
    }
}
