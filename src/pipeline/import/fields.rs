//! Columns of imported rows that become fields. What a column holds decides about the type of a new
//! field, so that fields are made after the last row was read.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use serde_json::Value;

use crate::{
    interchange::{Format, ParsedRow},
    store::{
        Field, FieldError, Store,
        fields::{self, LONGEST_TEXT, NewField, Values},
    },
    task::FieldType,
    text::{chosen, clean, one_line},
};

/// Dolly's category, which a task has as its name.
const CATEGORY: &str = "category";

/// The most new fields of one import: a file with other columns in each row is no table.
const MOST_NEW: usize = 100;

/// The longest tag of a new field, in characters.
const LONGEST_TAG: usize = 100;

/// Which columns become fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Those that the dataset has fields for.
    #[default]
    Known,
    /// Those, and these columns.
    Named(Vec<String>),
    /// All whose values can be those of a field.
    All,
    /// None.
    Nothing,
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        let names: Vec<String> = text
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        match names.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Err("want names of columns with commas between them, all or none".to_owned()),
            ["all"] => Ok(Wanted::All),
            ["none"] => Ok(Wanted::Nothing),
            _ => Ok(Wanted::Named(names)),
        }
    }
}

/// What the values of a column have been so far.
#[derive(Debug, Default)]
struct Column {
    flags: u64,
    numbers: u64,
    /// Texts that are numbers, as all are in CSV.
    numeric_texts: u64,
    texts: u64,
    lists: u64,
    /// A value that no field can have, and why.
    unfit: Option<String>,
}

impl Column {
    fn add(&mut self, value: &Value) {
        let is_short = |text: &str, longest| text.chars().take(longest + 1).count() <= longest;
        match value {
            Value::Null => {}
            Value::Bool(_) => self.flags += 1,
            Value::Number(_) => self.numbers += 1,
            Value::String(text) if !is_short(text, LONGEST_TEXT) => {
                self.unfit
                    .get_or_insert_with(|| format!("a text of more than {LONGEST_TEXT} characters"));
            }
            Value::String(text) if text.trim().is_empty() => {}
            Value::String(text) => {
                // A number with zeros before it is a code.
                let is_plain = text == "0" || !text.starts_with('0') || text.starts_with("0.");
                let is_number = is_plain && text.parse::<f64>().is_ok_and(f64::is_finite);
                self.numeric_texts += u64::from(is_number);
                self.texts += 1;
            }
            Value::Array(list) => {
                let is_tag = |tag: &Value| tag.as_str().is_some_and(|tag| is_short(tag, LONGEST_TAG));
                match list.iter().all(is_tag) && list.len() <= fields::MOST_TAGS {
                    true => self.lists += 1,
                    false => {
                        self.unfit
                            .get_or_insert_with(|| "a list of something else than short texts".to_owned());
                    }
                }
            }
            Value::Object(_) => {
                self.unfit.get_or_insert_with(|| "an object".to_owned());
            }
        }
    }

    /// The type of a field for these values; `None` if there is none.
    fn kind(&self, is_csv: bool) -> Option<FieldType> {
        match (self.flags, self.numbers, self.texts, self.lists) {
            (0, 0, 0, 0) => None,
            (_, 0, 0, 0) => Some(FieldType::Flag),
            (0, _, 0, 0) => Some(FieldType::Number),
            (0, 0, texts, 0) if is_csv && texts == self.numeric_texts => Some(FieldType::Number),
            (0, 0, _, 1..) => Some(FieldType::Tags),
            (_, _, _, 0) => Some(FieldType::Text),
            // Lists among numbers are values of nothing.
            _ => None,
        }
    }
}

/// The columns of a file that become fields.
#[derive(Debug)]
pub(super) struct FieldColumns {
    wanted: Wanted,
    known: Vec<Field>,
    /// Fields that were removed: their columns are left alone unless they are named.
    removed: Vec<Field>,
    new: BTreeMap<String, Column>,
    is_dolly: bool,
    is_csv: bool,
}

/// Values of a task by their columns, as JSON.
pub(super) type Cells = Vec<(String, String)>;

impl FieldColumns {
    pub(super) async fn begin(
        store: &Store,
        wanted: &Wanted,
        format: Option<&'static str>,
        is_csv: bool,
    ) -> anyhow::Result<FieldColumns> {
        let (removed, known) = match wanted {
            Wanted::Nothing => (Vec::new(), Vec::new()),
            _ => store
                .all_fields()
                .await?
                .into_iter()
                .partition(|field| field.is_hidden),
        };
        Ok(FieldColumns {
            wanted: wanted.clone(),
            known,
            removed,
            new: BTreeMap::new(),
            is_dolly: format == Some(Format::Dolly.as_str()),
            is_csv,
        })
    }

