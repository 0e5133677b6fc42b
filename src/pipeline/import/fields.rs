//! Columns of imported rows that become fields. What a column holds decides about the type of a new
//! field, so that fields are made after the last row was read.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use serde_json::Value;

use crate::{
    interchange::{Format, ParsedRow},
    store::{
        Field, FieldError, Store,
        fields::{self, LONGEST_TEXT, NewField, Values, values::parsed},
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
    /// Texts that are too long for tags.
    long_texts: u64,
    /// Whether some value cannot be one of a field.
    is_unfit: bool,
}

/// Whether a text has at most so many characters.
fn is_short(text: &str, longest: usize) -> bool {
    text.chars().take(longest + 1).count() <= longest
}

impl Column {
    /// Says what is wrong with a value that no field can have, or none beside the values before it.
    fn fault(&self, value: &Value) -> Option<String> {
        let is_blank = |text: &str| text.trim().is_empty();
        let have_lists = self.lists > 0;
        Some(match value {
            Value::Bool(_) | Value::Number(_) if have_lists => "lists and other values".to_owned(),
            Value::String(text) if !is_short(text, LONGEST_TEXT) => {
                format!("a text of more than {LONGEST_TEXT} characters")
            }
            Value::String(text) if text.contains('\0') => "a text with a null character".to_owned(),
            Value::String(text) if have_lists && !is_blank(text) && !is_short(text, LONGEST_TAG) => {
                format!("lists and a text of more than {LONGEST_TAG} characters")
            }
            Value::Array(list) => return self.fault_of_list(list),
            Value::Object(_) => "an object".to_owned(),
            _ => return None,
        })
    }

    fn fault_of_list(&self, list: &[Value]) -> Option<String> {
        let is_tag = |tag: &Value| tag.as_str().is_some_and(|tag| is_short(tag, LONGEST_TAG));
        let has_null = |tag: &Value| tag.as_str().is_some_and(|tag| tag.contains('\0'));
        if !list.iter().all(is_tag) || list.len() > fields::MOST_TAGS {
            Some("a list of something else than short texts".to_owned())
        } else if list.iter().any(has_null) {
            Some("a list with a null character".to_owned())
        } else if self.flags + self.numbers > 0 {
            Some("lists and other values".to_owned())
        } else {
            (self.long_texts > 0).then(|| format!("lists and a text of more than {LONGEST_TAG} characters"))
        }
    }

    /// Counts a value that has no fault.
    fn add(&mut self, value: &Value) {
        match value {
            Value::Bool(_) => self.flags += 1,
            Value::Number(_) => self.numbers += 1,
            Value::String(text) if !text.trim().is_empty() => {
                // A number with zeros before it is a code.
                let is_plain = text == "0" || !text.starts_with('0') || text.starts_with("0.");
                let is_number = is_plain && text.parse::<f64>().is_ok_and(f64::is_finite);
                self.numeric_texts += u64::from(is_number);
                self.long_texts += u64::from(!is_short(text, LONGEST_TAG));
                self.texts += 1;
            }
            Value::Array(_) => self.lists += 1,
            Value::Null | Value::String(_) | Value::Object(_) => {}
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
            // A list and another value in one column are a fault of the later one.
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
    /// If a value is none of the field that the dataset has for its column, or none of any field in
    /// a column that was named; says which.
    pub(super) fn take(&mut self, row: &ParsedRow) -> Result<Cells, String> {
        if self.wanted == Wanted::Nothing || self.wanted == Wanted::Known && self.known.is_empty() {
            return Ok(Cells::new());
        }
        let own = row.instance_extras.first();
        let extras = row
            .extra
            .fields()
            .chain(own.into_iter().flat_map(|own| own.fields()));
        let mut seen = BTreeSet::new();
        let mut cells: Cells = extras
            .filter(|(name, _)| self.wants(name) && seen.insert(*name))
            .map(|(name, json)| (name.to_owned(), json.to_owned()))
            .collect();
        let category = row
            .task
            .name
            .as_deref()
            .filter(|_| self.is_dolly && self.wants(CATEGORY));
        cells.extend(category.map(|name| (CATEGORY.to_owned(), Value::from(name).to_string())));
        let mut new = Vec::new();
        for (name, json) in &cells {
            let value = parsed(json);
            match known(&self.known, name) {
                Some(field) => field.of_json(&value).map(|_| ()).map_err(|error| {
                    format!("{error}\nhint: --fields none imports the rows without their fields")
                })?,
                None => {
                    let fault = self.new.entry(name.clone()).or_default().fault(&value);
                    new.push((name, value, self.refused(name, fault)?));
                }
            }
        }
        // Only now is the row one that is imported.
        for (name, value, is_unfit) in new {
            let column = self.new.entry(name.clone()).or_default();
            match is_unfit {
                true => column.is_unfit = true,
                false => column.add(&value),
            }
        }
        Ok(cells)
    }

    /// Refuses a value with a fault if its column was named. Otherwise returns whether it has one:
    /// then the column becomes no field.
    fn refused(&self, name: &str, fault: Option<String>) -> Result<bool, String> {
        match fault {
            Some(fault) if self.is_named(name) => Err(format!(
                "column `{}` has {fault}\nhint: leave it away from --fields; it is kept with its row",
                clean(name)
            )),
            fault => Ok(fault.is_some()),
        }
    }

    /// Whether somebody named this column.
    fn is_named(&self, name: &str) -> bool {
        matches!(&self.wanted, Wanted::Named(names) if names.iter().any(|wanted| wanted == name))
    }

    fn wants(&self, name: &str) -> bool {
        match &self.wanted {
            Wanted::All => !self.removed.iter().any(|field| field.is_column(name)),
            Wanted::Nothing => false,
            _ => self.is_named(name) || known(&self.known, name).is_some(),
        }
    }

    /// Makes the new fields, after the last row.
    ///
    /// # Errors
    ///
    /// If a column that was named is not there, or has the name of no field, or of one of another
    /// type that was removed. Then none is made.
    pub(super) async fn make(mut self, store: &Store) -> anyhow::Result<FieldsOfFile> {
        let columns = std::mem::take(&mut self.new);
        let (mut made, mut skipped) = (Vec::new(), Vec::new());
        for (name, column) in columns {
            match (fields::checked_name(&name), column.kind(self.is_csv)) {
                (Err(error), _) if self.is_named(&name) => {
                    bail!("{error}\nhint: leave it away from --fields; it is kept with its row")
                }
                (Err(_), _) => skipped.push(name),
                (Ok(_), _) if column.is_unfit => skipped.push(name),
                (Ok(_), Some(kind)) => made.push((name, kind)),
                (Ok(_), None) => {}
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
        self.check_removed(&made)?;
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

    /// Fails if one of these would bring a field of another type back.
    fn check_removed(&self, made: &[(String, FieldType)]) -> Result<(), FieldError> {
        for (name, kind) in made {
            let mut removed = self.removed.iter();
            if let Some(field) = removed.find(|field| field.is_called(name) && field.kind != *kind) {
                return Err(FieldError::WasAnother {
                    name: field.name.clone(),
                    kind: field.kind,
                });
            }
        }
        Ok(())
    }
}

fn of_type(name: &str, kind: FieldType) -> NewField {
    NewField {
        name: name.to_owned(),
        kind: Some(kind),
        choices: Vec::new(),
        key: None,
    }
}

/// Finds the field for a column: that of its name, else one that had its name.
fn known<'a>(fields: &'a [Field], column: &str) -> Option<&'a Field> {
    let named = fields.iter().find(|field| field.name == column);
    named.or_else(|| fields.iter().find(|field| field.column_name == column))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a column these values. Returns what is wrong with those that have a fault.
    fn faults(values: &[&str]) -> (Column, Vec<String>) {
        let (mut column, mut faults) = (Column::default(), Vec::new());
        for value in values {
            let value = parsed(value);
            match column.fault(&value) {
                Some(fault) => faults.push(fault),
                None => column.add(&value),
            }
        }
        (column, faults)
    }

    #[test]
    fn a_value_that_no_field_can_have_is_found_at_its_row() {
        let long = format!("\"{}\"", "x".repeat(LONGEST_TAG + 1));
        let (too_long, tag) = (
            format!("\"{}\"", "x".repeat(LONGEST_TEXT + 1)),
            format!("[{long}]"),
        );
        let cases: [(&[&str], Option<FieldType>, &str); 10] = [
            (
                &["\"a\"", r#""a\u0000""#],
                Some(FieldType::Text),
                "null character",
            ),
            (&["\"a\"", &too_long], Some(FieldType::Text), "more than 10000"),
            (
                &[r#"["a"]"#, r#"["a\u0000"]"#],
                Some(FieldType::Tags),
                "null character",
            ),
            (&[r#"["a"]"#, "[5]"], Some(FieldType::Tags), "something else"),
            (&[r#"["a"]"#, &tag], Some(FieldType::Tags), "something else"),
            (&[r#"["a"]"#, "5"], Some(FieldType::Tags), "lists and other"),
            (&["5", r#"["a"]"#], Some(FieldType::Number), "lists and other"),
            (&[r#"["a"]"#, &long], Some(FieldType::Tags), "more than 100"),
            (&[&long, r#"["a"]"#], Some(FieldType::Text), "more than 100"),
            (&["true", "{}"], Some(FieldType::Flag), "an object"),
        ];
        for (values, kind, said) in cases {
            let (column, faults) = faults(values);
            assert_eq!(column.kind(false), kind, "{said}");
            assert!(
                faults.len() == 1 && faults[0].contains(said),
                "{said}: {faults:?}"
            );
        }
        let (column, faults) = faults(&["1", "\"two\"", "true", "null", "1e400", "\" \"", &long]);
        assert_eq!((column.kind(false), faults), (Some(FieldType::Text), Vec::new()));
    }
}
