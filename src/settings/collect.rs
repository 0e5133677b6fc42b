//! The settings that are meant for a command. Names that nothing is called by are errors.

use std::ffi::OsString;

use anyhow::{Result, anyhow, bail};
use clap::{Arg, Command};

use super::file::{Entry, SettingsFile, TomlValue};
use super::options::{Commands, Options, SECRETS, WITHOUT};
use super::value::Value;
use super::{Level, Place, Setting};

/// What names of variables begin with.
pub const PREFIX: &str = "EWE_";

/// Variables that are read elsewhere, and are no options.
const ELSEWHERE: [&str; 3] = ["EWE_CONFIG", "EWE_TOKEN", "EWE_USER"];

/// How alike a name must be to be suggested, from 0 to 1 (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// Where settings come from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<SettingsFile>,
    /// Variables whose names begin with [`PREFIX`].
    pub variables: Vec<(String, OsString)>,
}

/// Returns the variable that sets an option.
pub fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.to_ascii_uppercase().replace('-', "_"))
}

/// Fails if a file has a table that is no command, or a key that is no option. `own` are those of
/// the command that runs.
///
/// # Errors
///
/// Names the line, and the name that was probably meant.
pub fn check_names(own: &Options, commands: &dyn Commands, file: &SettingsFile) -> Result<()> {
    match is_known(own, commands, file) {
        true => Ok(()),
        false => check_by_all(&commands.all(), file),
    }
}

/// Whether each table is a command, and each key an option of its table, or of any at the top. No
/// more commands than these are looked at: if it is false, a key at the top may be of another.
fn is_known(own: &Options, commands: &dyn Commands, file: &SettingsFile) -> bool {
    let of_table = |(table, _): &(String, usize)| Options::of(&commands.one(table)?, table);
    let tables: Option<Vec<Options>> = file.tables.iter().map(of_table).collect();
    let Some(tables) = tables else {
        return false;
    };
    let is_option = |entry: &Entry| match &entry.table {
        Some(table) => tables
            .iter()
            .any(|options| options.command() == table && options.named(&entry.key).is_some()),
        None => {
            let mut all = std::iter::once(own).chain(&tables);
            all.any(|options| options.named(&entry.key).is_some())
        }
    };
    let mut entries = file.entries.iter().enumerate();
    entries.all(|(at, entry)| is_option(entry) && first(&file.entries[..at], entry).is_none())
}

/// The entry before that sets the same option, with dashes or underscores.
fn first<'a>(before: &'a [Entry], entry: &Entry) -> Option<&'a Entry> {
    let name = |entry: &Entry| entry.key.replace('_', "-");
    let is_same = |other: &&Entry| other.table == entry.table && name(other) == name(entry);
    before.iter().find(is_same)
}

/// The same by all commands of `root`, which names what is wrong.
fn check_by_all(root: &Command, file: &SettingsFile) -> Result<()> {
    let commands = Options::of_all(root);
    let find = |name: &str| {
        let command = root.find_subcommand(name)?;
        commands
            .iter()
            .find(|options| options.command() == command.get_name())
    };
    for (table, line) in &file.tables {
        if find(table).is_none() {
            let place = Place::Line(file.path.clone(), *line);
            if WITHOUT.contains(&table.as_str()) {
                bail!("{place}: `ewe {table}` takes no settings\nhint: type its options");
            }
            let names = commands.iter().map(|options| options.command().to_owned());
            bail!(
                "{place}: there is no command `{table}` to set options of\nhint: {}",
                suggestion(table, names.collect(), "`ewe --help` lists the commands")
            );
        }
    }
    for (at, entry) in file.entries.iter().enumerate() {
        let place = Place::Line(file.path.clone(), entry.line);
        let known = match entry.table.as_deref().and_then(find) {
            Some(options) => options.named(&entry.key).is_some(),
            None => commands.iter().any(|options| options.named(&entry.key).is_some()),
        };
        if !known {
            return Err(unknown(&commands, entry, &place));
        }
        if let Some(first) = first(&file.entries[..at], entry) {
            bail!(
                "{place}: `{}` is set twice, first on line {}\nhint: leave one of them away",
                entry.key,
                first.line
            );
        }
    }
    Ok(())
}

