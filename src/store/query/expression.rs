//! Conditions that people write over the columns of tasks, as for `--where`: `score >= 4 and origin
//! = 'machine'`.
//!
//! The text never becomes SQL itself: it is parsed, and every part of the SQL is a fixed text or a
//! bound value. Length and depth are bounded, far below what SQLite's own parser bears. As in SQL,
//! no comparison holds for a column without a value, nor does its opposite.
//!
//! ```text
//! any    = all {"or" all}
//! all    = part {"and" part}
//! part   = "not" part | "(" any ")" | column test | "field." name test
//! test   = sign value | ["not"] "between" value "and" value
//!        | ["not"] "in" "(" value {"," value} ")" | "is" ["not"] "null"
//! ```

mod column;
pub(in crate::store::query) mod field;
mod token;

use std::borrow::Cow;

use super::condition::{Condition, FilterField};
use super::sql::SqlValue;
use crate::store::fields::Field;
use column::{Column, Kind};
use field::FieldUse;
use token::{PlacedToken, Token};

/// The longest text, in characters.
pub const LONGEST: usize = 2000;

/// The most parentheses and `not` within each other.
const DEEPEST: usize = 16;

/// A condition on a task, parsed.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    sql: String,
    values: Vec<SqlValue>,
    fields: Vec<FieldUse>,
    criteria: Vec<String>,
}

impl Expression {
    /// Parses a text.
    ///
    /// # Errors
    ///
    /// Says what is wrong, at which character, and what it could be.
    pub fn parse(text: &str) -> Result<Expression, String> {
        let length = text.chars().count();
        if length > LONGEST {
            return Err(format!(
                "{length} characters, more than {LONGEST}\nhint: `in (…)` and `between` take less than many comparisons"
            ));
        }
        let mut parser = Parser {
            tokens: token::split(text)?,
            next: 0,
            end: length + 1,
            sql: String::from("("),
            values: Vec::new(),
            fields: Vec::new(),
            criteria: Vec::new(),
        };
        parser.any(0)?;
        if parser.next < parser.tokens.len() {
            return Err(parser.wanted("`and`, `or` or the end"));
        }
        parser.sql.push(')');
        Ok(Expression {
            text: text.to_owned(),
            sql: parser.sql,
            values: parser.values,
            fields: parser.fields,
            criteria: parser.criteria,
        })
    }

    /// Whether it names fields that people added, which [`Expression::check`] wants to know.
    pub fn has_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// The criteria of rubrics that it names.
    pub fn criteria(&self) -> &[String] {
        &self.criteria
    }

    /// Checks what it says of fields, by those that the dataset has.
    ///
    /// # Errors
    ///
    /// As [`Expression::parse`].
    pub fn check(&self, known: &[Field]) -> Result<(), String> {
        self.fields.iter().try_for_each(|said| said.check(known))
    }

