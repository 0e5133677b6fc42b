//! `str.format` and `str.format_map`, within the restrictions of the sandbox.

use crate::jinja::attributes;
use crate::jinja::call::{Arguments, Call};
use crate::jinja::error::{Error, Result};
use crate::jinja::format::{self, FormatPart};
use crate::jinja::runtime::Runtime;
use crate::jinja::value::Value;
use crate::jinja::{html, text};

/// Maximum depth of replacement fields within format specifications, as in Python.
const DEEPEST: usize = 2;

pub(super) fn format(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    formatted(runtime, call.value, text, &call.arguments)
}

pub(super) fn format_map(runtime: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [mapping]) = call.bind(["/mapping"], 1)?;
    let Some(Value::Dict(dict)) = mapping else {
        return Err(Error::fault("format_map() needs a dictionary"));
    };
    let mut given = Arguments::default();
    for (key, value) in dict.entries() {
        given.keywords.push((key.to_text(), value.clone()));
    }
    formatted(runtime, of, text, &given)
}

fn formatted(runtime: &mut Runtime, of: &Value, text: &str, given: &Arguments) -> Result<Value> {
    let mut next = 0;
    let out = formatted_parts(runtime, of, text, given, &mut next, 0)?;
    Ok(of.like(&out))
}

/// Formats a string or a format specification. `next` is the index of the next automatic field,
/// `{}`.
fn formatted_parts(
    runtime: &mut Runtime,
    of: &Value,
    text: &str,
    given: &Arguments,
    next: &mut usize,
    depth: usize,
) -> Result<String> {
    if depth > DEEPEST {
        return Err(Error::fault("Max string recursion exceeded"));
    }
    let mut out = String::new();
    for part in format::parts(text)? {
        let (name, conversion, spec) = match part {
            FormatPart::Literal(literal) => {
                runtime.charge(literal.len())?;
                out.push_str(&literal);
                continue;
            }
            FormatPart::Field(name, conversion, spec) => (name, conversion, spec),
        };
        let mut value = field(runtime, name, given, next)?;
        if let Some(conversion) = conversion {
            value = format::converted(&value, conversion);
        }
        let spec = formatted_parts(runtime, of, spec, given, next, depth + 1)?;
        let formatted = format::format_value(&value, &spec)?;
        runtime.charge(formatted.len())?;
        match (of, &value) {
            (Value::Markup(_), Value::Markup(_)) | (Value::Str(_), _) => out.push_str(&formatted),
            _ => out.push_str(&html::escape(&formatted)),
        }
    }
    Ok(out)
}

/// Returns the value of the field `{name.attribute[key]}`.
fn field(runtime: &mut Runtime, name: &str, given: &Arguments, next: &mut usize) -> Result<Value> {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(end);
    let mut value = argument(first, given, next)?;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('[') {
            let (key, after) = behind
                .split_once(']')
                .ok_or_else(|| Error::fault("Missing ']' in format string"))?;
            let key = match key.parse::<i128>() {
                Ok(number) if text::is_digit(key) => Value::Int(number),
                _ => Value::text(key),
            };
            value = attributes::item(runtime, &value, &key)?;
            rest = after;
        } else {
            let behind = rest
                .strip_prefix('.')
                .ok_or_else(|| Error::fault("Only '.' or '[' may follow ']' in format field specifier"))?;
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            value = attributes::attribute(runtime, &value, &behind[..end].into())?;
            rest = &behind[end..];
        }
    }
    Ok(value)
}

/// Returns the argument of a field: a keyword argument, or a positional one by its index, or,
/// without a name, the next one.
fn argument(name: &str, given: &Arguments, next: &mut usize) -> Result<Value> {
    let index = match name {
        "" => {
            *next += 1;
            Some(*next - 1)
        }
        digits => digits.parse::<usize>().ok(),
    };
    match index {
        Some(index) => given.positional.get(index).cloned().ok_or_else(|| {
            Error::fault(format!(
                "Replacement index {index} out of range for positional args tuple"
            ))
        }),
        None => {
            let found = given.keywords.iter().find(|(known, _)| &**known == name);
            found
                .map(|(_, value)| value.clone())
                .ok_or_else(|| Error::fault(format!("KeyError: '{name}'")))
        }
    }
}
