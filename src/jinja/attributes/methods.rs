//! Methods of Python's types. A file has a type's table of names and functions.

mod dicts;
mod format;
mod loops;
mod numbers;
mod search;
mod sequences;
mod strings;

use crate::jinja::call::{Arguments, Call, Table, find};
use crate::jinja::error::{Error, Result};
use crate::jinja::runtime::Runtime;
use crate::jinja::value::{PyObject, Value};

pub use strings::replaced;

/// A method of a type whose values need no unpacking.
type Method = fn(&mut Runtime, Call) -> Result<Value>;

/// Returns whether `value.name` is a method.
pub fn is_known(value: &Value, name: &str) -> bool {
    fn knows<F: Copy>(table: Table<F>, name: &str) -> bool {
        find(table, name).is_some()
    }
    match value {
        Value::Str(_) => knows(strings::STR, name),
        Value::Markup(_) => knows(strings::STR, name) || knows(strings::MARKUP, name),
        Value::List(_) => knows(sequences::LIST, name),
        Value::Tuple(_) | Value::Range(..) => knows(sequences::TUPLE, name),
        Value::Dict(_) => knows(dicts::DICT, name),
        Value::Bool(_) | Value::Int(_) => knows(numbers::INT, name),
        Value::Float(_) => knows(numbers::FLOAT, name),
        Value::Object(object) => match &**object {
            PyObject::Loop(_) => knows(loops::LOOP, name),
            PyObject::Cycler(..) => knows(loops::CYCLER, name),
            _ => false,
        },
        _ => false,
    }
}

/// Calls `value.name(given)`.
pub fn call(runtime: &mut Runtime, value: &Value, name: &str, given: Arguments) -> Result<Value> {
    let unknown = || Error::fault(format!("'{}' object has no method '{name}'", value.kind()));
    let call = Call {
        name,
        value,
        arguments: given,
    };
    let done = match value {
        Value::Str(text) | Value::Markup(text) => {
            runtime.charge(text.len())?;
            let method = find(strings::STR, name).or_else(|| find(strings::MARKUP, name));
            method.ok_or_else(unknown)?(runtime, text, call)?
        }
        Value::List(_) => find(sequences::LIST, name).ok_or_else(unknown)?(runtime, call)?,
        Value::Tuple(_) | Value::Range(..) => {
            find(sequences::TUPLE, name).ok_or_else(unknown)?(runtime, call)?
        }
        Value::Dict(dict) => find(dicts::DICT, name).ok_or_else(unknown)?(runtime, dict, call)?,
        Value::Bool(_) | Value::Int(_) => find(numbers::INT, name).ok_or_else(unknown)?(call)?,
        Value::Float(_) => find(numbers::FLOAT, name).ok_or_else(unknown)?(call)?,
        Value::Object(object) => match &**object {
            PyObject::Loop(state) => {
                find(loops::LOOP, name).ok_or_else(unknown)?(state, call.arguments.positional)?
            }
            PyObject::Cycler(seq, at) => find(loops::CYCLER, name).ok_or_else(unknown)?(seq, at),
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    };
    if let Some(text) = done.as_text() {
        runtime.charge(text.len())?;
    }
    Ok(done)
}

/// Returns the range `start..stop` of a sequence of `length` items, as Python's methods read
/// bounds.
fn bounds(length: usize, start: Option<&Value>, stop: Option<&Value>) -> Result<(usize, usize)> {
    let place = |bound: Option<&Value>, default: usize| -> Result<usize> {
        match bound {
            None | Some(Value::None) => Ok(default),
            Some(bound) => {
                let at = bound
                    .as_int()
                    .ok_or_else(|| Error::fault("slice indices must be integers or None"))?;
                let at = if at < 0 { (at + length as i128).max(0) } else { at };
                Ok(usize::try_from(at).unwrap_or(usize::MAX))
            }
        }
    };
    let (start, stop) = (place(start, 0)?, place(stop, length)?.min(length));
    Ok((start, stop.max(start.min(length))))
}

/// Returns the characters of an argument, which messages call `what`.
fn text_of<'a>(value: &'a Option<Value>, what: &str) -> Result<&'a str> {
    match value.as_ref() {
        Some(Value::Str(text) | Value::Markup(text)) => Ok(text),
        Some(other) => Err(Error::fault(format!("{what} must be str, not {}", other.kind()))),
        None => Err(Error::fault(format!("{what} is missing"))),
    }
}