    /// Takes the values of a row. Nothing else of the row changes.
    ///
    /// # Errors
    ///
    /// If a value is none of the field that the dataset has for its column; says which.
    pub(super) fn take(&mut self, row: &ParsedRow) -> Result<Cells, String> {
        if self.wanted == Wanted::Nothing || self.wanted == Wanted::Known && self.known.is_empty() {
            return Ok(Cells::new());
        }
        let own = row.instance_extras.first();
        let extras = row
            .extra
            .fields()
            .chain(own.into_iter().flat_map(|own| own.fields()));
        let mut cells: Cells = extras
            .filter(|(name, _)| self.wants(name))
            .map(|(name, json)| (name.to_owned(), json.to_owned()))
            .collect();
        let category = row
            .task
            .name
            .as_deref()
            .filter(|_| self.is_dolly && self.wants(CATEGORY));
        cells.extend(category.map(|name| (CATEGORY.to_owned(), Value::from(name).to_string())));
        for (name, json) in &cells {
            let value = parsed(json);
            match known(&self.known, name) {
                Some(field) => field.of_json(&value).map(|_| ()).map_err(|error| {
                    format!("{error}\nhint: --fields none imports the rows without their fields")
                })?,
                None => self.new.entry(name.clone()).or_default().add(&value),
            }
        }
        Ok(cells)
    }

    fn wants(&self, name: &str) -> bool {
        match &self.wanted {
            Wanted::All => !self.removed.iter().any(|field| field.is_column(name)),
            Wanted::Named(names) if names.iter().any(|wanted| wanted == name) => true,
            Wanted::Nothing => false,
            _ => known(&self.known, name).is_some(),
        }
    }

    /// Makes the new fields, after the last row.
    ///
    /// # Errors
    ///
    /// If a column that was named is not there, or its values cannot be those of a field.
    pub(super) async fn make(mut self, store: &Store) -> anyhow::Result<FieldsOfFile> {
        let columns = std::mem::take(&mut self.new);
        let is_named = |name: &str| match &self.wanted {
            Wanted::Named(names) => names.iter().any(|wanted| wanted == name),
            _ => false,
        };
        let (mut made, mut skipped) = (Vec::new(), Vec::new());
        for (name, column) in columns {
            let what = match (
                &column.unfit,
                column.kind(self.is_csv),
                fields::checked_name(&name),
            ) {
                (None, Some(kind), Ok(_)) => {
                    made.push((name, kind));
                    continue;
                }
                (_, _, Err(error)) => error.to_string(),
                (Some(unfit), _, _) => format!("column `{}` has {unfit}", clean(&name)),
                (None, None, _) if column.flags + column.numbers + column.texts + column.lists == 0 => {
                    continue;
                }
                (None, None, _) => format!("column `{}` has lists and other values", clean(&name)),
            };
            match is_named(&name) {
                true => bail!("{what}\nhint: leave it away from --fields; it is kept with its row"),
                false => skipped.push(name),
            }
        }
        if let Wanted::Named(names) = &self.wanted {
            let is_there = |name: &&String| {
                known(&self.known, name).is_some() || made.iter().any(|(made, _)| made == *name)
            };
            if let Some(missing) = names.iter().find(|name| !is_there(name)) {
                bail!(
                    "no row has a value in a column `{}`\nhint: --fields all takes those that there are",
                    one_line(missing, 60)
                );
            }
        }
        if made.len() > MOST_NEW {
            bail!(
                "{} would become fields, more than {MOST_NEW}\nhint: --fields NAME,NAME says which",
                chosen(made.len(), "column", "columns")
            );
        }
        let mut fields = self.known;
        let mut new = Vec::new();
        for (name, kind) in made {
            let field = match store.add_field(&of_type(&name, kind)).await {
                // Another process was faster.
                Err(crate::store::Error::Field(FieldError::Exists { .. })) => {
                    let now = store.fields().await?;
                    fields::named(&now, &name)?.clone()
                }
                added => added?,
            };
            new.push(field.clone());
            fields.push(field);
        }
        Ok(FieldsOfFile { fields, new, skipped })
    }
}

fn of_type(name: &str, kind: FieldType) -> NewField {
    NewField {
        name: name.to_owned(),
        kind,
        choices: Vec::new(),
        key: None,
    }
}

/// Finds the field for a column: that of its name, else one that had its name.
fn known<'a>(fields: &'a [Field], column: &str) -> Option<&'a Field> {
    let named = fields.iter().find(|field| field.name == column);
    named.or_else(|| fields.iter().find(|field| field.column_name == column))
}

/// Parses a value. What 64 bits cannot hold stays text.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| Value::from(json))
}

/// The fields that the columns of a file became.
#[derive(Debug)]
pub(super) struct FieldsOfFile {
    fields: Vec<Field>,
    /// Those that were not there before.
    pub(super) new: Vec<Field>,
    /// Columns whose values cannot be those of a field.
    pub(super) skipped: Vec<String>,
}

impl FieldsOfFile {
    /// Returns the values of a task, by the ids of their fields.
    ///
    /// # Errors
    ///
    /// If another process has made a field of another type meanwhile.
    pub(super) fn values(&self, cells: &Cells) -> Result<Vec<(i64, Values)>, FieldError> {
        let mut seen = BTreeSet::new();
        let mut values = Vec::new();
        for (name, json) in cells {
            let Some(field) = known(&self.fields, name).filter(|field| seen.insert(field.id)) else {
                continue;
            };
            let value = field.of_json(&parsed(json))?;
            if !value.is_empty() {
                values.push((field.id, value));
            }
        }
        Ok(values)
    }
}