    /// Returns it as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns it as the condition of a filter.
    pub(super) fn condition(&self) -> Condition {
        Condition {
            field: FilterField::Expression,
            row: Cow::Owned(self.sql.clone()),
            ids: None,
            values: self.values.clone(),
            count: None,
        }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Expression, String> {
        Expression::parse(&text)
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> String {
        expression.text
    }
}

/// Reads tokens, and writes SQL.
struct Parser {
    tokens: Vec<PlacedToken>,
    next: usize,
    /// The place after the last character.
    end: usize,
    sql: String,
    values: Vec<SqlValue>,
    fields: Vec<FieldUse>,
    criteria: Vec<String>,
}

impl Parser {
    fn any(&mut self, depth: usize) -> Result<(), String> {
        self.all(depth)?;
        while self.take_word("or") {
            self.sql.push_str(" OR ");
            self.all(depth)?;
        }
        Ok(())
    }

    /// `AND` binds more closely than `OR` in SQL as well.
    fn all(&mut self, depth: usize) -> Result<(), String> {
        self.part(depth)?;
        while self.take_word("and") {
            self.sql.push_str(" AND ");
            self.part(depth)?;
        }
        Ok(())
    }

    fn part(&mut self, depth: usize) -> Result<(), String> {
        let at = self.place();
        let deeper = match depth < DEEPEST {
            true => Ok(depth + 1),
            false => Err(format!(
                "character {at}: more than {DEEPEST} parentheses and `not` within each other"
            )),
        };
        if self.take_word("not") {
            self.sql.push_str("NOT (");
            self.part(deeper?)?;
        } else if self.take_sign("(") {
            self.sql.push('(');
            self.any(deeper?)?;
            self.want_sign(")")?;
        } else {
            return self.test();
        }
        self.sql.push(')');
        Ok(())
    }

    /// A column and what is said of it.
    fn test(&mut self) -> Result<(), String> {
        let at = self.place();
        let name = match self.peek() {
            Some(Token::Word(name)) => name,
            Some(Token::Field(name)) => {
                let name = name.clone();
                return self.field_test(name);
            }
            _ => return Err(self.wanted("a column")),
        };
        let column = match name.strip_prefix(column::RUBRIC) {
            Some(criterion) => {
                // Its SQL has a place for the name, before those of values.
                let criterion = criterion.to_owned();
                self.values.push(SqlValue::Text(criterion.clone()));
                self.criteria.push(criterion);
                &column::CRITERION
            }
            None => Column::named(name).ok_or_else(|| {
                format!(
                    "character {at}: there is no column `{name}`\nhint: one of {}, `rubric.NAME` for a criterion that \
                     judges have scored, or field.NAME for a field of your own",
                    column::names()
                )
            })?,
        };
        self.next += 1;
        if self.take_word("is") {
            self.sql.push_str(column.sql);
            let is_negated = self.take_word("not");
            self.sql.push_str(match is_negated {
                true => " IS NOT NULL",
                false => " IS NULL",
            });
            return match self.take_word("null") {
                true => Ok(()),
                false => Err(self.wanted("`null`")),
            };
        }
        let not = match self.take_word("not") {
            true => " NOT",
            false => "",
        };
        if self.take_word("between") {
            column.has_order(at)?;
            self.sql.push_str(&format!("{}{not} BETWEEN ", column.sql));
            return self.bounds(column);
        }
        if self.take_word("in") {
            self.sql.push_str(&format!("{}{not} IN (", column.sql));
            return self.list(column);
        }
        if !not.is_empty() {
            return Err(self.wanted("`between` or `in`"));
        }
        let (sign, has_order) = self
            .comparison()
            .ok_or_else(|| self.wanted("a comparison such as = or >=, `between`, `in` or `is null`"))?;
        if has_order {
            column.has_order(at)?;
        }
        self.sql.push_str(&format!("{} {sign} ", column.sql));
        self.value(column)
    }

    /// The two values of `between`.
    fn bounds(&mut self, column: &Column) -> Result<(), String> {
        self.value(column)?;
        if !self.take_word("and") {
            return Err(self.wanted("`and`, and the upper bound"));
        }
        self.sql.push_str(" AND ");
        self.value(column)
    }

    /// The values of `in`.
    fn list(&mut self, column: &Column) -> Result<(), String> {
        self.want_sign("(")?;
        self.value(column)?;
        while self.take_sign(",") {
            self.sql.push_str(", ");
            self.value(column)?;
        }
        self.want_sign(")")?;
        self.sql.push(')');
        Ok(())
    }

    /// Takes a sign of comparison. Returns it in SQL, and whether it is about the order of values.
    fn comparison(&mut self) -> Option<(&'static str, bool)> {
        let Some(Token::Sign(sign)) = self.peek() else {
            return None;
        };
        let sign = match *sign {
            "=" | "==" => ("=", false),
            "!=" | "<>" => ("<>", false),
            sign @ ("<" | "<=" | ">" | ">=") => (sign, true),
            _ => return None,
        };
        self.next += 1;
        Some(sign)
    }

    /// Takes a value for a column.
    fn value(&mut self, column: &Column) -> Result<(), String> {
        let value = match (column.kind, self.peek()) {
            (Kind::Number, Some(Token::Number(number))) => number.clone(),
            (Kind::Text, Some(Token::Text(text))) => SqlValue::Text(text.clone()),
            (Kind::OneOf(words), Some(Token::Text(text))) if words.contains(&text.as_str()) => {
                SqlValue::Text(text.clone())
            }
            (Kind::Truth, Some(Token::Word(word))) if column::truth(word).is_some() => {
                SqlValue::Integer(i64::from(column::truth(word) == Some(true)))
            }
            (Kind::Truth, Some(Token::Number(SqlValue::Integer(number @ (0 | 1))))) => {
                SqlValue::Integer(*number)
            }
            _ => return Err(self.wanted(&column.wants())),
        };
        self.next += 1;
        self.sql.push('?');
        self.values.push(value);
        Ok(())
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|placed| &placed.token)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.next += usize::from(is_it);
        is_it
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn want_sign(&mut self, sign: &str) -> Result<(), String> {
        match self.take_sign(sign) {
            true => Ok(()),
            false => Err(self.wanted(&format!("`{sign}`"))),
        }
    }

    /// Returns the place of the next token, in characters from 1.
    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |placed| placed.at)
    }

    /// Returns the error that something else is wanted here.
    fn wanted(&self, what: &str) -> String {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(token) => token.to_string(),
        };
        format!("character {}: want {what}, not {found}", self.place())
    }
}

#[cfg(test)]
mod tests;
