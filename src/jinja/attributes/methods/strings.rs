//! Methods of strings.

use super::{format, search, text_of};
use crate::jinja::call::{Call, Table, int};
use crate::jinja::error::{Error, Result};
use crate::jinja::runtime::Runtime;
use crate::jinja::value::Value;
use crate::jinja::{html, text};

/// A method of a string, whose characters are the second argument.
type StrMethod = fn(&mut Runtime, &str, Call) -> Result<Value>;

/// Methods of `str` and `Markup`.
pub(super) const STR: Table<StrMethod> = &[
    ("capitalize", |_, text, call| {
        Ok(call.bind_none()?.like(&text::capitalize(text)))
    }),
    ("casefold", casefold),
    ("center", center),
    ("count", search::count),
    ("encode", unsupported),
    ("endswith", search::ends_with),
    ("expandtabs", expand_tabs),
    ("find", search::find),
    ("format", format::format),
    ("format_map", format::format_map),
    ("index", search::index),
    ("isalnum", |_, text, call| predicate(call, text::is_alnum(text))),
    ("isalpha", |_, text, call| predicate(call, text::is_alpha(text))),
    ("isascii", |_, text, call| predicate(call, text.is_ascii())),
    ("isdecimal", |_, text, call| {
        predicate(call, text::is_decimal(text))
    }),
    ("isdigit", |_, text, call| predicate(call, text::is_digit(text))),
    ("isidentifier", |_, text, call| {
        predicate(call, is_identifier(text))
    }),
    ("islower", |_, text, call| {
        predicate(call, text::has_case(text, false))
    }),
    ("isnumeric", |_, text, call| {
        predicate(call, text::is_numeric(text))
    }),
    ("isprintable", |_, text, call| {
        predicate(call, text.chars().all(text::is_printable))
    }),
    ("isspace", |_, text, call| predicate(call, is_space(text))),
    ("istitle", |_, text, call| predicate(call, text::is_title(text))),
    ("isupper", |_, text, call| {
        predicate(call, text::has_case(text, true))
    }),
    ("join", join),
    ("ljust", ljust),
    ("lower", |_, text, call| {
        Ok(call.bind_none()?.like(&text.to_lowercase()))
    }),
    ("lstrip", lstrip),
    ("maketrans", unsupported),
    ("partition", search::partition),
    ("removeprefix", search::remove_prefix),
    ("removesuffix", search::remove_suffix),
    ("replace", replace),
    ("rfind", search::rfind),
    ("rindex", search::rindex),
    ("rjust", rjust),
    ("rpartition", search::rpartition),
    ("rsplit", rsplit),
    ("rstrip", rstrip),
    ("split", split),
    ("splitlines", split_lines),
    ("startswith", search::starts_with),
    ("strip", strip),
    ("swapcase", |_, text, call| {
        Ok(call.bind_none()?.like(&text::swap_case(text)))
    }),
    ("title", |_, text, call| {
        Ok(call.bind_none()?.like(&text::title(text)))
    }),
    ("translate", unsupported),
    ("upper", |_, text, call| {
        Ok(call.bind_none()?.like(&text.to_uppercase()))
    }),
    ("zfill", zfill),
];

/// Methods of `Markup` only.
pub(super) const MARKUP: Table<StrMethod> = &[
    ("escape", unsupported),
    ("striptags", strip_tags),
    ("unescape", unsupported),
];

fn unsupported(_: &mut Runtime, _: &str, call: Call) -> Result<Value> {
    Err(Error::unsupported(&format!("the method `{}` of str", call.name)))
}

/// Returns the result of a method without arguments that asks about all characters.
fn predicate(call: Call, holds: bool) -> Result<Value> {
    call.bind_none()?;
    Ok(Value::Bool(holds))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphabetic())
        && text.chars().all(|c| c == '_' || c.is_alphanumeric())
}

fn is_space(text: &str) -> bool {
    !text.is_empty() && text.chars().all(text::is_space)
}

fn casefold(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    Ok(call.bind_none()?.like(&text.to_lowercase().replace('ß', "ss")))
}

fn strip_tags(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    call.bind_none()?;
    Ok(Value::text(&html::strip_tags(text)))
}

/// Returns parts of a string, each of its type.
fn list_of_parts(runtime: &mut Runtime, of: &Value, parts: &[&str]) -> Result<Value> {
    runtime.charge_items(parts.len())?;
    Value::list(parts.iter().map(|part| of.like(part)).collect())
}

/// Arguments of `split`: the separator and the maximum number of splits.
fn split_arguments(call: Call<'_>) -> Result<(&Value, Option<Value>, usize)> {
    let (of, [separator, most]) = call.bind(["sep", "maxsplit"], 0)?;
    let separator = separator.filter(|value| !matches!(value, Value::None));
    let most = usize::try_from(int(&most, -1)?).unwrap_or(usize::MAX);
    if separator.is_some() {
        search::separator_of(&separator)?;
    }
    Ok((of, separator, most))
}

fn split(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, separator, most) = split_arguments(call)?;
    let parts = match separator.as_ref().and_then(Value::as_text) {
        None => split_blanks(text, most),
        Some(separator) => text.splitn(most.saturating_add(1), &**separator).collect(),
    };
    list_of_parts(runtime, of, &parts)
}

fn rsplit(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, separator, most) = split_arguments(call)?;
    let mut parts: Vec<&str> = match separator.as_ref().and_then(Value::as_text) {
        None => rsplit_blanks(text, most),
        Some(separator) => text.rsplitn(most.saturating_add(1), &**separator).collect(),
    };
    parts.reverse();
    list_of_parts(runtime, of, &parts)
}

