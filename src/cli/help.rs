//! The help: commands in groups, and examples of each.

mod examples;

use std::fmt::Write;

use clap::Command;
use clap::builder::StyledStr;

use crate::settings::shown::wrapped;
use examples::EXAMPLES;

/// How wide help is at the most.
const WIDTH: usize = 80;

/// The groups of commands, in the order of a first dataset. A command that is in none stands with
/// the last; a test finds it.
pub const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Grow a dataset",
        &[
            "demo",
            "init",
            "generate",
            "judge",
            "validate",
            "recipe",
            "filter",
            "import",
            "add-documents",
            "export",
            "backup",
            "merge-db",
            "check",
        ],
    ),
    (
        "Look at it and curate it",
        &[
            "list",
            "show",
            "search",
            "review",
            "curate",
            "accept",
            "reject",
            "unsure",
            "assign",
            "agreement",
            "comment",
            "edit",
            "field",
            "label",
            "undo",
            "log",
            "candidates",
            "rescue",
            "stats",
            "report",
        ],
    ),
    ("Train", &["plan", "train", "merge", "push"]),
    ("Ask", &["chat", "complete", "serve"]),
    (
        "Evaluate",
        &["split", "eval", "compare", "score", "influence", "gain"],
    ),
    (
        "The program itself",
        &["config", "doctor", "selftest", "completions", "man", "help"],
    ),
];

/// What follows the list of commands.
const MORE: &str = "`ewe COMMAND --help` has the options of a command, and examples. Options can\n\
                    also stand in ewe.toml or in variables: `ewe config` shows what holds.";

/// Returns the command line with its commands in groups, and with examples.
pub fn arranged(mut root: Command) -> Command {
    for command in root.get_subcommands_mut() {
        let own = EXAMPLES.iter().find(|(name, _)| *name == command.get_name());
        if let Some((_, lines)) = own {
            *command = with_examples(std::mem::take(command), lines);
        }
    }
    let template = template(&root);
    root.help_template(template)
}

/// Adds examples below what there is to say.
fn with_examples(command: Command, lines: &[&str]) -> Command {
    let mut text = match command.get_after_help() {
        // A command may have its own.
        Some(before) if before.to_string().contains("Examples:") => return command,
        Some(before) => format!("{before}\n\n"),
        None => String::new(),
    };
    text += "Examples:";
    for line in lines {
        let _ = write!(text, "\n  {}", line.replace('\n', "\n      "));
    }
    command.after_help(text)
}

/// The layout of `ewe --help`.
fn template(root: &Command) -> StyledStr {
    let header = *root.get_styles().get_header();
    let literal = *root.get_styles().get_literal();
    let visible: Vec<&Command> = root
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    let names = visible.iter().map(|command| command.get_name().len());
    let column = names.max().unwrap_or(0);
    let mut text = "{before-help}{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (at, (group, members)) in GROUPS.iter().enumerate() {
        let _ = write!(text, "\n{header}{group}:{header:#}\n");
        let is_last = at + 1 == GROUPS.len();
        let own = members.iter().filter_map(|name| {
            let mut found = visible.iter();
            found.find(|command| command.get_name() == *name)
        });
        let others = visible
            .iter()
            .filter(|command| is_last && !is_grouped(command.get_name()));
        for command in own.chain(others) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let lines = wrapped(&about, WIDTH - column - 4);
            // The lines are moved in by two already.
            let indent = format!("\n{:1$}", "", column + 2);
            let _ = writeln!(
                text,
                "  {literal}{:column$}{literal:#}  {}",
                command.get_name(),
                lines.replace('\n', &indent)
            );
        }
    }
    let _ = write!(text, "\n{header}Options:{header:#}\n{{options}}\n\n{MORE}");
    text.into()
}

/// Returns whether a command is in a group.
pub fn is_grouped(name: &str) -> bool {
    GROUPS.iter().any(|(_, members)| members.contains(&name))
}

#[cfg(test)]
mod tests;
