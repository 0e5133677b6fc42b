//! Every option of every command can stand in a file or in the environment, and means there what it
//! means when it is typed.

use super::*;
use crate::cli::args::values::VALUES;
use crate::cli::{self, Cli};
use crate::settings::collect::variable;
use crate::settings::file;
use crate::settings::merge::Merged;
use crate::settings::options::{is_flag, is_list};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction};
use std::ffi::OsStr;

fn words(line: &[String]) -> Vec<OsString> {
    line.iter().map(OsString::from).collect()
}

/// A value that the option takes; none for a flag.
fn value(options: &Options, arg: &Arg) -> Option<String> {
    if !arg.get_action().takes_values() {
        return None;
    }
    let unfit = [ErrorKind::ValueValidation, ErrorKind::InvalidValue];
    let possible = arg.get_possible_values();
    let possible = possible.iter().map(|value| value.get_name().to_owned());
    let fits = |value: &String| {
        let parsed = options.parse(&words(&[typed(arg, Some(value))]));
        parsed.map_or_else(|error| !unfit.contains(&error.kind()), |_| true)
    };
    let value = possible
        .chain(VALUES.iter().map(|&value| value.to_owned()))
        .find(fits);
    Some(value.unwrap_or_else(|| panic!("{}: {} takes no value", options.command(), arg.get_id())))
}

/// An argument as it is typed.
fn typed(arg: &Arg, value: Option<&String>) -> String {
    match (arg.get_long(), value) {
        (Some(long), Some(value)) => format!("--{long}={value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.expect("positional arguments have values").clone(),
    }
}

/// The shortest lines that a command takes, one for each way that it wants one of several.
fn ways(root: &Command, name: &str, options: &Options, line: Vec<String>, ways: &mut Vec<Vec<String>>) {
    let missing = options.missing(&words(&line));
    let Some(first) = missing.first() else {
        assert!(read(name, &words(&line)).is_ok(), "{name}: {line:?}");
        ways.push(line);
        return;
    };
    let own = root.find_subcommand(name).expect("a command");
    let is_meant = |arg: &&Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let text = match arg.get_long() {
            Some(long) => format!("--{long}"),
            None => names
                .first()
                .map_or_else(|| arg.get_id().to_string(), ToString::to_string),
        };
        let parts: Vec<&str> = first
            .split([' ', '<', '>', '|', '=', '.', '[', ']'])
            .filter(|part| !part.is_empty())
            .collect();
        // The name of an option's value may be that of a positional argument, too.
        let is_value = |at: usize| at > 0 && parts[at - 1].starts_with("--");
        let mut named = parts.iter().enumerate().filter(|(at, _)| !is_value(*at));
        named.any(|(_, part)| part.eq_ignore_ascii_case(&text))
    };
    let meant: Vec<&Arg> = own.get_arguments().filter(is_meant).collect();
    assert!(!meant.is_empty(), "{name}: nothing is called {first}");
    for arg in meant {
        let value = value(options, arg);
        let longer = [line.clone(), vec![typed(arg, value.as_ref())]].concat();
        assert!(longer.len() < 8, "{name}: {longer:?}");
        self::ways(root, name, options, longer, ways);
    }
}

/// A line as the program reads it.
fn read(name: &str, line: &[OsString]) -> Result<String, String> {
    let whole: Vec<OsString> = [OsStr::new("ewe"), OsStr::new(name)]
        .map(OsStr::to_owned)
        .into_iter()
        .chain(line.iter().cloned())
        .collect();
    let read: Result<(Cli, ArgMatches), _> = cli::read(&whole);
    read.map(|(cli, _)| format!("{cli:?}"))
        .map_err(|error| error.to_string())
}

fn merged(options: &Options, sources: &Sources, line: &[OsString]) -> Result<Merged> {
    let settings = collect::settings(options, sources)?;
    merge::merge(options, line, settings, &Together)
}

fn of_file(options: &Options, text: &str) -> Sources {
    let file = file::parse("x.toml", text).expect(text);
    collect::check_names(options, &Tree, &file).expect(text);
    Sources {
        file: Some(file),
        variables: Vec::new(),
    }
}