/// Splits at white space.
fn split_blanks(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(text::is_space);
    while !rest.is_empty() {
        let found = rest.find(text::is_space).filter(|_| parts.len() < most);
        let Some(at) = found else {
            // The last part keeps its white space, except in front of it.
            parts.push(rest);
            break;
        };
        parts.push(&rest[..at]);
        rest = rest[at..].trim_start_matches(text::is_space);
    }
    parts
}

/// Splits at white space from the right. The parts are in reverse order.
fn rsplit_blanks(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(text::is_space);
    while !rest.is_empty() {
        let found = rest.rfind(text::is_space).filter(|_| parts.len() < most);
        let Some(at) = found else {
            parts.push(rest);
            break;
        };
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        parts.push(&rest[at + width..]);
        rest = rest[..at].trim_end_matches(text::is_space);
    }
    parts
}

fn split_lines(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [keep]) = call.bind(["keepends"], 0)?;
    let parts = text::lines(text, keep.is_some_and(|value| value.is_true()));
    list_of_parts(runtime, of, &parts)
}

fn join(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [items]) = call.bind(["/iterable"], 1)?;
    let items = runtime.iterate(&items.unwrap_or(Value::None))?;
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        let part = item.as_text().ok_or_else(|| {
            Error::fault(format!(
                "sequence item {index}: expected str instance, {} found",
                item.kind()
            ))
        })?;
        runtime.charge(text.len() + part.len())?;
        if index > 0 {
            joined.push_str(text);
        }
        match (of, item) {
            (Value::Markup(_), Value::Str(part)) => joined.push_str(&html::escape(part)),
            _ => joined.push_str(part),
        }
    }
    Ok(of.like(&joined))
}

/// Returns the string, and whether a character is to be stripped.
fn strip_arguments(call: Call<'_>) -> Result<(&Value, impl Fn(char) -> bool + use<>)> {
    let (of, [chars]) = call.bind(["/chars"], 0)?;
    let chars: Option<Vec<char>> = match chars {
        None | Some(Value::None) => None,
        chars => Some(text_of(&chars, "strip arg")?.chars().collect()),
    };
    let stripped = move |c: char| match &chars {
        Some(chars) => chars.contains(&c),
        None => text::is_space(c),
    };
    Ok((of, stripped))
}

fn strip(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, stripped) = strip_arguments(call)?;
    Ok(of.like(text.trim_matches(stripped)))
}

fn lstrip(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, stripped) = strip_arguments(call)?;
    Ok(of.like(text.trim_start_matches(stripped)))
}

fn rstrip(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, stripped) = strip_arguments(call)?;
    Ok(of.like(text.trim_end_matches(stripped)))
}

fn replace(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [old, new, count]) = call.bind(["/old", "/new", "/count"], 2)?;
    let (old, new) = (
        text_of(&old, "replace() argument 1")?,
        text_of(&new, "replace() argument 2")?,
    );
    let count = usize::try_from(int(&count, -1)?).unwrap_or(usize::MAX);
    let new = match of {
        Value::Markup(_) => html::escape(new),
        _ => new.to_owned(),
    };
    Ok(of.like(&replaced(runtime, text, old, &new, count)?))
}

/// Returns `text.replace(old, new, count)`.
pub fn replaced(runtime: &mut Runtime, text: &str, old: &str, new: &str, count: usize) -> Result<String> {
    let matches = text.matches(old).take(count).count();
    runtime.charge(text.len().saturating_add(matches.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, count))
}

fn ljust(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    justified(runtime, text, call, |_, _| 0)
}

fn rjust(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    justified(runtime, text, call, |missing, _| missing)
}

fn center(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    // Python's rule for an odd number of fill characters.
    justified(runtime, text, call, |missing, width| {
        missing / 2 + (missing & width & 1)
    })
}

/// Fills a string up to a width. `before` tells from the number of fill characters and the width
/// how many of them stand before the string.
fn justified(
    runtime: &mut Runtime,
    text: &str,
    call: Call,
    before: fn(usize, usize) -> usize,
) -> Result<Value> {
    let (of, [width, fill]) = call.bind(["/width", "/fillchar"], 1)?;
    let width = usize::try_from(int(&width, 0)?).unwrap_or(0);
    let fill = match &fill {
        None => ' ',
        Some(_) => {
            let mut chars = text_of(&fill, "The fill character")?.chars();
            match (chars.next(), chars.next()) {
                (Some(fill), None) => fill,
                _ => {
                    return Err(Error::fault(
                        "The fill character must be exactly one character long",
                    ));
                }
            }
        }
    };
    let missing = width.saturating_sub(text.chars().count());
    runtime.charge(missing.saturating_mul(fill.len_utf8()))?;
    let before = before(missing, width);
    let blanks = |count: usize| fill.to_string().repeat(count);
    Ok(of.like(&format!("{}{text}{}", blanks(before), blanks(missing - before))))
}

fn zfill(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [width]) = call.bind(["/width"], 1)?;
    let width = usize::try_from(int(&width, 0)?).unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    runtime.charge(missing)?;
    let (sign, digits) = match text.starts_with(['+', '-']) {
        true => text.split_at(1),
        false => ("", text),
    };
    Ok(of.like(&format!("{sign}{}{digits}", "0".repeat(missing))))
}

fn expand_tabs(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [size]) = call.bind(["tabsize"], 0)?;
    let size = usize::try_from(int(&size, 8)?).unwrap_or(0).min(1000);
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' => {
                let blanks = if size == 0 { 0 } else { size - column % size };
                runtime.charge(blanks)?;
                out.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(of.like(&out))
}
