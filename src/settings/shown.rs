//! What holds for a command and where it comes from, for people and as JSON.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use serde_json::{Value as Json, json};

use super::collect::{self, Sources};
use super::line::Resolved;
use super::options::{self, Options};
use super::value::Value;
use super::{Place, Setting};
use crate::text::one_line;

/// How wide the table is, in characters.
const WIDTH: usize = 80;

/// The least room of a value, however long the other columns are.
const LEAST: usize = 16;

/// An option with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The option, without dashes in front.
    pub key: String,
    /// The value; none if the option has none.
    pub value: Option<Value>,
    /// Where it comes from: `command line`, a place, `default`, or `not set`.
    pub source: String,
}

/// What holds for a command.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The options.
    pub rows: Vec<Row>,
    /// Settings that do not hold, with the reason.
    pub dropped: Vec<(Row, String)>,
}

impl Shown {
    /// Returns what holds for a command line; `typed` are its arguments without the command.
    pub fn of(resolved: &Resolved, typed: &[OsString]) -> Shown {
        let line = [&resolved.merged.arguments[..], typed].concat();
        let matches = resolved.options.look_at(&line);
        let all = resolved.options.all();
        let rows = all.filter_map(|arg| {
            let (id, key) = (arg.get_id().as_str(), arg.get_long()?);
            let held = resolved.merged.held.iter().find(|held| held.id == id);
            if arg.is_hide_set() && held.is_none() {
                return None;
            }
            let is_given = resolved.merged.given.contains(id);
            let value = held
                .filter(|_| !is_given)
                .map(|held| held.value.clone())
                .or_else(|| of_matches(arg, &matches));
            let source = match (is_given, held) {
                (true, _) => "command line".to_owned(),
                (false, Some(held)) => place(&held.place),
                (false, None) if value.is_some() => "default".to_owned(),
                (false, None) => "not set".to_owned(),
            };
            Some(Row {
                key: key.to_owned(),
                value,
                source,
            })
        });
        let dropped = resolved.merged.dropped.iter();
        Shown {
            file: path(&resolved.sources),
            rows: rows.collect(),
            dropped: dropped
                .map(|(setting, why)| (row(setting), why.clone()))
                .collect(),
        }
    }

    /// Returns all that is set, for whatever command: `train.lr` is of one, `seed` of every one
    /// that has it.
    pub fn of_sources(root: &Command, sources: &Sources) -> Shown {
        let mut rows: Vec<Row> = Vec::new();
        for options in Options::of_all(root) {
            // Values that do not fit are told as errors of the commands that they are for.
            for setting in collect::settings(&options, sources).unwrap_or_default() {
                let key = match setting.level {
                    super::Level::Table => format!("{}.{}", options.command(), setting.key),
                    _ => setting.key.clone(),
                };
                let row = Row { key, ..row(&setting) };
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
        Shown {
            file: path(sources),
            rows,
            dropped: Vec::new(),
        }
    }

    /// Returns the table, of lines that fit 80 characters.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(file) = &self.file {
            let _ = writeln!(
                text,
                "settings: {}\n",
                crate::text::clean(&file.display().to_string())
            );
        }
        let width = |of: fn(&Row) -> &str| {
            let widths = self.rows.iter().map(|row| of(row).chars().count());
            widths.max().unwrap_or(0)
        };
        let (keys, sources) = (
            width(|row| row.key.as_str()),
            width(|row| row.source.as_str()).min(WIDTH / 3),
        );
        let room = WIDTH.saturating_sub(keys + sources + 4).max(LEAST);
        for row in &self.rows {
            let value = row.value.as_ref().map_or_else(String::new, Value::shown);
            let line = format!(
                "{:keys$}  {:room$}  {}",
                row.key,
                one_line(&value, room),
                one_line(&row.source, sources)
            );
            text += line.trim_end();
            text.push('\n');
        }
        for (row, why) in &self.dropped {
            let what = format!("not used: {} of {}: {why}", row.key, row.source);
            let _ = write!(text, "\n{}", wrapped(&crate::text::clean(&what), WIDTH));
        }
        if !self.dropped.is_empty() {
            text.push('\n');
        }
        text
    }

    /// Returns the same as JSON.
    pub fn to_json(&self) -> Json {
        let of_row = |row: &Row| json!({"key": row.key, "value": row.value.as_ref().map(Value::to_json), "source": row.source});
        let dropped = self.dropped.iter().map(|(row, why)| {
            let mut fields = of_row(row);
            fields["why"] = why.as_str().into();
            fields
        });
        json!({
            "file": self.file.as_ref().map(|file| file.display().to_string()),
            "options": self.rows.iter().map(of_row).collect::<Vec<_>>(),
            "not_used": dropped.collect::<Vec<_>>(),
        })
    }
}

/// Breaks a text into lines of at most `width` characters, where words allow it. Lines after the
/// first are moved in.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// The value of an option that is typed or has a default; none for a flag that is off.
fn of_matches(arg: &clap::Arg, matches: &ArgMatches) -> Option<Value> {
    let texts = matches.try_get_raw(arg.get_id().as_str()).ok().flatten()?;
    let mut texts: Vec<String> = texts.map(|text| text.to_string_lossy().into_owned()).collect();
    match texts.len() {
        0 => None,
        _ if options::is_flag(arg) => Some(Value::Flag(texts == ["true"])),
        _ if options::is_list(arg) => Some(Value::Many(texts)),
        _ => Some(Value::One(texts.swap_remove(0))),
    }
}

fn row(setting: &Setting) -> Row {
    Row {
        key: setting.key.clone(),
        value: Some(setting.value.clone()),
        source: place(&setting.place),
    }
}

/// A place in few words: of a file its name, since its path is told once.
fn place(place: &Place) -> String {
    match place {
        Place::Line(file, line) => {
            let name = file.file_name().unwrap_or(file.as_os_str());
            format!("{}:{line}", name.to_string_lossy())
        }
        other => other.to_string(),
    }
}

/// The file that was read.
fn path(sources: &Sources) -> Option<PathBuf> {
    let file = sources.file.as_ref()?;
    Some(std::path::absolute(&file.path).unwrap_or_else(|_| Path::to_owned(&file.path)))
}
