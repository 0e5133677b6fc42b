//! `ewe.toml`: where it is found, and what it says.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::de::{DeTable, DeValue};

use crate::settings_file;

/// The name of the file that is looked for.
pub const NAME: &str = "ewe.toml";

/// What to do about a file that is no TOML.
const HINT: &str = "docs/settings.md has the layout of the file";

/// A file of settings.
#[derive(Debug, Clone, Default)]
pub struct SettingsFile {
    /// Its path, as errors show it.
    pub path: PathBuf,
    /// The folder that its paths are relative to; none for the working folder.
    pub folder: Option<PathBuf>,
    /// What it says, from the first line on.
    pub entries: Vec<Entry>,
    /// Its tables with the lines where they begin.
    pub tables: Vec<(String, usize)>,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The table that it stands in; none for the top of the file.
    pub table: Option<String>,
    /// The key as written.
    pub key: String,
    /// The value.
    pub value: TomlValue,
    /// The line of the key, from 1.
    pub line: usize,
}

/// A value as TOML knows it.
#[derive(Debug, Clone, PartialEq)]
pub enum TomlValue {
    /// A string.
    Text(String),
    /// An integer or a float, as written.
    Number(String),
    /// True or false.
    Boolean(bool),
    /// An array.
    List(Vec<TomlValue>),
    /// What no option takes, by its name.
    Other(&'static str),
}

impl SettingsFile {
    /// Reads the file at `path`. Its paths are relative to the folder that it is in.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no TOML. The message names file and line.
    pub fn read(path: &Path) -> Result<SettingsFile> {
        let name = path.display().to_string();
        let text = settings_file::read_text(path, settings_file::LONGEST_TOML)
            .with_context(|| format!("cannot read the settings `{name}`\nhint: {HINT}"))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(SettingsFile {
            path: path.to_owned(),
            folder: folder.map(Path::to_owned),
            ..parse(&name, &text)?
        })
    }
}

/// Returns the path of the file that holds in the absolute `folder`: the one in it, or else the
/// nearest in a parent, up to the root of the repository or the home folder, whichever comes first.
/// Outside of both only the folder itself counts: parents may be anybody's, such as `/tmp`.
pub fn find(folder: &Path, home: Option<&Path>) -> Option<PathBuf> {
    if folder.join(NAME).is_file() {
        return Some(PathBuf::from(NAME));
    }
    let is_last = |at: &Path| at.join(".git").exists() || Some(at) == home;
    let last = folder.ancestors().position(is_last)?;
    let mut files = folder.ancestors().take(last + 1).map(|at| at.join(NAME));
    files.find(|file| file.is_file())
}

/// Parses the text of the file `name`.
///
/// # Errors
///
/// If it is no TOML.
pub fn parse(name: &str, text: &str) -> Result<SettingsFile> {
    let document =
        DeTable::parse(text).map_err(|error| settings_file::toml_error(name, text, &error, HINT))?;
    let line = |at: usize| {
        let before = &text[..text.floor_char_boundary(at)];
        before.matches('\n').count() + 1
    };
    let mut file = SettingsFile {
        path: PathBuf::from(name),
        ..SettingsFile::default()
    };
    for (key, value) in document.get_ref().iter() {
        let (name, at) = (key.get_ref().to_string(), line(key.span().start));
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table.iter() {
                    file.entries.push(Entry {
                        table: Some(name.clone()),
                        key: key.get_ref().to_string(),
                        value: read(value.get_ref()),
                        line: line(key.span().start),
                    });
                }
                file.tables.push((name, at));
            }
            value => file.entries.push(Entry {
                table: None,
                key: name,
                value: read(value),
                line: at,
            }),
        }
    }
    file.entries.sort_by_key(|entry| entry.line);
    file.tables.sort_by_key(|(_, line)| *line);
    Ok(file)
}

fn read(value: &DeValue<'_>) -> TomlValue {
    match value {
        DeValue::String(text) => TomlValue::Text(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => TomlValue::Number(number.as_str().to_owned()),
        DeValue::Integer(_) => TomlValue::Other("a number that is not decimal"),
        DeValue::Float(number) => TomlValue::Number(number.as_str().to_owned()),
        DeValue::Boolean(is_on) => TomlValue::Boolean(*is_on),
        DeValue::Array(values) => TomlValue::List(values.iter().map(|value| read(value.get_ref())).collect()),
        DeValue::Datetime(_) => TomlValue::Other("a date"),
        DeValue::Table(_) => TomlValue::Other("a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_tables_and_lines() {
        let text = "# ours\ndb = 'farm.db'\n\n[train]\nlr = 2e-4\ndata = [\"a\", \"b\"]\ndora = true\n\
                    [chat]\ngenerate.seed = 1_0\n";
        let file = parse("x.toml", text).unwrap();
        let shown: Vec<_> = file
            .entries
            .iter()
            .map(|entry| (entry.table.as_deref(), entry.key.as_str(), entry.line))
            .collect();
        assert_eq!(
            shown,
            [
                (None, "db", 2),
                (Some("train"), "lr", 5),
                (Some("train"), "data", 6),
                (Some("train"), "dora", 7),
                (Some("chat"), "generate", 9),
            ]
        );
        assert_eq!(file.entries[1].value, TomlValue::Number("2e-4".to_owned()));
        assert_eq!(file.entries[4].value, TomlValue::Other("a table"));
        assert_eq!(file.tables, [("train".to_owned(), 4), ("chat".to_owned(), 8)]);
    }

    #[test]
    fn what_is_no_toml_is_named_with_its_line() {
        let error = parse("x.toml", "db = 'a'\nmodel = = 1\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("x.toml:2") && error.contains("hint: "), "{error}");
        let twice = parse("x.toml", "db = 'a'\ndb = 'b'\n").unwrap_err().to_string();
        assert!(twice.contains("x.toml:2"), "{twice}");
    }

    #[test]
    fn the_nearest_file_within_repository_or_home_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let deep = root.join("home/repo/a/b");
        std::fs::create_dir_all(&deep).unwrap();
        let write = |folder: &str| std::fs::write(root.join(folder).join(NAME), "").unwrap();
        let home = root.join("home");
        let within = |folder: &Path| find(folder, Some(&home));
        write("");
        assert_eq!(within(&deep), None, "above home");
        assert_eq!(find(&deep, None), None, "neither repository nor home");
        write("home");
        assert_eq!(within(&deep), Some(home.join(NAME)));
        std::fs::create_dir(root.join("home/repo/.git")).unwrap();
        assert_eq!(within(&deep), None, "above the repository");
        write("home/repo");
        assert_eq!(within(&deep), Some(root.join("home/repo").join(NAME)));
        write("home/repo/a/b");
        assert_eq!(within(&deep), Some(PathBuf::from(NAME)));
        assert_eq!(find(root, None), Some(PathBuf::from(NAME)));
    }
}
