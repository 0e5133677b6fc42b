//! Values of fields: what people type, and what rows of files say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Field, FieldError, LONGEST_TEXT, LONGEST_WORD, MOST_TAGS};
use crate::task::FieldType;
use crate::text::{clean, counted, shell_word};

/// The value of a field for a task: nothing, one value, or several tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Values(pub(super) Vec<Value>);

impl Values {
    /// Returns them as the JSON list that revisions have.
    pub fn to_json(&self) -> String {
        crate::store::rows::json_rows(&self.0)
    }

    /// Whether the dataset has these values of a row as `kept`. Integers are kept exactly; other
    /// numbers as they are, or, after an undo, with the 15 digits that revisions have.
    pub fn are_kept_as(&self, kept: &Values) -> bool {
        let same = |(own, kept): (&Value, &Value)| {
            let are_integers = own.as_i64().is_some() && kept.as_i64().is_some();
            let numbers = own.as_f64().zip(kept.as_f64());
            own == kept || !are_integers && numbers.is_some_and(|(own, kept)| is_kept_as(own, kept))
        };
        self.0.len() == kept.0.len() && self.0.iter().zip(&kept.0).all(same)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what the database has: a JSON list in the order of values.
    pub fn of_column(json: &str) -> Values {
        Values(serde_json::from_str(json).unwrap_or_default())
    }
}

/// Below this, a floating-point number without a fraction is an integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whether a floating-point number is kept as this one. The last of 17 digits that SQLite writes
/// may be another.
fn is_kept_as(number: f64, kept: f64) -> bool {
    let is_near = |number: f64| (number - kept).abs() <= 2.0 * f64::EPSILON * number.abs();
    is_near(number) || format!("{number:.14e}").parse::<f64>().is_ok_and(is_near)
}

/// Parses a value of a row. What 64 bits cannot hold, or is no text, stays as the row writes it.
pub fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| Value::from(json))
}

/// Returns the words for yes and no.
fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Some(true),
        "no" | "false" | "0" => Some(false),
        _ => None,
    }
}

/// Parses a finite number; only digits, signs, a point and an exponent.
fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.contains(|c: char| c.is_ascii_alphabetic() && !c.eq_ignore_ascii_case(&'e')) {
        return None;
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    let number: f64 = text.parse().ok()?;
    // 3.0 is 3, as in SQL.
    if number.fract() == 0.0 && number.abs() < EXACT {
        return Some((number as i64).into());
    }
    // JSON has no other numbers.
    serde_json::Number::from_f64(number).map(Value::Number)
}

impl Field {
    /// Parses what somebody typed. An empty text is no value.
    ///
    /// # Errors
    ///
    /// [`FieldError::Value`], [`FieldError::TooManyTags`].
    pub fn typed(&self, text: &str) -> Result<Values, FieldError> {
        if text.trim().is_empty() {
            return Ok(Values::default());
        }
        let value = match self.kind {
            FieldType::Text => Value::from(self.within(text, LONGEST_TEXT)?),
            FieldType::Number => {
                number(text).ok_or_else(|| self.wrong(text, "want a number, such as 3 or -0.5"))?
            }
            FieldType::Flag => {
                let flag = flag(text.trim()).ok_or_else(|| self.wrong(text, "want yes or no"))?;
                Value::from(i64::from(flag))
            }
            FieldType::Choice => Value::from(self.choice(text)?),
            FieldType::Tags => return self.tags(text.split(',')),
        };
        Ok(Values(vec![value]))
    }

    /// Returns the value that a row of a file has. Null, and an empty text, are no value.
    ///
    /// # Errors
    ///
    /// As [`Field::typed`].
    pub fn of_json(&self, json: &Value) -> Result<Values, FieldError> {
        match (self.kind, json) {
            (_, Value::Null) => Ok(Values::default()),
            (FieldType::Flag, Value::Bool(flag)) => Ok(Values(vec![i64::from(*flag).into()])),
            (FieldType::Tags, Value::Array(list)) => {
                let tags: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                match tags {
                    Some(tags) => self.tags(tags.into_iter()),
                    None => Err(self.wrong(&json.to_string(), "want a list of texts")),
                }
            }
            (FieldType::Number, Value::String(text)) if !text.trim().is_empty() => number(text)
                .map(|number| Values(vec![number]))
                .ok_or_else(|| self.wrong(text, "want a number\nhint: a field of type text takes any value")),
            (_, Value::Array(_) | Value::Object(_)) => Err(self.wrong(
                &json.to_string(),
                "lists and objects are no values of such a field",
            )),
            // A tag of a row may have a comma.
            (FieldType::Tags, Value::String(text)) => self.tags(std::iter::once(text.as_str())),
            (_, Value::String(text)) => self.typed(text),
            (_, other) => self.typed(&other.to_string()),
        }
    }

