//! Values of settings, as arguments of a command line.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction};

use super::file::TomlValue;
use super::options::{self, PathForm, PathPlace};

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A flag, on or off.
    Flag(bool),
    /// How many times a flag is repeated.
    Times(u8),
    /// One text, as it is typed.
    One(String),
    /// The texts of an option that may be given several times.
    Many(Vec<String>),
}

impl Value {
    /// Returns the value that a file gives an option. Paths are relative to `folder`.
    ///
    /// # Errors
    ///
    /// Says what the option wants instead.
    pub fn of_toml(arg: &Arg, given: &TomlValue, folder: Option<&Path>) -> Result<Value, String> {
        match (arg.get_action(), given) {
            (ArgAction::SetTrue, TomlValue::Boolean(is_on)) => Ok(Value::Flag(*is_on)),
            (ArgAction::SetTrue, _) => Err("want true or false".to_owned()),
            (ArgAction::Count, TomlValue::Number(number)) => times(number),
            (ArgAction::Count, _) => Err("want a number".to_owned()),
            (_, TomlValue::List(values)) if options::is_list(arg) => {
                let texts = values.iter().map(|value| text(arg, value, folder));
                texts.collect::<Result<_, _>>().map(Value::Many)
            }
            (_, TomlValue::List(_)) => Err("want one value, not a list".to_owned()),
            (_, value) if options::is_list(arg) => {
                text(arg, value, folder).map(|text| Value::Many(vec![text]))
            }
            (_, value) => text(arg, value, folder).map(Value::One),
        }
    }

    /// Returns the value that a variable of the environment gives an option.
    ///
    /// # Errors
    ///
    /// Says what the option wants instead.
    pub fn of_variable(arg: &Arg, text: &str) -> Result<Value, String> {
        match arg.get_action() {
            ArgAction::SetTrue => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Ok(Value::Flag(true)),
                "0" | "false" | "no" | "off" => Ok(Value::Flag(false)),
                _ => Err("want true or false".to_owned()),
            },
            ArgAction::Count => times(text),
            ArgAction::Append => Ok(Value::Many(vec![text.to_owned()])),
            _ => Ok(Value::One(text.to_owned())),
        }
    }

    /// Returns whether the option is given at all: a flag that is off and an empty list are not.
    pub fn is_present(&self) -> bool {
        match self {
            Value::Flag(is_on) => *is_on,
            Value::Times(times) => *times > 0,
            Value::One(_) => true,
            Value::Many(texts) => !texts.is_empty(),
        }
    }

    /// Returns the arguments that give the option `long` this value.
    pub fn arguments(&self, long: &str) -> Vec<OsString> {
        // With an equals sign, since a value may begin with a dash.
        let typed = |text: &String| format!("--{long}={text}").into();
        match self {
            Value::Flag(false) => Vec::new(),
            Value::Flag(true) => vec![format!("--{long}").into()],
            Value::Times(times) => vec![format!("--{long}").into(); usize::from(*times)],
            Value::One(text) => vec![typed(text)],
            Value::Many(texts) => texts.iter().map(typed).collect(),
        }
    }

    /// Returns the value as people read it.
    pub fn shown(&self) -> String {
        match self {
            Value::Flag(is_on) => is_on.to_string(),
            Value::Times(times) => times.to_string(),
            Value::One(text) => text.clone(),
            Value::Many(texts) => texts.join(", "),
        }
    }

    /// Returns the value as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Flag(is_on) => (*is_on).into(),
            Value::Times(times) => (*times).into(),
            Value::One(text) => text.as_str().into(),
            Value::Many(texts) => texts.as_slice().into(),
        }
    }
}

fn times(text: &str) -> Result<Value, String> {
    let times = text.trim().parse().map(Value::Times);
    times.map_err(|_| "want a number from 0 to 255".to_owned())
}

/// The text that would be typed.
fn text(arg: &Arg, given: &TomlValue, folder: Option<&Path>) -> Result<String, String> {
    match given {
        TomlValue::Number(number) => Ok(number.clone()),
        TomlValue::Text(text) => Ok(match folder {
            Some(folder) => within(arg, folder, text),
            None => text.clone(),
        }),
        TomlValue::Boolean(_) => Err("want a text or a number, not true or false".to_owned()),
        TomlValue::List(_) => Err("want texts or numbers, not lists".to_owned()),
        TomlValue::Other(what) => Err(format!("want a text or a number, not {what}")),
    }
}

