//! Checks of the README and of the pages of docs: the README names every command, every option has
//! a help text, and command lines have no unknown option.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;
use ewe::cli::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The Markdown files in `folder` and below.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages
}

/// The lines of the text's code, indented or fenced, without prompts; a line that ends in `\` and
/// the next are one.
fn code_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut fenced = false;
    let mut open = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if !fenced && !line.starts_with("    ") {
            open = false;
            continue;
        }
        let (part, goes_on) = match trimmed.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (trimmed, false),
        };
        match lines.last_mut().filter(|_| open) {
            Some(last) => last.push_str(part),
            None => lines.push(part.strip_prefix("$ ").unwrap_or(part).to_owned()),
        }
        open = goes_on;
    }
    lines
}

/// The arguments of the command line, as a shell would split it, up to a comment, a pipe, a
/// redirection or another command.
fn arguments(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, ' ') => words.extend(word.take()),
            (None, ';') => {
                words.extend(word.take());
                break;
            }
            (None, '#' | '|' | '<' | '>' | '&') if word.is_none() => break,
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The command lines of ewe in the text; not those that leave something out.
fn command_lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in code_lines(text) {
        let commands = line.split("; ").map(str::to_owned);
        found.extend(commands.filter(|command| command.starts_with("ewe ") && !command.contains('…')));
    }
    found
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
fn command_lines_of_the_pages_are_valid() {
    let mut pages = pages(&root().join("docs"));
    let of_docs = pages.len();
    for name in ["README.md", "db/README.md", "seeds/README.md"] {
        pages.push(root().join(name));
    }
    let mut counts = Vec::new();
    for page in &pages {
        let commands = command_lines(&fs::read_to_string(page).unwrap());
        for command in &commands {
            let parsed = Cli::command().try_get_matches_from(arguments(command));
            // The rest stands in the file of --config.
            let error = parsed.err().filter(|error| {
                error.kind() != ErrorKind::MissingRequiredArgument || !command.contains("--config")
            });
            assert!(
                error.is_none(),
                "{}: {command}: {}",
                page.display(),
                error.unwrap()
            );
        }
        counts.push(commands.len());
    }
    assert!(counts[of_docs] >= 20, "README: {}", counts[of_docs]);
    assert!(counts[..of_docs].iter().sum::<usize>() >= 80, "{counts:?}");
}

#[test]
fn command_lines_are_split_as_by_a_shell() {
    let text =
        "Text `ewe no`.\n\n    $ ewe a --b \"c d\" \\\n        e   # f\n    ewe g; ewe h > i\n    said\n";
    let lines = command_lines(text);
    let split: Vec<Vec<String>> = lines.iter().map(|line| arguments(line)).collect();
    assert_eq!(
        split,
        [
            vec!["ewe", "a", "--b", "c d", "e"],
            vec!["ewe", "g"],
            vec!["ewe", "h"]
        ]
    );
}
