//! Values laid out as a text asks for: `str.format` here, [`percent`] beside it, on one [`layout`].

mod layout;
mod percent;

use super::error::Error;
use super::value::Value;
use layout::{Layout, ascii, bounded, character, integer, pad, real, shortened};
pub use percent::percent;

type Result<T, E = Error> = std::result::Result<T, E>;

/// `format(value, spec)`.
pub fn spec(value: &Value, spec: &str) -> Result<String> {
    let mut out = String::new();
    if spec.is_empty() {
        return Ok(value.to_text().to_string());
    }
    let mut layout = parse_spec(spec)?;
    match value {
        Value::Str(text) | Value::Markup(text) => {
            let fits = matches!(layout.kind, None | Some('s'))
                && layout.sign.is_none()
                && layout.group.is_none()
                && layout.align != Some('=');
            if !fits {
                return Err(Error::fault(format!(
                    "format specifier '{spec}' does not suit a string"
                )));
            }
            layout.align = layout.align.or(Some('<'));
            pad(&mut out, &shortened(text, layout.precision), &layout);
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            let kind = layout.kind;
            layout.align = layout.align.or(Some(if layout.zero { '=' } else { '>' }));
            let whole = value.as_int();
            match (whole, kind) {
                (Some(number), Some('b' | 'd' | 'o' | 'x' | 'X' | 'n') | None) => {
                    if layout.precision.is_some() {
                        return Err(Error::fault("Precision not allowed in integer format specifier"));
                    }
                    integer(&mut out, number, kind.unwrap_or('d'), &layout)?;
                }
                (Some(code), Some('c')) => pad(&mut out, &character(code)?.to_string(), &layout),
                (_, Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'n' | '%') | None) => {
                    real(
                        &mut out,
                        value.as_float().unwrap_or(f64::NAN),
                        kind.unwrap_or('r'),
                        &layout,
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

fn parse_spec(spec: &str) -> Result<Layout> {
    let invalid = || Error::fault(format!("Invalid format specifier '{spec}'"));
    let mut layout = Layout::default();
    let mut chars: Vec<char> = spec.chars().collect();
    chars.reverse();
    let is_align = |c: Option<&char>| c.is_some_and(|c| "<>=^".contains(*c));
    if chars.len() >= 2 && is_align(chars.get(chars.len() - 2)) {
        layout.fill = chars.pop();
        layout.align = chars.pop();
    } else if is_align(chars.last()) {
        layout.align = chars.pop();
    }
    let mut take = |fits: &dyn Fn(char) -> bool| match chars.last() {
        Some(c) if fits(*c) => chars.pop(),
        _ => None,
    };
    layout.sign = take(&|c| "+- ".contains(c));
    let _ = take(&|c| c == 'z');
    layout.alternate = take(&|c| c == '#').is_some();
    layout.zero = take(&|c| c == '0').is_some();
    if layout.zero {
        layout.fill = layout.fill.or(Some('0'));
    }
    type Take<'a> = dyn FnMut(&dyn Fn(char) -> bool) -> Option<char> + 'a;
    let number = |take: &mut Take<'_>| -> Result<Option<usize>> {
        let mut value: Option<i128> = None;
        while let Some(digit) = take(&|c| c.is_ascii_digit()) {
            let digit = i128::from(digit.to_digit(10).unwrap_or(0));
            value = Some((value.unwrap_or(0) * 10 + digit).min(1 << 40));
        }
        value.map(bounded).transpose()
    };
    layout.width = number(&mut take)?.unwrap_or(0);
    layout.group = take(&|c| c == ',' || c == '_');
    if take(&|c| c == '.').is_some() {
        layout.precision = Some(number(&mut take)?.ok_or_else(invalid)?);
    }
    layout.kind = take(&|_| true);
    match chars.is_empty() {
        true => Ok(layout),
        false => Err(invalid()),
    }
}

/// A piece of a text for `str.format`: letters, or a field of name, conversion and layout.
#[derive(Debug, PartialEq)]
pub enum Piece<'a> {
    Letters(String),
    Field(&'a str, Option<char>, &'a str),
}

/// The pieces of a text for `str.format`.
pub fn pieces(format: &str) -> Result<Vec<Piece<'_>>> {
    let mut found = Vec::new();
    let mut letters = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        match c {
            '{' | '}' if rest[1..].starts_with(c) => {
                letters.push(c);
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
                // A colon within an index is none.
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
                if !letters.is_empty() {
                    found.push(Piece::Letters(std::mem::take(&mut letters)));
                }
                found.push(Piece::Field(
                    name,
                    conversion,
                    behind.strip_prefix(':').unwrap_or(behind),
                ));
            }
            c => {
                letters.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if !letters.is_empty() {
        found.push(Piece::Letters(letters));
    }
    Ok(found)
}

/// A value as `!s`, `!r` or `!a` writes it.
pub fn converted(value: &Value, conversion: char) -> Value {
    match conversion {
        'r' => Value::text(&value.repr()),
        'a' => Value::text(&ascii(&value.repr())),
        _ => Value::Str(value.to_text()),
    }
}