#[test]
fn an_option_in_a_file_is_an_option_that_is_typed() {
    let root = cli::command();
    let (mut held, mut dropped) = (0, 0);
    for options in Options::of_all(&root) {
        let name = options.command().to_owned();
        let mut found = Vec::new();
        ways(&root, &name, &options, Vec::new(), &mut found);
        assert!(!found.is_empty(), "{name}");
        for way in found {
            let line = words(&way);
            let without = read(&name, &line).unwrap();
            let given = options.given(&line);
            for arg in options.all().filter(|arg| !given.contains(arg.get_id().as_str())) {
                let value = value(&options, arg);
                let key = arg.get_long().unwrap();
                let toml = match &value {
                    Some(value) if is_list(arg) => format!("{key} = [{value:?}]"),
                    Some(value) => format!("{key} = {value:?}"),
                    None if matches!(arg.get_action(), ArgAction::Count) => format!("{key} = 1"),
                    None => format!("{key} = true"),
                };
                let mut long = line.clone();
                long.push(typed(arg, value.as_ref()).into());
                let expected = read(&name, &long).unwrap_or_else(|_| without.clone());
                let is_taken = expected != without;
                let variable = (
                    variable(key),
                    OsString::from(value.unwrap_or_else(|| "1".to_owned())),
                );
                let in_environment = Sources {
                    file: None,
                    variables: vec![variable],
                };
                let merged_with = |sources| merged(&options, &sources, &line).unwrap();
                let of_table = merged_with(of_file(&options, &format!("[{name}]\n{toml}\n")));
                let of_top = merged_with(of_file(&options, &format!("{toml}\n")));
                let of_environment = merged_with(in_environment);
                assert_eq!(of_table.arguments, of_top.arguments, "{name} {way:?}: {toml}");
                assert_eq!(
                    of_table.arguments, of_environment.arguments,
                    "{name} {way:?}: {toml}"
                );
                let all = [of_table.arguments, line.clone()].concat();
                let actual = read(&name, &all);
                assert_eq!(actual.as_ref(), Ok(&expected), "{name} {way:?}: {toml}");
                held += usize::from(is_taken);
                dropped += of_table.dropped.len();
            }
        }
    }
    assert!(held > 300 && dropped > 50, "{held} {dropped}");
}

#[test]
fn what_is_typed_goes_before_what_is_set() {
    let root = cli::command();
    for options in Options::of_all(&root) {
        for arg in options.all() {
            let value = value(&options, arg);
            let line = words(&[typed(arg, value.as_ref())]);
            let key = arg.get_long().unwrap();
            let toml = match is_flag(arg) || matches!(arg.get_action(), ArgAction::Count) {
                true => continue,
                false => format!("[{}]\n{key} = \"other\"\n", options.command()),
            };
            let merged = merged(&options, &of_file(&options, &toml), &line).unwrap();
            assert!(merged.arguments.is_empty(), "{toml}");
            assert_eq!(merged.dropped.len(), 1, "{toml}");
        }
    }
}

/// The arguments that a file adds to a line, sorted, or the error.
fn adds(name: &str, text: &str, line: &str) -> Result<Vec<String>, String> {
    let root = cli::command();
    let options = Options::of(&root, name).unwrap();
    let line: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let file = file::parse("x.toml", text).unwrap();
    let sources = Sources {
        file: Some(file),
        variables: Vec::new(),
    };
    let merged = merged(&options, &sources, &line).map_err(|error| error.to_string())?;
    let mut words: Vec<String> = merged
        .arguments
        .into_iter()
        .map(|word| word.into_string().unwrap())
        .collect();
    words.sort();
    Ok(words)
}

#[test]
fn settings_give_way_to_what_excludes_them() {
    let both = "[generate]\nmodel = 'm'\nbatch = 4\n[train]\nseed = 3\n";
    let of = |line: &str| adds("generate", both, line).unwrap();
    assert_eq!(of("--db d --target 1"), ["--batch=4", "--model=m"]);
    // Without the model, what is for it is of no use.
    assert!(of("--db d --target 1 --endpoint http://127.0.0.1:9").is_empty());
    let top = "model = 'm'\n[generate]\nendpoint = 'http://127.0.0.1:9'\n";
    assert_eq!(
        adds("generate", top, "--db d --target 1").unwrap(),
        ["--endpoint=http://127.0.0.1:9"]
    );
    assert_eq!(adds("chat", top, "").unwrap(), ["--model=m"]);
    // What requires another option waits for it.
    let template = "template = 'alpaca'\n";
    let of = |line: &str| adds("complete", template, line).unwrap();
    assert!(of("--model m --prompt x").is_empty());
    assert_eq!(of("--model m --prompt x --chat"), ["--template=alpaca"]);
    // What is only for --method full is passed over with lora, the default.
    let master = "[train]\nmaster = 'fp32'\n";
    let of = |line: &str| adds("train", master, line).unwrap();
    assert!(of("--db d --model m --out o").is_empty());
    assert_eq!(of("--db d --model m --out o --method full"), ["--master=fp32"]);
}

#[test]
fn settings_of_one_place_may_not_contradict_each_other() {
    for (name, text, words) in [
        (
            "generate",
            "model = 'm'\nendpoint = 'http://127.0.0.1:9'\n",
            ["x.toml:1", "x.toml:2", "`endpoint`"],
        ),
        (
            "train",
            "[train]\nmethod = 'full'\n\nlora-rank = 4\n",
            ["x.toml:4", "x.toml:2", "`lora-rank`"],
        ),
        (
            "train",
            "[train]\nepochs = 2\nsteps = 4\n",
            ["x.toml:2", "x.toml:3", "`steps`"],
        ),
    ] {
        let error = adds(name, text, "").unwrap_err();
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(error.contains("hint: "), "{error}");
    }
    // Beside what is typed, it does not matter.
    let text = "model = 'm'\nendpoint = 'http://127.0.0.1:9'\n";
    assert!(adds("generate", text, "--model n").unwrap().is_empty());
}

#[test]
fn a_flag_that_is_off_hides_one_further_down() {
    let text = "json = true\n[list]\njson = false\n";
    assert!(adds("list", text, "--db d").unwrap().is_empty());
    assert_eq!(adds("stats", text, "--db d").unwrap(), ["--json"]);
}
