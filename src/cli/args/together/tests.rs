//! That no option is passed over is looked for with every option of every command: whoever adds one
//! says to what it belongs.

mod lists;

use super::*;
use crate::cli::Cli;
use crate::cli::args::values::VALUES;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, Error};
use lists::{ANYWAY, BELONGS};
use std::collections::{BTreeMap, BTreeSet};

/// The names of arguments.
type Names = BTreeSet<String>;

/// A command, and each of its arguments as it may be typed.
struct Known {
    command: Command,
    words: BTreeMap<String, String>,
}

impl Known {
    fn all() -> Vec<Known> {
        Cli::command()
            .get_subcommands()
            .cloned()
            .map(Known::new)
            .collect()
    }

    fn new(mut command: Command) -> Known {
        command.build();
        let args = command.get_arguments();
        let ours = args.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()));
        let words = ours
            .map(|arg| (arg.get_id().to_string(), word(&command, arg)))
            .collect();
        Known { command, words }
    }

    fn name(&self) -> &str {
        self.command.get_name()
    }

    fn names(&self) -> Names {
        self.words.keys().cloned().collect()
    }

    fn parse(&self, line: &Names) -> Result<ArgMatches, Error> {
        parse(&self.command, line.iter().map(|name| self.words[name].as_str()))
    }

    /// What clap misses.
    fn missing(&self, line: &Names) -> Names {
        let Err(error) = self.parse(line) else {
            return Names::new();
        };
        let Some(ContextValue::Strings(texts)) = error
            .get(ContextKind::InvalidArg)
            .filter(|_| error.kind() == ErrorKind::MissingRequiredArgument)
        else {
            return Names::new();
        };
        let is_named = |arg: &&Arg| {
            arg.get_long().is_some_and(|long| {
                let long = format!("--{long}");
                let mut parts = texts
                    .iter()
                    .flat_map(|text| text.split([' ', '<', '|', '>', '=']));
                parts.any(|part| part == long)
            })
        };
        let named = self.command.get_arguments().filter(is_named);
        named.map(|arg| arg.get_id().to_string()).collect()
    }

    /// The shortest lines that it takes, one for each of the ways that it wants one of.
    fn ways(&self) -> Vec<Names> {
        let required = self.command.get_arguments().filter(|arg| arg.is_required_set());
        let required: Names = required.map(|arg| arg.get_id().to_string()).collect();
        let groups = self.command.get_groups().filter(|group| group.is_required_set());
        let mut lines = vec![required];
        for group in groups {
            let each = |line: &Names| {
                group
                    .get_args()
                    .map(|arg| with(line, arg.as_str()))
                    .collect::<Vec<_>>()
            };
            lines = lines.iter().flat_map(each).collect();
        }
        for line in &mut lines {
            line.extend(self.missing(line));
            let parsed = self.parse(line);
            assert!(parsed.is_ok(), "{}: {line:?} {parsed:?}", self.name());
        }
        lines
    }

    /// Whether an option has a value even where it is not given.
    fn has_default(&self, name: &str) -> bool {
        let mut args = self.command.get_arguments();
        args.any(|arg| {
            let is_valued = arg.get_action().takes_values() && !arg.get_default_values().is_empty();
            arg.get_id() == name && is_valued
        })
    }

    /// Whether the line is refused, by clap or by the table.
    fn refuses(&self, line: &Names) -> bool {
        match self.parse(line) {
            Ok(matches) => check(self.name(), &matches).is_err(),
            Err(_) => true,
        }
    }
}

fn parse<'a>(command: &Command, words: impl Iterator<Item = &'a str>) -> Result<ArgMatches, Error> {
    let words = words.map(str::to_owned);
    let line: Vec<String> = std::iter::once(command.get_name().to_owned())
        .chain(words)
        .collect();
    command.clone().try_get_matches_from(line)
}

