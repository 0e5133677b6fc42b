//! The options of a run, as TOML that gives the run again, and as JSON in its record.

use std::ffi::OsString;
use std::path::Path;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, Value as Json};
use toml::de::DeValue;

use super::company::Company;
use super::merge;
use super::options::{self, Options};
use super::value::{self, Value};
use super::{Level, Place, Setting};

/// Options of one execution rather than of the run: a run that is repeated has its own.
const PASSING: [&str; 11] = [
    "resume",
    "allow-changes",
    "dry-run",
    "json",
    "quiet",
    "verbose",
    "ranks",
    "gpus",
    "shard",
    "rank-timeout",
    "max-restarts",
];

/// The options of a run by name, without dashes in front.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunOptions(Vec<(String, Value)>);

impl RunOptions {
    /// Returns the options that hold for a `line` of arguments, parsed into `matches`: those that
    /// are given, and defaults except where they are of no use beside the others. Paths become
    /// absolute, if `folder` is.
    pub fn of(
        options: &Options,
        line: &[OsString],
        matches: &ArgMatches,
        folder: Option<&Path>,
        company: &dyn Company,
    ) -> RunOptions {
        let mut written = with_source(options, matches, ValueSource::CommandLine, folder);
        let mut defaults = with_source(options, matches, ValueSource::DefaultValue, folder);
        defaults.retain(|setting| setting.value.is_present());
        if let Ok(merged) = merge::merge(options, line, defaults, company) {
            written.extend(merged.held);
        }
        RunOptions::of_settings(written)
    }

    /// Returns the options that are given, as they are.
    pub fn given(options: &Options, matches: &ArgMatches) -> RunOptions {
        RunOptions::of_settings(with_source(options, matches, ValueSource::CommandLine, None))
    }

    fn of_settings(settings: Vec<Setting>) -> RunOptions {
        let pairs = settings.into_iter().map(|setting| (setting.key, setting.value));
        RunOptions(pairs.collect())
    }

    /// Returns whether there are none, as in a run that no command line began.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether an option has a value.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// Adds an option that has no value yet.
    pub fn add(&mut self, key: &str, text: impl ToString) {
        if !self.has(key) {
            self.0.push((key.to_owned(), Value::One(text.to_string())));
        }
    }

    /// Takes an option away.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(known, _)| known != key);
    }

    /// Returns the options as a JSON object.
    pub fn to_json(&self) -> Json {
        let fields = self.0.iter().map(|(key, value)| (key.clone(), value.to_json()));
        Json::Object(fields.collect::<Map<_, _>>())
    }

    /// Reads what [`RunOptions::to_json`] returns; none if it is something else.
    pub fn of_json(json: &Json) -> Option<RunOptions> {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let value = |value: &Json| match value {
            Json::Bool(is_on) => Some(Value::Flag(*is_on)),
            Json::String(text) => Some(Value::One(text.clone())),
            Json::Array(values) => values.iter().map(text).collect::<Option<_>>().map(Value::Many),
            _ => None,
        };
        let fields = json.as_object()?.iter();
        let options = fields.map(|(key, of)| Some((key.clone(), value(of)?)));
        options.collect::<Option<_>>().map(RunOptions)
    }

    /// Returns the options as a file of settings for `command`, with remarks at the beginning.
    pub fn to_toml(&self, command: &str, remarks: &[String]) -> String {
        let mut text: String = remarks.iter().map(|line| format!("# {line}\n")).collect();
        text += &format!("[{command}]\n");
        for (key, value) in &self.0 {
            let value = match value {
                Value::Flag(is_on) => is_on.to_string(),
                Value::Times(times) => times.to_string(),
                Value::One(text) => toml(text),
                Value::Many(texts) => {
                    let texts: Vec<String> = texts.iter().map(|text| toml(text)).collect();
                    format!("[{}]", texts.join(", "))
                }
            };
            text += &format!("{key} = {value}\n");
        }
        text
    }
}

/// The values of options that have this source.
fn with_source(
    options: &Options,
    matches: &ArgMatches,
    source: ValueSource,
    folder: Option<&Path>,
) -> Vec<Setting> {
    let mut settings = Vec::new();
    for arg in options.all() {
        let (id, key) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
        let Ok(Some(texts)) = matches.try_get_raw(id) else {
            continue;
        };
        if PASSING.contains(&key) || matches.value_source(id) != Some(source) {
            continue;
        }
        let mut texts: Vec<String> = texts
            .map(|text| {
                let text = text.to_string_lossy();
                folder.map_or_else(|| text.to_string(), |folder| value::within(arg, folder, &text))
            })
            .collect();
        let value = if options::is_flag(arg) {
            Value::Flag(texts == ["true"])
        } else if options::is_list(arg) {
            Value::Many(texts)
        } else if texts.is_empty() {
            continue;
        } else {
            Value::One(texts.swap_remove(0))
        };
        settings.push(Setting {
            id: id.to_owned(),
            key: key.to_owned(),
            level: Level::Default,
            place: Place::Default,
            value,
        });
    }
    settings
}

/// Returns a text as a value that is read as the same text: a number as it is, else in quotes.
fn toml(text: &str) -> String {
    let is_number = DeValue::parse(text).is_ok_and(|value| match value.get_ref() {
        DeValue::Integer(number) => number.radix() == 10 && number.as_str() == text,
        DeValue::Float(number) => number.as_str() == text && text.starts_with(|c: char| c.is_ascii_digit()),
        _ => false,
    });
    match is_number {
        true => text.to_owned(),
        // A JSON string is one of TOML, except for DEL.
        false => Json::from(text).to_string().replace('\u{7f}', "\\u007F"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::file::{self, TomlValue};

    #[test]
    fn texts_are_read_as_they_were_written() {
        let texts = [
            "1",
            "-3",
            "2e-4",
            "0.5",
            "1_0",
            "16GiB",
            "nan",
            "inf",
            "0x10",
            "true",
            "",
            "a\"b\\c\n\u{7f}\u{1}ü",
            "2026-01-01",
            "18446744073709551615",
            "[x]",
            "# no",
            "1.",
            "+1",
            "01",
        ];
        for text in texts {
            let file = file::parse("x", &format!("k = {}\n", toml(text))).unwrap();
            let read = match &file.entries[0].value {
                TomlValue::Text(read) | TomlValue::Number(read) => read.clone(),
                other => panic!("{text:?}: {other:?}"),
            };
            assert_eq!(read, text);
        }
        assert_eq!(toml("2e-4"), "2e-4");
        assert_eq!(toml("16GiB"), "\"16GiB\"");
    }

    #[test]
    fn options_pass_through_json() {
        let mut options = RunOptions(vec![
            ("dora".to_owned(), Value::Flag(true)),
            (
                "data".to_owned(),
                Value::Many(vec!["a".to_owned(), "b".to_owned()]),
            ),
        ]);
        options.add("lr", 0.0002);
        options.add("lr", 1);
        assert_eq!(RunOptions::of_json(&options.to_json()), Some(options.clone()));
        assert_eq!(
            options.to_toml("train", &["again".to_owned()]),
            "# again\n[train]\ndora = true\ndata = [\"a\", \"b\"]\nlr = 0.0002\n"
        );
    }
}
