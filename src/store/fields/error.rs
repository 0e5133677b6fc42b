//! What can be wrong with a field, and with a value of it.

use crate::task::FieldType;
use crate::text::{chosen, clean, counted, one_line, shell_word};

/// How much of a value or a name an error shows, in characters.
const SHOWN: usize = 60;

/// An error about a field.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// No field has this name.
    #[error("no field `{}`\nhint: {}", one_line(name, SHOWN), match nearest {
        Some(nearest) => format!("did you mean `{}`?", clean(nearest)),
        None => "`ewe field list` shows them; `ewe field add` makes one".to_owned(),
    })]
    None {
        /// What was asked for.
        name: String,
        /// The most similar name, if one is similar.
        nearest: Option<String>,
    },
    /// A field of this name exists.
    #[error(
        "there is a field `{}` already, of type {kind}\nhint: `ewe field change` gives it other values or another key",
        clean(name)
    )]
    Exists {
        /// Its name.
        name: String,
        /// Its type.
        kind: FieldType,
    },
    /// A field of this name was removed, and is of another type.
    #[error(
        "a field `{}` of type {kind} was removed, and has its values still\nhint: `ewe field add {}` brings it back; `ewe field rename {} OTHER` gives it another name",
        clean(name),
        shell_word(name.as_ref()),
        shell_word(name.as_ref())
    )]
    WasAnother {
        /// Its name.
        name: String,
        /// Its type.
        kind: FieldType,
    },
    /// The name cannot be one.
    #[error(
        "`{}` cannot be the name of a field: {what}\nhint: a name such as difficulty or question_type",
        one_line(name, SHOWN)
    )]
    Name {
        /// The name.
        name: String,
        /// The obstacle.
        what: &'static str,
    },
    /// The choices cannot be those of a field.
    #[error("{what}\nhint: --values easy,medium,hard")]
    Choices {
        /// The obstacle.
        what: String,
    },
    /// The type and other things that were said do not go together.
    #[error("{what}")]
    Type {
        /// What does not.
        what: String,
    },
    /// The key cannot be one.
    #[error(
        "`{}` cannot be the key of a field: {what}\nhint: one of {}",
        one_line(key, 8),
        super::FREE_KEYS
    )]
    Key {
        /// The key.
        key: String,
        /// The obstacle.
        what: String,
    },
    /// Values are not among the new choices.
    #[error("{} a value of `{}` that is none of these, such as `{}`\nhint: name them, too, or label those tasks first: `ewe list --field '{}={}'`",
        chosen(*tasks, "task has", "tasks have"),
        clean(name), one_line(value, SHOWN), clean(name), one_line(value, SHOWN))]
    Used {
        /// The field.
        name: String,
        /// How many tasks.
        tasks: i64,
        /// One of the values.
        value: String,
    },
    /// An action would be taken back, and give tasks a value that the choice has no more.
    #[error(
        "action {group} cannot be taken back: `{}` is no value of field `{}` any more\nhint: {way_out}; then take the action back",
        one_line(value, SHOWN),
        clean(name)
    )]
    Gone {
        /// The action.
        group: i64,
        /// The field.
        name: String,
        /// The value.
        value: String,
        /// How the choice gets its values back.
        way_out: String,
    },
    /// A value is none of the field.
    #[error("`{}` is no value of field `{}`: {what}", one_line(value, SHOWN), clean(name))]
    Value {
        /// The field.
        name: String,
        /// The value.
        value: String,
        /// What it has to be, and a hint.
        what: String,
    },
    /// A condition says of a field what cannot be.
    #[error("--where: {what}")]
    Where {
        /// Where, and what.
        what: String,
    },
    /// More tags than a task may have.
    #[error("{} for field `{}`, more than {} that a task may have", counted(*count, "tag"), clean(name), super::MOST_TAGS)]
    TooManyTags {
        /// The field.
        name: String,
        /// How many.
        count: usize,
    },
}
