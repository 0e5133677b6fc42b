//! Checks of the README: it names every command, every option has a help text, and its command
//! lines have no unknown option.

use clap::CommandFactory;
use ewe::cli::Cli;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

#[test]
fn every_command_is_in_the_readme() {
    let readme = readme();
    for command in Cli::command().get_subcommands() {
        assert!(
            readme.contains(&format!("ewe {}", command.get_name())),
            "{}",
            command.get_name()
        );
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for option in command.get_arguments() {
            assert!(
                option.get_help().is_some(),
                "{} {}",
                command.get_name(),
                option.get_id()
            );
        }
    }
}

#[test]
fn command_lines_of_the_readme_are_valid() {
    let mut count = 0;
    for line in readme().lines().filter_map(|line| line.strip_prefix("    ewe ")) {
        for command in line.split("; ewe ") {
            let command = command.split(" #").next().unwrap();
            // A quoted text is one argument.
            let arguments = command.split('"').enumerate().flat_map(|(i, part)| match i % 2 {
                1 => vec![part],
                _ => part.split_whitespace().collect(),
            });
            let parsed = Cli::command().try_get_matches_from(std::iter::once("ewe").chain(arguments));
            assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 20, "{count}");
}
