//! Texts that name an option name one of the command's own. The sources are searched, for every
//! command that can reach the text.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory;
use ewe::cli::Cli;
use regex::Regex;

use crate::source::Sources;

/// Texts that the search finds reachable from commands without the option, although they are not:
/// file, option, reason.
const NEVER_SHOWN_THERE: &[(&str, &str, &str)] = &[
    ("choice.rs", "by", "generate has judges write their scores"),
    (
        "engine/open.rs",
        "batch",
        "chat has one device, and none is named twice",
    ),
    (
        "engine/open.rs",
        "gpus",
        "chat has one device, and none stands beside another",
    ),
    (
        "gain/conclusion.rs",
        "dimensions",
        "an option of `ewe influence`, which the sentence names",
    ),
    (
        "interchange/mapping.rs",
        "map",
        "serve reads requests, and no rows with columns",
    ),
    (
        "interchange/conversation/oasst.rs",
        "format",
        "curate reads no files of rows",
    ),
    (
        "model/device/trouble.rs",
        "device",
        "plan says nothing of a device that cannot be used",
    ),
    ("model/device/trouble.rs", "gpus", "an option of docker"),
    ("model/mod.rs", "adapter", "only serve has several adapters"),
    (
        "model/text/conversation_template.rs",
        "template",
        "influence lays rows out as their training run did, which has worked",
    ),
    (
        "model/text/conversation_template/affixes.rs",
        "template",
        "influence lays rows out as their training run did, which has worked",
    ),
    (
        "model/text/conversation_template/answers.rs",
        "template",
        "influence lays rows out as their training run did, which has worked",
    ),
    (
        "train/data/source.rs",
        "adapter",
        "influence reads the rows of its training run, which were of one kind",
    ),
    ("program/demo.rs", "adapter", "an option of a step"),
    ("program/demo.rs", "db", "an option of a step"),
    ("program/demo.rs", "epochs", "an option of a step"),
    ("program/demo.rs", "max-tokens", "an option of a step"),
    ("program/demo.rs", "method", "an option of a step"),
    ("program/demo.rs", "out", "an option of a step"),
    ("program/demo.rs", "temperature", "an option of a step"),
    ("push/card.rs", "enable-lora", "an option of vllm"),
    ("push/card.rs", "lora-modules", "an option of vllm"),
    ("push/card.rs", "local-dir", "an option of hf"),
    ("shim/gpu/nvrtc.rs", "fmad", "an option of NVRTC"),
    ("shim/gpu/nvrtc.rs", "gpu-architecture", "an option of NVRTC"),
    ("shim/gpu/nvrtc.rs", "std", "an option of NVRTC"),
    (
        "train/out.rs",
        "out",
        "influence reads the folder of a run, and writes nothing there",
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
fn texts_name_only_options_of_their_command() {
    let options = options();
    let sources = Sources::get();
    let entries = sources.entries();
    assert!(entries.len() >= 8, "{entries:?}");
    let mut reached = BTreeMap::new();
    for command in options.keys() {
        let name = match command.as_str() {
            "reject" => "/accept.rs".to_string(),
            command => format!("/{}.rs", command.replace('-', "_")),
        };
        let mut files = sources.files.iter().map(|file| file.name.as_str());
        let is_its = |file: &&str| file.starts_with("cli/") && file.ends_with(&name);
        let file = files.find(is_its).expect(&name);
        let mut from: Vec<_> = ["run", "open", "job"]
            .iter()
            .flat_map(|name| sources.named(file, name))
            .collect();
        from.push(sources.outside(file));
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
            from.extend(sources.named("engine/open.rs", "batched"));
        }
        if command == "train" {
            from.extend(sources.named("train/run.rs", "run"));
        }
        reached.insert(command.as_str(), sources.reached(from));
    }
    let comes_to = |command: &str, file: &str, name: &str| {
        sources
            .named(file, name)
            .iter()
            .any(|place| reached[command].contains(place))
    };
    assert!(
        comes_to("filter", "interchange/read.rs", "open") && comes_to("train", "train/steps.rs", "steps")
    );
    assert!(comes_to("judge", "client/address.rs", "new") && comes_to("init", "interchange/read.rs", "open"));
    assert!(!comes_to("list", "interchange/read.rs", "open"));
    assert!(!comes_to("serve", "client/address.rs", "new"));
    let option = Regex::new(r"(?:^|[^\w-])--([a-z][a-z-]*[a-z])").unwrap();
    let quoted = Regex::new(r"`ewe ([a-z][a-z-]*)([^`]*)`").unwrap();
    // A line for the user to type.
    let typed = Regex::new(r"(?:^|\\n|\n) *ewe ([a-z][a-z-]*)((?: [^`\n\\]*)?)").unwrap();
    let (mut wrong, mut looked_at, mut needed) = (Vec::new(), 0, BTreeSet::new());
    for (number, source) in sources.files.iter().enumerate() {
        let file = &source.name;
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
            // Examples of the help are parsed by a test of theirs; `gain -- OPTIONS` are of train.
            if file == "cli/help/examples.rs" {
                continue;
            }
            let others = quoted.replace_all(&text.text, "").into_owned();
            for found in typed.captures_iter(&others) {
                let Some(has) = options.get(&found[1]) else {
                    continue;
                };
                for name in option
                    .captures_iter(&found[2])
                    .filter(|name| !has.contains(&name[1]))
                {
                    wrong.push(format!("{place}: `ewe {}` has no --{}", &found[1], &name[1]));
                }
            }
            let known = |found: &regex::Captures<'_>| match options.contains_key(&found[1]) {
                true => String::new(),
                false => found[0].to_owned(),
            };
            let others = typed.replace_all(&others, known);
            let around = (number, text.item);
            for name in option.captures_iter(&others) {
                let name = &name[1];
                let by = reached.iter().filter(|(_, places)| places.contains(&around));
                let by: Vec<&str> = by.map(|(command, _)| *command).collect();
                looked_at += usize::from(!by.is_empty());
                let lacking: Vec<&str> = by
                    .into_iter()
                    .filter(|command| !options[*command].contains(name))
                    .collect();
                if lacking.is_empty() {
                    continue;
                }
                let excuse = NEVER_SHOWN_THERE
                    .iter()
                    .find(|(of, option, _)| of == file && *option == name);
                match excuse {
                    Some(excuse) => {
                        needed.insert(excuse);
                    }
                    None => wrong.push(format!(
                        "{place}: --{name} is no option of {}: '{}'",
                        lacking.join(", "),
                        text.text
                    )),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{} texts", wrong.join("\n"), wrong.len());
    assert!(looked_at > 60, "{looked_at}");
    let excuses: BTreeSet<_> = NEVER_SHOWN_THERE.iter().collect();
    let idle: Vec<_> = excuses.difference(&needed).collect();
    assert!(idle.is_empty(), "no text needs these excuses: {idle:?}");
}
