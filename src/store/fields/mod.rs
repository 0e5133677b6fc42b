//! Fields of one's own, and their values for tasks.
//!
//! - [`assign`]: values are set, as actions that can be undone.
//! - [`values`]: which texts are values of a field.
//! - [`counts`]: how often each value occurs.
//! - [`ranges`]: how often numbers occur that are too many to list each.
//! - [`error`]: what can be wrong with a field.

pub mod assign;
pub mod counts;
pub mod error;
pub mod ranges;
pub mod values;

use sqlx::SqliteConnection;

use super::{Result, Store};
use crate::task::FieldType;

pub use error::FieldError;
pub use values::Values;

/// The longest name, in characters.
const LONGEST_NAME: usize = 64;

/// The most choices of a field.
const MOST_CHOICES: usize = 1000;

/// The longest choice or tag, in characters.
const LONGEST_WORD: usize = 100;

/// The longest text of a field, in characters. What is longer belongs into the texts of a task.
pub const LONGEST_TEXT: usize = 10_000;

/// The most tags of one task.
pub const MOST_TAGS: usize = 1000;

/// What rows of files are made of: what is beside the texts there is kept under these names.
const STRUCTURE: [&str; 5] = [
    "messages",
    "conversations",
    "conversation",
    "instances",
    "history",
];

/// How alike a name must be to be suggested, from 0 to 1 (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// The keys that neither the page nor `ewe review` has for something else, for people.
const FREE_KEYS: &str = "h, i, o, y, z, or a capital letter other than R and U";

/// A field that people added to tasks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Field {
    /// Its id.
    #[serde(skip)]
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// The values of a choice, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The key that edits it on the page and in `ewe review`.
    pub key: Option<String>,
    /// What rows of files call it.
    #[serde(skip)]
    pub column_name: String,
    /// Whether it was removed; its values are kept.
    #[serde(rename = "removed")]
    pub is_hidden: bool,
}

/// A field to make.
#[derive(Debug, Clone)]
pub struct NewField {
    /// Its name.
    pub name: String,
    /// What its values are. `None` is what a removed field of this name has; without one, a choice
    /// if there are values to choose from, otherwise text.
    pub kind: Option<FieldType>,
    /// The values of a choice.
    pub choices: Vec<String>,
    /// Its key.
    pub key: Option<String>,
}

/// What is to become of a field; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct FieldChange {
    /// Another name.
    pub name: Option<String>,
    /// Other choices. A text becomes a choice if all its values are among them.
    pub choices: Option<Vec<String>>,
    /// Another key; empty for none.
    pub key: Option<String>,
}

/// A row of `field`.
struct FieldRow {
    id: i64,
    name: String,
    kind: FieldType,
    choices: Option<String>,
    key: Option<String>,
    column_name: String,
    is_hidden: bool,
}

impl From<FieldRow> for Field {
    fn from(row: FieldRow) -> Field {
        let choices = row
            .choices
            .and_then(|choices| serde_json::from_str(&choices).ok());
        Field {
            id: row.id,
            name: row.name,
            kind: row.kind,
            choices: choices.unwrap_or_default(),
            key: row.key,
            column_name: row.column_name,
            is_hidden: row.is_hidden,
        }
    }
}

/// Returns all fields, in the order in which they were made.
pub(in crate::store) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Field>> {
    let rows = sqlx::query_as!(
        FieldRow,
        r#"
        SELECT
            id AS "id!: i64", name, type AS "kind!: FieldType", choices, key, column_name,
            hidden_at IS NOT NULL AS "is_hidden!: bool"
        FROM field
        ORDER BY id
        "#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Field::from).collect())
}

/// Finds a field by its name, in any case.
fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.is_called(name))
}

/// Returns the visible field of this name.
///
/// # Errors
///
/// [`FieldError::None`], with the most similar name.
pub fn named<'a>(fields: &'a [Field], name: &str) -> std::result::Result<&'a Field, FieldError> {
    let mut visible = fields.iter().filter(|field| !field.is_hidden);
    if let Some(field) = visible.clone().find(|field| field.is_called(name)) {
        return Ok(field);
    }
    let likeness = |field: &&Field| strsim::jaro_winkler(name, &field.name);
    let nearest = visible
        .by_ref()
        .filter(|field| likeness(field) >= ALIKE)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    Err(FieldError::None {
        name: name.to_owned(),
        nearest: nearest.map(|field| field.name.clone()),
    })
}

impl Field {
    /// Whether this is its name, in any case.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether rows of files call it so.
    pub fn is_column(&self, name: &str) -> bool {
        self.name == name || self.column_name == name
    }
}

impl Store {
    /// Returns all fields that were not removed, in the order in which they were made.
    pub async fn fields(&self) -> Result<Vec<Field>> {
        let mut fields = self.all_fields().await?;
        fields.retain(|field| !field.is_hidden);
        Ok(fields)
    }