/// Returns the text of an option as it is typed elsewhere, if its paths are relative to `folder`.
pub fn within(arg: &Arg, folder: &Path, text: &str) -> String {
    let form = options::path_form(arg);
    match (options::path_place(arg), text.split_once('=')) {
        _ if form == PathForm::No => return text.to_owned(),
        (PathPlace::Whole, _) | (PathPlace::AfterAnyName, None) => {}
        (_, Some((name, path))) => return format!("{name}={}", joined(folder, path)),
        (PathPlace::AfterName, None) => return text.to_owned(),
    }
    match form {
        PathForm::No => text.to_owned(),
        // Standard input or output.
        PathForm::Always if matches!(text, "" | "-") => text.to_owned(),
        PathForm::Always => joined(folder, text),
        PathForm::IfThere => if_there(folder, text),
        PathForm::IfNotAName if text.contains(['.', '/']) => if_there(folder, text),
        PathForm::IfNotAName => text.to_owned(),
        PathForm::Model if text.contains("://") => text.to_owned(),
        PathForm::Model => match text.rsplit_once('+') {
            Some((model, adapter)) if !folder.join(text).exists() => {
                format!("{}+{}", if_there(folder, model), if_there(folder, adapter))
            }
            _ => if_there(folder, text),
        },
    }
}

fn joined(folder: &Path, path: &str) -> String {
    folder.join(path).to_string_lossy().into_owned()
}

fn if_there(folder: &Path, path: &str) -> String {
    match !path.is_empty() && folder.join(path).exists() {
        true => joined(folder, path),
        false => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::value_parser;
    use std::path::PathBuf;

    fn option(value_name: &'static str) -> Arg {
        Arg::new("x").long("x").value_name(value_name)
    }

    #[test]
    fn toml_becomes_what_is_typed() {
        let flag = Arg::new("x").long("x").action(ArgAction::SetTrue);
        let list = Arg::new("x").long("x").action(ArgAction::Append);
        let text = |text: &str| TomlValue::Text(text.to_owned());
        let of = |arg: &Arg, given: &TomlValue| Value::of_toml(arg, given, None);
        let typed = |arg: &Arg, given: &TomlValue| of(arg, given).unwrap().arguments("x");
        assert_eq!(typed(&flag, &TomlValue::Boolean(true)), ["--x"]);
        assert!(typed(&flag, &TomlValue::Boolean(false)).is_empty());
        assert!(of(&flag, &text("true")).is_err());
        assert_eq!(
            typed(&option("N"), &TomlValue::Number("-1".to_owned())),
            ["--x=-1"]
        );
        assert_eq!(typed(&option("N"), &text("--y")), ["--x=--y"]);
        let several = TomlValue::List(vec![text("a"), TomlValue::Number("2".to_owned())]);
        assert_eq!(typed(&list, &several), ["--x=a", "--x=2"]);
        assert_eq!(typed(&list, &text("a")), ["--x=a"]);
        assert!(of(&option("N"), &several).is_err());
        assert!(of(&option("N"), &TomlValue::Boolean(true)).is_err());
        assert!(
            of(&option("N"), &TomlValue::Other("a date"))
                .unwrap_err()
                .contains("a date")
        );
        let count = Arg::new("x").long("x").action(ArgAction::Count);
        assert_eq!(typed(&count, &TomlValue::Number("2".to_owned())), ["--x", "--x"]);
    }

    #[test]
    fn paths_are_relative_to_the_folder_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        std::fs::create_dir_all(folder.join("models/m")).unwrap();
        std::fs::write(folder.join("mine.jinja"), "").unwrap();
        std::fs::write(folder.join("alpaca"), "").unwrap();
        let here = |path: &str| folder.join(path).display().to_string();
        let of = |name: &'static str, text: &str| within(&option(name), folder, text);
        assert_eq!(of("FILE", "a.db"), here("a.db"));
        assert_eq!(of("FILE", "/a.db"), "/a.db");
        assert_eq!(of("FILE", "-"), "-");
        assert_eq!(of("N", "a.db"), "a.db");
        assert_eq!(of("DIR|HF_ID", "models/m"), here("models/m"));
        assert_eq!(of("DIR|HF_ID", "google/gemma-3-270m"), "google/gemma-3-270m");
        assert_eq!(of("NAME|FILE", "alpaca"), "alpaca");
        assert_eq!(of("NAME|FILE", "mine.jinja"), here("mine.jinja"));
        assert_eq!(of("SUITE", "held-out"), "held-out");
        assert_eq!(
            of("SUITE", "ifeval=i.jsonl"),
            format!("ifeval={}", here("i.jsonl"))
        );
        assert_eq!(of("[NAME=]DIR", "a=b"), format!("a={}", here("b")));
        assert_eq!(of("[NAME=]DIR", "b"), here("b"));
        assert_eq!(of("NAME=VARIABLE", "a=b"), "a=b");
        assert_eq!(of("MODEL", "http://127.0.0.1/v1#m"), "http://127.0.0.1/v1#m");
        assert_eq!(
            of("MODEL", "models/m+tuned"),
            format!("{}+tuned", here("models/m"))
        );
        let typed = option("WHAT").value_parser(value_parser!(PathBuf));
        assert_eq!(within(&typed, folder, "a"), here("a"));
    }
}