    /// Checks a value to look for, which is written as the field has it.
    ///
    /// # Errors
    ///
    /// As [`Field::typed`].
    pub fn is_exactly(&self, text: &str) -> Result<(), FieldError> {
        match self.kind {
            FieldType::Choice if self.choices.iter().any(|choice| choice == text) => Ok(()),
            FieldType::Choice => {
                let own = self.choice(text)?;
                Err(self.wrong(text, &format!("did you mean {own}?")))
            }
            FieldType::Tags => self.within(text, LONGEST_WORD).map(|_| ()),
            _ => self.typed(text).map(|_| ()),
        }
    }

    /// Returns these tags, each once.
    fn tags<'a>(&self, tags: impl Iterator<Item = &'a str>) -> Result<Values, FieldError> {
        let tags: BTreeSet<&str> = tags.map(str::trim).filter(|tag| !tag.is_empty()).collect();
        if tags.len() > MOST_TAGS {
            return Err(FieldError::TooManyTags {
                name: self.name.clone(),
                count: tags.len(),
            });
        }
        let tags = tags.into_iter();
        let tags = tags.map(|tag| Ok(Value::from(self.within(tag, LONGEST_WORD)?)));
        Ok(Values(tags.collect::<Result<_, FieldError>>()?))
    }

    /// Returns the choice that a text names, in any case.
    fn choice(&self, text: &str) -> Result<&str, FieldError> {
        let text = text.trim();
        let exactly = self.choices.iter().find(|choice| *choice == text);
        let lower = text.to_lowercase();
        let likely = || self.choices.iter().find(|choice| choice.to_lowercase() == lower);
        exactly.or_else(likely).map(String::as_str).ok_or_else(|| {
            /// How many choices an error names.
            const NAMED: usize = 12;
            let mut names: Vec<&str> = self.choices.iter().take(NAMED).map(String::as_str).collect();
            if self.choices.len() > NAMED {
                names.push("…");
            }
            let all = names.join(", ");
            let name = clean(&self.name);
            self.wrong(
                text,
                &format!("want one of {all}\nhint: `ewe field change {name} --values` with one more adds it"),
            )
        })
    }

    fn within<'a>(&self, text: &'a str, longest: usize) -> Result<&'a str, FieldError> {
        if text.chars().count() > longest {
            return Err(self.wrong(
                text,
                &format!("more than {}", counted(longest as u64, "character")),
            ));
        }
        match text.contains('\0') {
            true => Err(self.wrong(text, "it has a null character")),
            false => Ok(text),
        }
    }

    fn wrong(&self, value: &str, what: &str) -> FieldError {
        FieldError::Value {
            name: self.name.clone(),
            value: value.to_owned(),
            what: what.to_owned(),
        }
    }

    /// Says how a choice gets these values back, which it had.
    pub(in crate::store) fn brings_back(&self, gone: &[String]) -> String {
        let values = clean(&super::union(&self.choices, gone).join(","));
        let [name, values] = [&self.name, &values].map(|word| shell_word(word.as_ref()));
        let them = if gone.len() == 1 { "it" } else { "them" };
        format!("`ewe field change {name} --values {values}` brings {them} back")
    }

    /// Returns values as people read and type them, with commas between tags.
    pub fn shown(&self, values: &Values) -> String {
        let shown = values.0.iter().map(|value| match (self.kind, value) {
            (FieldType::Flag, Value::Number(number)) => match number.as_i64() {
                Some(0) => "no".to_owned(),
                _ => "yes".to_owned(),
            },
            (_, Value::String(text)) => text.clone(),
            (_, other) => other.to_string(),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Returns values as other programs read them: a text, a number, true or false, or a list of
    /// texts; null without any.
    pub fn to_json(&self, values: &Values) -> Value {
        match (self.kind, values.0.as_slice()) {
            (FieldType::Tags, tags) => Value::Array(tags.to_vec()),
            (_, []) => Value::Null,
            (FieldType::Flag, [value, ..]) => Value::Bool(value.as_i64() != Some(0)),
            (_, [value, ..]) => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: FieldType, choices: &[&str]) -> Field {
        Field {
            id: 1,
            name: "f".into(),
            kind,
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            key: None,
            column_name: "f".into(),
            is_hidden: false,
        }
    }

    #[test]
    fn only_finite_numbers_are_numbers() {
        let number = field(FieldType::Number, &[]);
        for (text, json) in [("3", "[3]"), (" -0.5 ", "[-0.5]"), ("1e3", "[1000]"), ("", "[]")] {
            assert_eq!(number.typed(text).unwrap().to_json(), json);
        }
        for text in ["NaN", "1e999", "inf", "-infinity", "0x10", "3 4", "١"] {
            assert!(number.typed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn edits_of_numbers_are_seen_and_what_sqlite_rounds_is_none() {
        let number = field(FieldType::Number, &[]);
        let are = |row: &str, kept: &str| {
            let row = number.of_json(&parsed(row)).unwrap();
            row.are_kept_as(&Values::of_column(&format!("[{kept}]")))
        };
        for (row, kept) in [
            ("1764553000123456", "1764553000123456"),
            ("3.0", "3"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("0.30000000000000004", "0.3"),
            ("0.12345678901234568", "0.123456789012346"),
            ("1e22", "1.0e+22"),
            ("123456789012345678901234567890", "1.2345678901234568e+29"),
            ("1.7976931348623157e308", "1.7976931348623156e+308"),
            ("0", "0"),
        ] {
            assert!(are(row, kept), "{row} {kept}");
        }
        for (row, kept) in [
            ("1764553000123456", "1764553000123460"),
            ("9007199254740993", "9007199254740992"),
            ("0.12345678901234568", "0.12345678901234578"),
            ("0.3", "0.300000000000001"),
            ("0", "1e-300"),
        ] {
            assert!(!are(row, kept), "{row} {kept}");
        }
    }

    #[test]
    fn the_command_that_brings_choices_back_can_be_typed() {
        let choice = field(FieldType::Choice, &["so so", "bad"]);
        assert_eq!(
            choice.brings_back(&["good".to_owned()]),
            "`ewe field change f --values 'so so,bad,good'` brings it back"
        );
    }

    #[test]
    fn what_is_typed_and_what_is_shown_are_the_same() {
        let each = [
            (field(FieldType::Flag, &[]), "YES", "yes"),
            (field(FieldType::Choice, &["Easy", "hard"]), "easy", "Easy"),
            (field(FieldType::Tags, &[]), "b, a,,b", "a, b"),
            (field(FieldType::Text, &[]), " as it is ", " as it is "),
        ];
        for (field, typed, shown) in each {
            assert_eq!(field.shown(&field.typed(typed).unwrap()), shown);
        }
    }

    #[test]
    fn rows_of_files_are_read_by_the_type() {
        let json = |field: &Field, json: &str| field.of_json(&serde_json::from_str(json).unwrap());
        let number = field(FieldType::Number, &[]);
        assert_eq!(json(&number, "\"7\"").unwrap().to_json(), "[7]");
        assert!(json(&number, "[7]").is_err() && json(&number, "\"x\"").is_err());
        let tags = field(FieldType::Tags, &[]);
        assert_eq!(
            json(&tags, r#"["x, y", "a"]"#).unwrap().to_json(),
            r#"["a","x, y"]"#
        );
        assert!(json(&tags, "[1]").is_err());
        let text = field(FieldType::Text, &[]);
        assert_eq!(json(&text, "true").unwrap().to_json(), r#"["true"]"#);
        assert_eq!(json(&text, "null").unwrap(), Values::default());
        let many: Vec<String> = (0..10_000).map(|tag| tag.to_string()).collect();
        assert!(matches!(
            tags.of_json(&serde_json::json!(many)),
            Err(FieldError::TooManyTags { count: 10_000, .. })
        ));
    }
}