    /// Returns all fields, with those that were removed.
    pub async fn all_fields(&self) -> Result<Vec<Field>> {
        all(&mut *self.acquire().await?).await
    }

    /// Makes a field, or brings one of this name back that was removed, with its choices and its
    /// key.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if it cannot be made.
    pub async fn add_field(&self, new: &NewField) -> Result<Field> {
        let name = checked_name(&new.name)?;
        let mut transaction = self.write().await?;
        let fields = all(&mut transaction).await?;
        let old = find(&fields, name);
        let kind = kind_of(new, old);
        check_key(&fields, new.key.as_deref(), old.map(|old| old.id))?;
        match old {
            Some(old) if !old.is_hidden => {
                return Err(FieldError::Exists {
                    name: old.name.clone(),
                    kind: old.kind,
                }
                .into());
            }
            Some(old) if old.kind != kind => {
                return Err(FieldError::WasAnother {
                    name: old.name.clone(),
                    kind: old.kind,
                }
                .into());
            }
            Some(old) => {
                let choices = union(&old.choices, &new.choices);
                check_choices(kind, &choices)?;
                let choices = json_of(kind, &choices);
                let key = new.key.clone().or_else(|| {
                    let is_free = |key: &String| check_key(&fields, Some(key), Some(old.id)).is_ok();
                    old.key.clone().filter(is_free)
                });
                sqlx::query!(
                    "UPDATE field SET hidden_at = NULL, choices = ?, key = ? WHERE id = ?",
                    choices,
                    key,
                    old.id
                )
                .execute(&mut *transaction)
                .await?;
            }
            None => {
                check_choices(kind, &new.choices)?;
                insert(&mut transaction, new, name, kind).await?;
            }
        }
        let made = all(&mut transaction).await?;
        transaction.commit().await?;
        Ok(named(&made, name)?.clone())
    }