/// An argument as it may be typed.
fn word(command: &Command, arg: &Arg) -> String {
    let typed = |value: &str| match arg.get_long() {
        Some(long) => format!("--{long}={value}"),
        None => value.to_owned(),
    };
    if !arg.get_action().takes_values() {
        return format!("--{}", arg.get_long().expect("flags have names"));
    }
    let possible = arg.get_possible_values();
    let possible = possible.iter().map(|value| value.get_name());
    let unfit = [ErrorKind::ValueValidation, ErrorKind::InvalidValue];
    possible
        .chain(VALUES.iter().copied())
        .map(typed)
        .find(|word| {
            let parsed = parse(command, std::iter::once(word.as_str()));
            parsed.map_or_else(|error| !unfit.contains(&error.kind()), |_| true)
        })
        .unwrap_or_else(|| {
            panic!(
                "{}: `{}` takes none of the values",
                command.get_name(),
                arg.get_id()
            )
        })
}

fn with(line: &Names, more: &str) -> Names {
    let mut line = line.clone();
    line.insert(more.to_owned());
    line
}

#[test]
fn every_name_is_an_option_of_its_commands() {
    let commands = Known::all();
    let names_of = |name: &str| {
        let command = commands.iter().find(|command| command.name() == name);
        command.expect(name).names()
    };
    for idle in ALL.iter() {
        for command in idle.commands {
            let known = names_of(command);
            for option in idle.options {
                assert!(known.contains(*option), "{command} {option}");
            }
            // A way out is one that the command has.
            let parts = idle.hint.split([' ', ',', ';']);
            for part in parts.filter(|part| part.starts_with("--")) {
                let option = part.trim_start_matches("--").replace('-', "_");
                assert!(known.contains(&option), "{command}: {part}");
            }
        }
        let known = |name: &str| {
            let mut commands = idle.commands.iter();
            commands.any(|command| names_of(command).contains(name))
        };
        match idle.when {
            Is(option, _) | IsFile(option) => assert!(known(option), "{option}"),
            With(options) | Without(options) => {
                options
                    .iter()
                    .for_each(|option| assert!(known(option), "{option}"));
            }
        }
    }
}

/// Clap forgets a requirement that conflicts with something that is given.
#[test]
fn no_requirement_is_forgotten_in_any_company() {
    let mut found = 0;
    for command in Known::all() {
        let (ways, names) = (command.ways(), command.names());
        for option in &names {
            let without = || ways.iter().filter(|way| !way.contains(option));
            let wanted: Names = without()
                .flat_map(|way| command.missing(&with(way, option)))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            found += 1;
            for other in &names {
                for way in without() {
                    let line = with(&with(way, option), other);
                    assert!(
                        line.iter().any(|name| wanted.contains(name)) || command.refuses(&line),
                        "{}: {line:?} is taken, and `{option}` wants one of {wanted:?}",
                        command.name()
                    );
                }
            }
        }
    }
    assert!(found >= 5, "{found}");
}

#[test]
fn every_option_is_refused_without_what_it_belongs_to() {
    for command in Known::all() {
        let (ways, names) = (command.ways(), command.names());
        for (options, companions) in BELONGS {
            let is_there = |way: &Names, name: &str| way.contains(name) || command.has_default(name);
            let is_alone = |way: &&Names| !companions.iter().any(|name| is_there(way, name));
            if !companions.iter().any(|name| names.contains(*name)) {
                continue;
            }
            for way in ways.iter().filter(is_alone) {
                for option in options.iter().filter(|name| names.contains(**name)) {
                    assert!(
                        way.contains(*option) || command.refuses(&with(way, option)),
                        "{}: {way:?} takes `{option}`, which belongs to one of {companions:?}",
                        command.name()
                    );
                }
            }
        }
        // Where there is one way only, whatever belongs to it belongs to all there is.
        if ways.len() < 2 {
            continue;
        }
        for name in names.iter().map(String::as_str) {
            assert!(
                ANYWAY.contains(&name)
                    || BELONGS.iter().any(|(options, _)| options.contains(&name))
                    || ways.iter().any(|way| way.contains(name)),
                "{}: to what does `{name}` belong? There are several ways to use the command",
                command.name()
            );
        }
    }
}
