//! Formats values: replacement fields of `str.format`, and `%`-formatting ([`percent`]).

mod percent;
mod spec;
mod write;

use super::error::{Error, Result};
use super::value::Value;
pub use percent::percent;
use spec::FormatSpec;
use write::{ascii, character, integer, pad, real, shortened};

/// Returns `format(value, spec)`.
pub fn format_value(value: &Value, spec: &str) -> Result<String> {
    let mut out = String::new();
    if spec.is_empty() {
        return Ok(value.to_text().to_string());
    }
    let mut parsed = FormatSpec::parse(spec)?;
    match value {
        Value::Str(text) | Value::Markup(text) => {
            let fits = matches!(parsed.kind, None | Some('s'))
                && parsed.sign.is_none()
                && parsed.group.is_none()
                && parsed.align != Some('=');
            if !fits {
                return Err(Error::fault(format!(
                    "format specifier '{spec}' does not suit a string"
                )));
            }
            parsed.align = parsed.align.or(Some('<'));
            pad(&mut out, &shortened(text, parsed.precision), &parsed);
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            let kind = parsed.kind;
            parsed.align = parsed.align.or(Some(if parsed.zero { '=' } else { '>' }));
            let whole = value.as_int();
            match (whole, kind) {
                (Some(number), Some('b' | 'd' | 'o' | 'x' | 'X' | 'n') | None) => {
                    if parsed.precision.is_some() {
                        return Err(Error::fault("Precision not allowed in integer format specifier"));
                    }
                    integer(&mut out, number, kind.unwrap_or('d'), &parsed);
                }
                (Some(code), Some('c')) => pad(&mut out, &character(code)?.to_string(), &parsed),
                (_, Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'n' | '%') | None) => {
                    real(
                        &mut out,
                        value.as_float().unwrap_or(f64::NAN),
                        kind.unwrap_or('r'),
                        &parsed,
                    );
                }
                (_, Some(kind)) => {
                    return Err(Error::fault(format!(
                        "Unknown format code '{kind}' for object of type '{}'",
                        value.kind()
                    )));
                }
            }
        }
        other => {
            return Err(Error::fault(format!(
                "unsupported format string passed to {}.__format__",
                other.kind()
            )));
        }
    }
    Ok(out)
}

/// A part of a format string: literal text, or a replacement field with its name, conversion and
/// format specification.
#[derive(Debug, PartialEq)]
pub enum FormatPart<'a> {
    Literal(String),
    Field(&'a str, Option<char>, &'a str),
}

/// Splits a format string into its parts.
pub fn parts(format: &str) -> Result<Vec<FormatPart<'_>>> {
    let mut found = Vec::new();
    let mut literal = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        match c {
            '{' | '}' if rest[1..].starts_with(c) => {
                literal.push(c);
                rest = &rest[2..];
            }
            '}' => return Err(Error::fault("Single '}' encountered in format string")),
            '{' => {
                let mut depth = 0;
                let end = rest.char_indices().find(|(_, c)| {
                    depth += match c {
                        '{' => 1,
                        '}' => -1,
                        _ => 0,
                    };
                    depth == 0
                });
                let Some((end, _)) = end else {
                    return Err(Error::fault("expected '}' before end of string"));
                };
                let field = &rest[1..end];
                rest = &rest[end + 1..];
                // A colon within `[…]` belongs to the index.
                let mut inside = false;
                let colon = field.char_indices().find(|(_, c)| {
                    match c {
                        '[' => inside = true,
                        ']' => inside = false,
                        _ => {}
                    }
                    matches!(c, ':' | '!') && !inside
                });
                let name = colon.map_or(field, |(at, _)| &field[..at]);
                let mut behind = colon.map_or("", |(at, _)| &field[at..]);
                let mut conversion = None;
                if let Some(marked) = behind.strip_prefix('!') {
                    conversion = marked.chars().next();
                    behind = marked.get(1..).unwrap_or_default();
                    if !matches!(conversion, Some('s' | 'r' | 'a'))
                        || !(behind.is_empty() || behind.starts_with(':'))
                    {
                        return Err(Error::fault("Unknown conversion specifier in a format string"));
                    }
                }
                if !literal.is_empty() {
                    found.push(FormatPart::Literal(std::mem::take(&mut literal)));
                }
                found.push(FormatPart::Field(
                    name,
                    conversion,
                    behind.strip_prefix(':').unwrap_or(behind),
                ));
            }
            c => {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if !literal.is_empty() {
        found.push(FormatPart::Literal(literal));
    }
    Ok(found)
}

/// Converts a value by `!s`, `!r` or `!a`.
pub fn converted(value: &Value, conversion: char) -> Value {
    match conversion {
        'r' => Value::text(&value.repr()),
        'a' => Value::text(&ascii(&value.repr())),
        _ => Value::Str(value.to_text()),
    }
}
