//! A text that names an option names one that the command has: read from the sources, for every command that can come to
//! the text.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory;
use ewe::cli::Cli;
use regex::Regex;

use crate::source::Sources;

/// Texts that commands without the option are found to come to, and do not: file, option, why.
const NEVER_SHOWN_THERE: &[(&str, &str, &str)] = &[
    (
        "client/address.rs",
        "api-key-env",
        "a model of one's own has no address",
    ),
    (
        "client/address.rs",
        "header-env",
        "a model of one's own has no address",
    ),
    ("client/endpoint.rs", "api", "a model of one's own is no endpoint"),
    (
        "client/endpoint.rs",
        "api-key-env",
        "a model of one's own is no endpoint",
    ),
    (
        "client/mod.rs",
        "concurrency",
        "a model of one's own is no endpoint",
    ),
    (
        "client/key.rs",
        "api-key-env",
        "a model of one's own takes no key",
    ),
    ("train/plan/change.rs", "clip", "plan tells it behind `ewe train`"),
];

/// The long options of each command.
fn options() -> BTreeMap<String, BTreeSet<String>> {
    let mut cli = Cli::command();
    cli.build();
    let options = |command: &clap::Command| {
        let options = command.get_arguments().filter_map(|argument| argument.get_long());
        options.map(str::to_string).collect()
    };
    cli.get_subcommands()
        .filter(|command| command.get_name() != "help")
        .map(|command| (command.get_name().to_string(), options(command)))
        .collect()
}

#[test]
fn every_option_that_a_text_names_is_one_of_the_command() {
    let options = options();
    let sources = Sources::read();
    let entries = sources.entries();
    assert!(entries.len() >= 8, "{entries:?}");
    let mut reached = BTreeMap::new();
    for command in options.keys() {
        let file = match command.as_str() {
            "reject" => "cli/accept.rs".to_string(),
            command => format!("cli/{command}.rs"),
        };
        let mut from: Vec<_> = ["run", "open"]
            .iter()
            .flat_map(|name| sources.named(&file, name))
            .collect();
        let ours = |(name, file): &&(String, String)| {
            name == command || command == "chat" && file == "chat/terminal.rs"
        };
        from.extend(
            entries
                .iter()
                .filter(ours)
                .flat_map(|(_, file)| sources.named(file, "run")),
        );
        if ["generate", "judge"].contains(&command.as_str()) {
            from.extend(sources.named("engine/handle.rs", "open"));
            from.extend(sources.named("eval/complete.rs", "config"));
        }
        if command == "train" {
            from.extend(sources.named("train/run.rs", "run"));
        }
        reached.insert(command.as_str(), sources.reached(from));
    }
    let comes_to = |command: &str, file: &str, name: &str| {
        sources
            .named(file, name)
            .any(|place| reached[command].contains(&place))
    };
    assert!(
        comes_to("filter", "interchange/read.rs", "open") && comes_to("train", "train/steps.rs", "steps")
    );
    assert!(!comes_to("list", "interchange/read.rs", "open"));
    let option = Regex::new(r"(?:^|[^\w-])--([a-z][a-z-]*[a-z])").unwrap();
    let quoted = Regex::new(r"`ewe ([a-z]+)([^`]*)`").unwrap();
    let (mut wrong, mut looked_at) = (Vec::new(), 0);
    for (file, source) in &sources.files {
        for text in &source.texts {
            let place = format!("src/{file}:{}", text.line);
            for found in quoted.captures_iter(&text.text) {
                let Some(has) = options.get(&found[1]) else {
                    wrong.push(format!("{place}: there is no command `ewe {}`", &found[1]));
                    continue;
                };
                for name in option
                    .captures_iter(&found[2])
                    .filter(|name| !has.contains(&name[1]))
                {
                    wrong.push(format!("{place}: `ewe {}` has no --{}", &found[1], &name[1]));
                }
            }
            let around = (file.clone(), text.item);
            for name in option.captures_iter(&quoted.replace_all(&text.text, "")) {
                let name = &name[1];
                let by = reached.iter().filter(|(_, places)| places.contains(&around));
                let by: Vec<&str> = by.map(|(command, _)| *command).collect();
                looked_at += usize::from(!by.is_empty());
                let lacking: Vec<&str> = by
                    .into_iter()
                    .filter(|command| !options[*command].contains(name))
                    .collect();
                let excuse = NEVER_SHOWN_THERE
                    .iter()
                    .find(|(of, option, _)| of == file && *option == name);
                if !lacking.is_empty() && excuse.is_none() {
                    let lacking = lacking.join(", ");
                    wrong.push(format!(
                        "{place}: --{name} is no option of {lacking}: '{}'",
                        text.text
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{} texts", wrong.join("\n"), wrong.len());
    assert!(looked_at > 60, "{looked_at}");
}
