//! `value.name` and `value[key]`, with the restrictions of the sandbox. [`methods`] has the
//! methods, [`slice()`] is `value[a:b:c]`.

pub mod methods;
mod slice;

use std::rc::Rc;

use super::ast::{Macro, Text};
use super::error::Result;
use super::runtime::Runtime;
use super::text;
use super::value::{LoopState, Missing, PyObject, Value, range_length};
pub use slice::slice;

/// Methods that change a list or dictionary, which the sandbox forbids.
const LIST_MUTATORS: [&str; 8] = [
    "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove",
];
const DICT_MUTATORS: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];

/// Returns `value.name`: the attribute of that name, or else the item of that key.
pub fn attribute(runtime: &mut Runtime, value: &Value, name: &Text) -> Result<Value> {
    if let Value::Undefined(missing) = value {
        return Err(missing.error());
    }
    if let Some(found) = own(runtime, value, name)? {
        return Ok(found);
    }
    if let Value::Dict(dict) = value
        && let Some(found) = dict.get_text(name)
    {
        return Ok(found.clone());
    }
    Ok(missing(value, &Value::Str(name.clone())))
}

/// Returns `value.name` as the filter `attr` does: never an item.
pub fn attribute_only(runtime: &mut Runtime, value: &Value, name: &Text) -> Result<Value> {
    match value {
        Value::Dict(_) if !methods::is_known(value, name) && !is_mutator(value, name) => Ok(
            Value::undefined(format!("'dict object' has no attribute '{name}'")),
        ),
        _ => attribute(runtime, value, name),
    }
}

/// Returns `value[key]`: the item, or else, if the key is a string, the attribute of that name.
pub fn item(runtime: &mut Runtime, value: &Value, key: &Value) -> Result<Value> {
    if let Value::Undefined(missing) = value {
        return Err(missing.error());
    }
    let at = |length: usize| {
        let index = key.as_int()?;
        let index = if index < 0 { index + length as i128 } else { index };
        usize::try_from(index).ok().filter(|index| *index < length)
    };
    let found = match value {
        Value::Dict(dict) => key.key().ok().and_then(|key| dict.get(&key).cloned()),
        Value::List(seq) | Value::Tuple(seq) => at(seq.items.len()).map(|index| seq.items[index].clone()),
        Value::Str(whole) | Value::Markup(whole) => {
            runtime.charge(whole.len())?;
            at(whole.chars().count()).map(|index| value.like(text::part(whole, index, index + 1)))
        }
        Value::Range(start, _, step) => at(range_length(value))
            .map(|index| Value::Int(i128::from(*start) + i128::from(*step) * index as i128)),
        _ => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    if let Some(name) = key.as_text()
        && let Some(found) = own(runtime, value, name)?
    {
        return Ok(found);
    }
    Ok(missing(value, key))
}

fn missing(value: &Value, key: &Value) -> Value {
    let of = match value {
        Value::None => "'None'".to_owned(),
        other => format!("'{} object'", other.kind()),
    };
    match key {
        Value::Str(name) => Value::undefined(format!("{of} has no attribute '{name}'")),
        key => Value::undefined(format!("{of} has no element {}", key.repr())),
    }
}

/// Returns whether `value.name` is a method that changes the value.
fn is_mutator(value: &Value, name: &str) -> bool {
    match value {
        Value::List(_) => LIST_MUTATORS.contains(&name),
        Value::Dict(_) => DICT_MUTATORS.contains(&name),
        _ => false,
    }
}

/// Returns the attribute of Python's object. It is undefined if the sandbox forbids it.
fn own(runtime: &Runtime, value: &Value, name: &Text) -> Result<Option<Value>> {
    if name.starts_with("__") && name.ends_with("__") || is_mutator(value, name) {
        return Ok(Some(Value::Undefined(Rc::new(Missing {
            message: format!(
                "access to attribute '{name}' of '{}' object is unsafe.",
                value.kind()
            ),
            forbidden: true,
        }))));
    }
    if methods::is_known(value, name) {
        return Ok(Some(Value::object(PyObject::Method(value.clone(), name.clone()))));
    }
    Ok(match value {
        Value::Bool(_) | Value::Int(_) => match &**name {
            "real" | "numerator" => value.as_int().map(Value::Int),
            "imag" => Some(Value::Int(0)),
            "denominator" => Some(Value::Int(1)),
            _ => None,
        },
        Value::Float(number) => match &**name {
            "real" => Some(Value::Float(*number)),
            "imag" => Some(Value::Float(0.0)),
            _ => None,
        },
        Value::Tuple(seq) if seq.group => match &**name {
            "grouper" => seq.items.first().cloned(),
            "list" => seq.items.get(1).cloned(),
            _ => None,
        },
        Value::Range(start, stop, step) => match &**name {
            "start" => Some(Value::Int((*start).into())),
            "stop" => Some(Value::Int((*stop).into())),
            "step" => Some(Value::Int((*step).into())),
            _ => None,
        },
        Value::Object(object) => of_object(runtime, object, name)?,
        _ => None,
    })
}

fn of_object(runtime: &Runtime, object: &PyObject, name: &Text) -> Result<Option<Value>> {
    Ok(match object {
        PyObject::Namespace(dict) => dict.borrow().get_text(name).cloned(),
        PyObject::Loop(state) => of_loop(state, name),
        PyObject::Cycler(seq, at) => match &**name {
            "current" => Some(seq.items[at.get()].clone()),
            "pos" => Some(Value::Int(at.get() as i128)),
            "items" => Some(Value::tuple(seq.items.clone())?),
            _ => None,
        },
        PyObject::Joiner(separator, used) => match &**name {
            "sep" => Some(Value::Str(separator.clone())),
            "used" => Some(Value::Bool(used.get())),
            _ => None,
        },
        PyObject::Macro(made, _) => of_macro(made, name)?,
        PyObject::Function("dict") if &**name == "fromkeys" => {
            Some(Value::object(PyObject::Function("dict.fromkeys")))
        }
        PyObject::Block(own) if own.is_empty() && runtime.block(name).is_some() => {
            Some(Value::object(PyObject::Block(name.clone())))
        }
        _ => None,
    })
}

fn of_loop(state: &LoopState, name: &str) -> Option<Value> {
    let (at, length) = (state.at.get(), state.items.items.len());
    let whole = |number: usize| Some(Value::Int(number as i128));
    let neighbor = |index: Option<usize>, words: &str| {
        let found = index.and_then(|index| state.items.items.get(index).cloned());
        Some(found.unwrap_or_else(|| Value::undefined(words)))
    };
    match name {
        "index" => whole(at + 1),
        "index0" => whole(at),
        "revindex" => whole(length - at),
        "revindex0" => whole(length - at - 1),
        "first" => Some(Value::Bool(at == 0)),
        "last" => Some(Value::Bool(at + 1 == length)),
        "length" => whole(length),
        "depth" => whole(state.depth + 1),
        "depth0" => whole(state.depth),
        "previtem" => neighbor(at.checked_sub(1), "there is no previous item"),
        "nextitem" => neighbor(Some(at + 1), "there is no next item"),
        _ => None,
    }
}

fn of_macro(made: &Macro, name: &str) -> Result<Option<Value>> {
    Ok(match name {
        "name" => Some(Value::Str(made.name.clone())),
        "arguments" => Some(Value::tuple(
            made.parameters.iter().cloned().map(Value::Str).collect(),
        )?),
        "caller" => Some(Value::Bool(made.caller)),
        "catch_kwargs" => Some(Value::Bool(made.kwargs)),
        "catch_varargs" => Some(Value::Bool(made.varargs)),
        _ => None,
    })
}
