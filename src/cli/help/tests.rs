//! The help of every command: groups, headings, examples and width.

use super::*;
use crate::cli;
use std::collections::BTreeMap;

/// The most options under one heading, so that a reader finds one.
const MOST: usize = 16;

fn commands() -> Vec<Command> {
    let mut root = cli::command();
    root.build();
    let commands = root.get_subcommands().cloned();
    commands.filter(|command| command.get_name() != "help").collect()
}

#[test]
fn every_command_is_in_one_group() {
    let mut help = cli::command();
    let text = help.render_long_help().to_string();
    for command in commands() {
        let name = command.get_name();
        let groups = GROUPS.iter().filter(|(_, members)| members.contains(&name));
        assert_eq!(
            groups.count(),
            1,
            "{name}: put it into one of GROUPS in src/cli/help.rs"
        );
        let line = format!("\n  {name} ");
        assert_eq!(text.matches(&line).count(), 1, "{name}: {text}");
    }
    for (group, _) in GROUPS {
        assert!(text.contains(&format!("\n{group}:\n")), "{group}: {text}");
    }
}

#[test]
fn every_command_has_three_examples_that_can_be_typed() {
    for command in commands() {
        let name = command.get_name();
        let after = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let joined = after.replace("\\\n", " ");
        let begin = format!("  ewe {name}");
        let examples: Vec<&str> = joined.lines().filter(|line| line.starts_with(&begin)).collect();
        assert!(
            examples.len() >= 3,
            "{name}: its entry in EXAMPLES of src/cli/help/examples.rs"
        );
        for example in examples {
            let line = example.split([';', '|']).next().unwrap();
            let line = line.split(" > ").next().unwrap();
            // A text in quotes is one argument.
            let words = line.split('"').enumerate().flat_map(|(at, part)| match at % 2 {
                1 => vec![part],
                _ => part.split_whitespace().collect(),
            });
            match cli::command().try_get_matches_from(words) {
                Ok(matches) => {
                    let (name, options) = matches.subcommand().unwrap();
                    assert_eq!(cli::args::together::check(name, options), Ok(()), "{example}");
                }
                // The rest stands in the file.
                Err(error) => assert!(
                    line.contains("--config")
                        && error.kind() == clap::error::ErrorKind::MissingRequiredArgument,
                    "{example}: {error}"
                ),
            }
        }
    }
}

#[test]
fn headings_part_long_lists_of_options() {
    let mut long = Vec::new();
    for command in commands() {
        let mut headings: BTreeMap<&str, usize> = BTreeMap::new();
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            *headings
                .entry(arg.get_help_heading().unwrap_or("Options"))
                .or_default() += 1;
        }
        let of = headings.into_iter().filter(|(_, count)| *count > MOST);
        long.extend(of.map(|(heading, count)| format!("{}: {count} below {heading}", command.get_name())));
    }
    assert!(long.is_empty(), "`help_heading` parts them: {long:#?}");
}

#[test]
fn help_fits_80_columns() {
    let mut all = commands();
    all.push(cli::command());
    for mut command in all {
        for text in [command.render_help(), command.render_long_help()] {
            let text = text.to_string();
            // Clap does not break the line of usage.
            let lines = text.lines().filter(|line| !line.starts_with("Usage:"));
            for line in lines {
                assert!(line.chars().count() <= WIDTH, "{}: {line:?}", command.get_name());
            }
        }
    }
}

/// Commands without `--json`, and the option that receives their result as JSON; none for those
/// that talk to people, or whose output is for a shell or a printer.
const WITHOUT_JSON: [(&str, Option<&str>); 11] = [
    ("review", None),
    ("curate", None),
    ("chat", None),
    ("serve", None),
    ("demo", None),
    ("completions", None),
    ("man", None),
    ("score", Some("out")),
    ("eval", Some("out")),
    ("compare", Some("out")),
    ("gain", Some("result")),
];

#[test]
fn every_command_that_tells_something_tells_it_as_json() {
    for command in commands() {
        let has = |name: &str| command.get_arguments().any(|arg| arg.get_id() == name);
        let name = command.get_name();
        let listed = WITHOUT_JSON.iter().find(|(listed, _)| *listed == name);
        assert_ne!(has("json"), listed.is_some(), "{name}");
        if let Some((_, Some(option))) = listed {
            assert!(has(option), "{name}: --{option}");
        }
    }
}
