//! Words, numbers, texts and signs of an expression.

use std::fmt;

use super::column::RUBRIC;
use crate::store::query::sql::SqlValue;
use crate::text::one_line;

/// The longest part of a token that an error shows, in characters.
const SHOWN: usize = 40;

/// The signs, longer ones before those that they begin with.
const SIGNS: [&str; 11] = ["<=", ">=", "<>", "!=", "==", "=", "<", ">", "(", ")", ","];

/// A part of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A keyword or the name of a column.
    Word(String),
    /// A field that people added, by its name: `field.difficulty`, `field."question type"`.
    Field(String),
    /// An integer, or a floating-point number; finite.
    Number(SqlValue),
    /// A text that stood in quotes.
    Text(String),
    /// A sign of comparison, a parenthesis or a comma.
    Sign(&'static str),
}

/// A token, and where it begins, in characters from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlacedToken {
    pub token: Token,
    pub at: usize,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(word) => write!(f, "`{}`", one_line(word, SHOWN)),
            Token::Field(name) => write!(f, "`field.{}`", one_line(name, SHOWN)),
            Token::Number(SqlValue::Integer(number)) => write!(f, "{number}"),
            Token::Number(SqlValue::Real(number)) => write!(f, "{number}"),
            Token::Text(text) | Token::Number(SqlValue::Text(text)) => {
                write!(f, "'{}'", one_line(text, SHOWN))
            }
            Token::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

/// Splits a text into tokens.
pub(super) fn split(text: &str) -> Result<Vec<PlacedToken>, String> {
    let mut tokens = Vec::new();
    let (mut rest, mut at) = (text, 1);
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            at += 1;
            continue;
        }
        let (token, length) = token(rest, first).map_err(|what| format!("character {at}: {what}"))?;
        tokens.push(PlacedToken { token, at });
        at += rest[..length].chars().count();
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Returns the token that `rest` begins with, and its length in bytes.
fn token(rest: &str, first: char) -> Result<(Token, usize), String> {
    if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
        return Ok((Token::Sign(sign), sign.len()));
    }
    if matches!(first, '\'' | '"') {
        return quoted(rest, first);
    }
    let is_sign = |c: char| matches!(c, '+' | '-');
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    if is_number(first) || is_sign(first) {
        let mut before = ' ';
        let ends = |c: char| {
            let goes_on = is_number(c)
                || c.is_ascii_alphanumeric()
                || c == '_'
                || is_sign(c) && (before == ' ' || before.eq_ignore_ascii_case(&'e'));
            before = c;
            !goes_on
        };
        let length = rest.find(ends).unwrap_or(rest.len());
        return Ok((Token::Number(number(&rest[..length])?), length));
    }
    // A dot is a part of the name of a rubric's criterion, and of no other.
    let has_dot = rest.starts_with(RUBRIC);
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || has_dot && c == '.';
    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    match length {
        0 => Err(format!(
            "`{}` means nothing here",
            one_line(&first.to_string(), 1)
        )),
        _ if rest[..length].eq_ignore_ascii_case("field") && rest[length..].starts_with('.') => {
            let (name, more) = field(&rest[length + 1..])?;
            Ok((Token::Field(name), length + 1 + more))
        }
        _ => Ok((Token::Word(rest[..length].to_owned()), length)),
    }
}

/// Returns the name of a field that `rest` begins with. A name with spaces stands in quotes.
fn field(rest: &str) -> Result<(String, usize), String> {
    if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        return match quoted(rest, quote)? {
            (Token::Text(name), length) => Ok((name, length)),
            _ => Err("want the name of a field".to_owned()),
        };
    }
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    match length {
        0 => Err("want the name of a field after `field.`".to_owned()),
        _ => Ok((rest[..length].to_owned(), length)),
    }
}

/// Returns the text that `rest` begins with. Within it, a doubled quote stands for one.
fn quoted(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let (mut text, mut at) = (String::new(), 1);
    loop {
        let Some(length) = rest[at..].find(quote) else {
            return Err(format!("the quote {quote} is not closed"));
        };
        text.push_str(&rest[at..at + length]);
        at += length + 1;
        if !rest[at..].starts_with(quote) {
            return Ok((Token::Text(text), at));
        }
        text.push(quote);
        at += 1;
    }
}

/// Parses a number.
fn number(text: &str) -> Result<SqlValue, String> {
    if let Ok(number) = text.parse::<i64>() {
        return Ok(SqlValue::Integer(number));
    }
    let is_plain = !text.contains(|c: char| c.is_ascii_alphabetic() && !c.eq_ignore_ascii_case(&'e'));
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && is_plain => Ok(SqlValue::Real(number)),
        _ => Err(format!("`{}` is not a number", one_line(text, SHOWN))),
    }
}
