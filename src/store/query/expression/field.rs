//! Fields of one's own in an expression. Which fields there are is known to the dataset only, so
//! that the names are looked up by SQL, and what they are compared with is checked before.

use super::column;
use super::token::Token;
use super::{FilterField, Parser};
use crate::store::fields::{self, Field};
use crate::store::query::condition::ConditionSql;
use crate::store::query::sql::SqlValue;
use crate::task::FieldType;
use crate::text::clean;

/// The rows of a field of this name for the task at hand.
const ROWS: &str = "SELECT 1 FROM field_value
    WHERE field_value.field_id = (SELECT id FROM field WHERE name = ? AND hidden_at IS NULL)
        AND field_value.task_id = task.id";

/// What an expression says of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FieldUse {
    /// Its name.
    name: String,
    /// Where, in characters from 1.
    at: usize,
    /// What it is compared with.
    values: Vec<SqlValue>,
    /// Whether it matters which value is above another.
    by_order: bool,
}

impl Parser {
    /// A field and what is said of it. As for columns, no comparison holds without a value. Of tags
    /// it holds if it holds for one of them, and its opposite if it holds for none.
    pub(super) fn field_test(&mut self, name: String) -> Result<(), String> {
        let at = self.place();
        self.next += 1;
        let name_value = SqlValue::Text(name.clone());
        let mut said = FieldUse {
            name,
            at,
            values: Vec::new(),
            by_order: false,
        };
        if self.take_word("is") {
            let is_negated = self.take_word("not");
            self.sql.push_str(match is_negated {
                true => "EXISTS (",
                false => "NOT EXISTS (",
            });
            self.sql.push_str(ROWS);
            self.sql.push(')');
            self.values.push(name_value);
            self.fields.push(said);
            return match self.take_word("null") {
                true => Ok(()),
                false => Err(self.wanted("`null`")),
            };
        }
        let mut is_negated = self.take_word("not");
        let first = self.values.len();
        let mut test = String::new();
        if self.take_word("between") {
            said.by_order = true;
            self.field_value(&mut test, " BETWEEN ")?;
            if !self.take_word("and") {
                return Err(self.wanted("`and`, and the upper bound"));
            }
            self.field_value(&mut test, " AND ")?;
        } else if self.take_word("in") {
            self.want_sign("(")?;
            self.field_value(&mut test, " IN (")?;
            while self.take_sign(",") {
                self.field_value(&mut test, ", ")?;
            }
            self.want_sign(")")?;
            test.push(')');
        } else if is_negated {
            return Err(self.wanted("`between` or `in`"));
        } else {
            let (sign, by_order) = self
                .comparison()
                .ok_or_else(|| self.wanted("a comparison such as = or >=, `between`, `in` or `is null`"))?;
            said.by_order = by_order;
            is_negated = sign == "<>";
            let sign = if is_negated { "=" } else { sign };
            self.field_value(&mut test, &format!(" {sign} "))?;
        }
        said.values = self.values[first..].to_vec();
        // The names stand before the values.
        self.values.splice(first..first, [name_value.clone(), name_value]);
        let not = if is_negated { "NOT " } else { "" };
        self.sql.push_str(&format!(
            "CASE WHEN EXISTS ({ROWS}) THEN {not}EXISTS ({ROWS} AND field_value.value{test}) END"
        ));
        self.fields.push(said);
        Ok(())
    }

    /// Takes any value.
    fn field_value(&mut self, test: &mut String, before: &str) -> Result<(), String> {
        let value = match self.peek() {
            Some(Token::Number(number)) => number.clone(),
            Some(Token::Text(text)) => SqlValue::Text(text.clone()),
            Some(Token::Word(word)) if column::truth(word).is_some() => {
                SqlValue::Integer(i64::from(column::truth(word) == Some(true)))
            }
            _ => return Err(self.wanted("a number, a text in quotes, yes or no")),
        };
        self.next += 1;
        test.push_str(before);
        test.push('?');
        self.values.push(value);
        Ok(())
    }
}

impl FieldUse {
    /// Fails if there is no such field, or it never has such values.
    pub(super) fn check(&self, known: &[Field]) -> Result<(), String> {
        let at = self.at;
        let field = fields::named(known, &self.name).map_err(|error| format!("character {at}: {error}"))?;
        let name = clean(&field.name);
        let has_order = matches!(field.kind, FieldType::Text | FieldType::Number);
        if self.by_order && !has_order {
            return Err(format!(
                "character {at}: `field.{name}` has no order: compare it by = or !="
            ));
        }
        let fits = |value: &SqlValue| match (field.kind, value) {
            (FieldType::Number, SqlValue::Integer(_) | SqlValue::Real(_))
            | (FieldType::Flag, SqlValue::Integer(0 | 1))
            | (FieldType::Text | FieldType::Tags, SqlValue::Text(_)) => true,
            (FieldType::Choice, SqlValue::Text(text)) => field.choices.contains(text),
            _ => false,
        };
        if self.values.iter().all(fits) {
            return Ok(());
        }
        let what = match field.kind {
            FieldType::Number => "a number".to_owned(),
            FieldType::Flag => "yes or no".to_owned(),
            FieldType::Text | FieldType::Tags => "a text in quotes".to_owned(),
            FieldType::Choice => {
                let choices = field.choices.iter().take(12);
                let choices: Vec<String> = choices.map(|choice| format!("'{}'", clean(choice))).collect();
                format!("one of {}", choices.join(", "))
            }
        };
        Err(format!("character {at}: want {what} for `field.{name}`"))
    }
}

/// Tasks with one of three values of a field: the same text as a text, a number and a flag.
pub(in crate::store::query) const IS: ConditionSql = ConditionSql {
    field: FilterField::Field,
    row: "EXISTS (
            SELECT 1
            FROM field_value
            WHERE field_value.field_id = (SELECT id FROM field WHERE name = ? AND hidden_at IS NULL)
                AND field_value.value IN (?, ?, ?)
                AND field_value.task_id = task.id
        )",
    ids: Some(
        "SELECT task_id
        FROM field_value
        WHERE field_id = (SELECT id FROM field WHERE name = ? AND hidden_at IS NULL) AND value IN (?, ?, ?)",
    ),
};

/// Tasks without a value of a field.
pub(in crate::store::query) const IS_NONE: ConditionSql = ConditionSql {
    field: FilterField::Field,
    row: "NOT EXISTS (
            SELECT 1
            FROM field_value
            WHERE field_value.field_id = (SELECT id FROM field WHERE name = ? AND hidden_at IS NULL)
                AND field_value.task_id = task.id
        )",
    ids: None,
};