    /// Changes the name, the choices or the key of a field.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if there is no such field, or it cannot become so.
    pub async fn change_field(&self, name: &str, change: &FieldChange) -> Result<Field> {
        let mut transaction = self.write().await?;
        let fields = all(&mut transaction).await?;
        // A field that was removed has its name still, and may give it away.
        let field = match find(&fields, name) {
            Some(field) => field.clone(),
            None => named(&fields, name)?.clone(),
        };
        let mut changed = field.clone();
        if let Some(new) = &change.name {
            let new = checked_name(new)?;
            if let Some(other) = find(&fields, new).filter(|other| other.id != field.id) {
                return Err(FieldError::Exists {
                    name: other.name.clone(),
                    kind: other.kind,
                }
                .into());
            }
            changed.name = new.to_owned();
        }
        if let Some(choices) = &change.choices {
            if !matches!(field.kind, FieldType::Choice | FieldType::Text) {
                let (name, kind) = (crate::text::clean(&field.name), field.kind);
                let what = format!(
                    "field `{name}` is of type {kind}, and has any values\nhint: --values is for choices and texts"
                );
                return Err(FieldError::Type { what }.into());
            }
            check_choices(FieldType::Choice, choices)?;
            check_used(&mut transaction, &field, choices).await?;
            (changed.kind, changed.choices) = (FieldType::Choice, choices.clone());
        }
        if let Some(key) = &change.key {
            let key = Some(key.as_str()).filter(|key| !key.is_empty());
            check_key(&fields, key, Some(field.id))?;
            changed.key = key.map(str::to_owned);
        }
        let choices = json_of(changed.kind, &changed.choices);
        sqlx::query!(
            "UPDATE field SET name = ?, type = ?, choices = ?, key = ? WHERE id = ?",
            changed.name,
            changed.kind,
            choices,
            changed.key,
            changed.id
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(changed)
    }

    /// Hides a field. Its values are kept, and come back with it. Returns how many tasks have one.
    ///
    /// # Errors
    ///
    /// [`FieldError::None`].
    pub async fn remove_field(&self, name: &str) -> Result<(Field, i64)> {
        let mut transaction = self.write().await?;
        let fields = all(&mut transaction).await?;
        let field = named(&fields, name)?;
        sqlx::query!(
            "UPDATE field SET hidden_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ?",
            field.id
        )
        .execute(&mut *transaction)
        .await?;
        let tasks = sqlx::query_scalar!(
            r#"SELECT count(DISTINCT task_id) AS "tasks!: i64" FROM field_value WHERE field_id = ?"#,
            field.id
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok((field.clone(), tasks))
    }
}

/// Returns the type of a new field, or of the one that it brings back.
fn kind_of(new: &NewField, old: Option<&Field>) -> FieldType {
    let likely = match (new.choices.is_empty(), old) {
        (false, _) => FieldType::Choice,
        (true, Some(old)) => old.kind,
        (true, None) => FieldType::Text,
    };
    new.kind.unwrap_or(likely)
}

/// Writes a new field.
async fn insert(
    connection: &mut SqliteConnection,
    new: &NewField,
    name: &str,
    kind: FieldType,
) -> Result<()> {
    let choices = json_of(kind, &new.choices);
    sqlx::query!(
        "INSERT INTO field (name, type, choices, key, column_name) VALUES (?1, ?2, ?3, ?4, ?1)",
        name,
        kind,
        choices,
        new.key
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the choices for the database.
fn json_of(kind: FieldType, choices: &[String]) -> Option<String> {
    (kind == FieldType::Choice).then(|| super::rows::json_rows(choices))
}

/// Returns all of `one`, then what `other` has beside it.
fn union(one: &[String], other: &[String]) -> Vec<String> {
    let more = other.iter().filter(|choice| !one.contains(choice));
    one.iter().chain(more).cloned().collect()
}

/// Returns a name without space around it.
///
/// # Errors
///
/// [`FieldError::Name`] if it cannot be typed where names are.
pub fn checked_name(name: &str) -> std::result::Result<&str, FieldError> {
    let trimmed = name.trim();
    let what = if trimmed.is_empty() {
        "it is empty"
    } else if trimmed.chars().count() > LONGEST_NAME {
        "it has more than 64 characters"
    } else if !trimmed.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        "it begins with neither a letter nor a digit"
    } else if trimmed.contains(|c: char| c.is_control() || "\"'`=,:".contains(c)) {
        "it has a control character or one of \" ' ` = , :"
    } else if trimmed.ends_with(['+', '-']) {
        "it ends with + or -, which add and remove tags"
    } else if STRUCTURE.contains(&trimmed.to_ascii_lowercase().as_str()) {
        "rows of files have their messages or examples there"
    } else {
        return Ok(trimmed);
    };
    Err(FieldError::Name {
        name: name.to_owned(),
        what,
    })
}

fn check_choices(kind: FieldType, choices: &[String]) -> std::result::Result<(), FieldError> {
    let wrong = |what: String| Err(FieldError::Choices { what });
    if kind != FieldType::Choice {
        return match choices {
            [] => Ok(()),
            _ => Err(FieldError::Type {
                what: format!(
                    "a field of type {kind} has any values, and no list of them\nhint: a field of type choice has such a list"
                ),
            }),
        };
    }
    let mut seen = std::collections::HashSet::new();
    match choices {
        [] => return wrong("a choice needs values to choose from".into()),
        more if more.len() > MOST_CHOICES => {
            return wrong(format!("{} choices, more than {MOST_CHOICES}", more.len()));
        }
        _ => {}
    }
    for choice in choices {
        let shown = crate::text::one_line(choice, 60);
        if choice.trim() != choice || choice.is_empty() || choice.contains(char::is_control) {
            return wrong(format!(
                "`{shown}` cannot be a choice: it is empty, begins or ends with a space, or has a control character"
            ));
        }
        if choice.chars().count() > LONGEST_WORD {
            return wrong(format!("`{shown}` has more than {LONGEST_WORD} characters"));
        }
        if !seen.insert(choice.to_lowercase()) {
            return wrong(format!("`{shown}` stands twice among the values"));
        }
    }
    Ok(())
}

fn check_key(fields: &[Field], key: Option<&str>, own: Option<i64>) -> std::result::Result<(), FieldError> {
    let Some(key) = key else {
        return Ok(());
    };
    let wrong = |what: String| FieldError::Key {
        key: key.to_owned(),
        what,
    };
    let mut letters = key.chars();
    let is_free = match (letters.next(), letters.next()) {
        (Some('h' | 'i' | 'o' | 'y' | 'z'), None) => true,
        (Some(letter), None) => letter.is_ascii_uppercase() && !matches!(letter, 'R' | 'U'),
        _ => return Err(wrong("it is not one letter".into())),
    };
    if !is_free {
        return Err(wrong(
            "the page and `ewe review` need it for something else".into(),
        ));
    }
    let other = fields
        .iter()
        .find(|field| field.key.as_deref() == Some(key) && Some(field.id) != own);
    match other {
        Some(other) => Err(wrong(format!(
            "field `{}` has it",
            crate::text::clean(&other.name)
        ))),
        None => Ok(()),
    }
}

/// Fails if tasks have values that are not among these choices.
async fn check_used(connection: &mut SqliteConnection, field: &Field, choices: &[String]) -> Result<()> {
    let choices = super::rows::json_rows(choices);
    let used = sqlx::query!(
        r#"
        SELECT count(*) AS "tasks!: i64", min(value) AS "value: String"
        FROM field_value
        WHERE field_id = ?1 AND value NOT IN (SELECT value FROM json_each(?2))
        "#,
        field.id,
        choices
    )
    .fetch_one(connection)
    .await?;
    match (used.tasks, used.value) {
        (1.., Some(value)) => Err(FieldError::Used {
            name: field.name.clone(),
            tasks: used.tasks,
            value,
        }
        .into()),
        _ => Ok(()),
    }
}