/// The error of a key that no option is called.
fn unknown(commands: &[Options], entry: &Entry, place: &Place) -> anyhow::Error {
    let key = entry.key.replace('_', "-");
    if let Some((name, instead)) = SECRETS.iter().find(|(name, _)| *name == key) {
        return anyhow!("{place}: `{name}` is a secret, and does not belong into a file\nhint: {instead}");
    }
    if key == "validator" {
        return anyhow!(
            "{place}: `validator` runs a program, and no file says that\nhint: type it on the command line"
        );
    }
    if matches!(key.as_str(), "config" | "no-config") {
        return anyhow!("{place}: `{key}` says where settings stand\nhint: it is for the command line");
    }
    let all = |options: &Options| -> Vec<String> {
        options
            .all()
            .filter_map(Arg::get_long)
            .map(str::to_owned)
            .collect()
    };
    match &entry.table {
        Some(table) => {
            let own = commands.iter().filter(|options| options.command() == table);
            let names = own.flat_map(all).collect();
            let others = commands.iter().any(|options| options.named(&key).is_some());
            let otherwise = match others {
                true => "other commands have one; `--help` of this one lists its own",
                false => "`--help` of the command lists its options, and only these can be set",
            };
            let hint = suggestion(&key, names, otherwise);
            anyhow!("{place}: `{table}` has no option `{}`\nhint: {hint}", entry.key)
        }
        None if commands.iter().any(|options| options.command() == key) => anyhow!(
            "{place}: `{}` is a command and no option\nhint: its options stand in a table, below [{key}]",
            entry.key
        ),
        None => {
            let hint = suggestion(
                &key,
                commands.iter().flat_map(all).collect(),
                "keys are options of commands, without the dashes in front: docs/settings.md",
            );
            anyhow!("{place}: no command has an option `{}`\nhint: {hint}", entry.key)
        }
    }
}

/// Returns the name that was probably meant, or else what to do.
fn suggestion(name: &str, known: Vec<String>, otherwise: &str) -> String {
    let alike = known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, &known), known));
    match alike.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((alike, known)) if alike >= ALIKE => format!("did you mean `{known}`?"),
        _ => otherwise.to_owned(),
    }
}

/// Returns the settings that are meant for the options of a command, strongest first.
///
/// # Errors
///
/// Names the place of a value that the option cannot have.
pub fn settings(options: &Options, sources: &Sources) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for arg in options.all() {
        let (id, long) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
        let name = variable(long);
        let given = sources
            .variables
            .iter()
            .find(|(given, text)| *given == name && !text.is_empty());
        let Some((_, text)) = given.filter(|_| !ELSEWHERE.contains(&name.as_str())) else {
            continue;
        };
        let value = match text.to_str() {
            Some(text) => Value::of_variable(arg, text),
            None => Err("want UTF-8".to_owned()),
        };
        settings.push(Setting {
            id: id.to_owned(),
            key: long.to_owned(),
            level: Level::Environment,
            value: value.map_err(|want| {
                anyhow!(
                    "{name}: `{}` is no value of --{long}: {want}",
                    text.to_string_lossy()
                )
            })?,
            place: Place::Variable(name),
        });
    }
    if let Some(file) = &sources.file {
        for entry in &file.entries {
            settings.extend(setting(options, file, entry)?);
        }
    }
    settings.sort_by_key(|setting| setting.level);
    Ok(settings)
}

/// The setting of an entry; none if it is for other commands.
fn setting(options: &Options, file: &SettingsFile, entry: &Entry) -> Result<Option<Setting>> {
    let is_own = |table: &String| table == options.command();
    if entry.table.as_ref().is_some_and(|table| !is_own(table)) {
        return Ok(None);
    }
    let Some(arg) = options.named(&entry.key) else {
        return Ok(None);
    };
    let place = Place::Line(file.path.clone(), entry.line);
    let value = Value::of_toml(arg, &entry.value, file.folder.as_deref()).map_err(|want| {
        anyhow!(
            "{place}: `{} = {}` is no setting of `ewe {}`: {want}{}",
            entry.key,
            shown(&entry.value),
            options.command(),
            hint_of(entry.table.is_none())
        )
    })?;
    Ok(Some(Setting {
        id: arg.get_id().to_string(),
        key: arg.get_long().unwrap_or_default().to_owned(),
        level: match entry.table {
            Some(_) => Level::Table,
            None => Level::TopLevel,
        },
        place,
        value,
    }))
}

/// The way out for a value that does not fit a command.
pub(super) fn hint_of(is_top_level: bool) -> &'static str {
    match is_top_level {
        true => {
            "\nhint: the top of the file is for every command that has the option; put it into the tables of those it is for"
        }
        false => "",
    }
}

/// A value as written, for errors.
fn shown(value: &TomlValue) -> String {
    const MOST: usize = 60;
    let text = match value {
        TomlValue::Text(text) => format!("{text:?}"),
        TomlValue::Number(number) => number.clone(),
        TomlValue::Boolean(is_on) => is_on.to_string(),
        TomlValue::List(values) => {
            let values: Vec<String> = values.iter().take(4).map(shown).collect();
            format!("[{}]", values.join(", "))
        }
        TomlValue::Other(_) => "…".to_owned(),
    };
    crate::text::one_line(&text, MOST)
}
