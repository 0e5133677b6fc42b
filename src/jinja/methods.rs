//! Methods of Python's strings, lists, tuples, dictionaries and numbers.

mod texts;

use super::ast::Text;
use super::attributes::pairs;
use super::error::Error;
use super::functions::Arguments;
use super::machine::{Machine, Result};
use super::value::{Object, Value};

pub use texts::replaced;

const OF_TEXT: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const OF_MARKUP: &[&str] = &["striptags", "unescape", "escape"];
const OF_LIST: &[&str] = &["copy", "count", "index"];
const OF_TUPLE: &[&str] = &["count", "index"];
const OF_DICT: &[&str] = &["copy", "fromkeys", "get", "items", "keys", "values"];
const OF_INT: &[&str] = &[
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "conjugate",
    "from_bytes",
    "to_bytes",
];
const OF_FLOAT: &[&str] = &["as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"];

/// Whether `value.name` is a method.
pub fn is_known(value: &Value, name: &str) -> bool {
    let names: &[&str] = match value {
        Value::Markup(_) if OF_MARKUP.contains(&name) => return true,
        Value::Str(_) | Value::Markup(_) => OF_TEXT,
        Value::List(_) => OF_LIST,
        Value::Tuple(_) | Value::Range(..) => OF_TUPLE,
        Value::Dict(_) => OF_DICT,
        Value::Bool(_) | Value::Int(_) => OF_INT,
        Value::Float(_) => OF_FLOAT,
        Value::Object(object) => match &**object {
            Object::Loop(_) => &["changed", "cycle"],
            Object::Cycler(..) => &["next", "reset"],
            _ => &[],
        },
        _ => &[],
    };
    names.contains(&name)
}

/// Whether `value.name` changes what it is called on, which no template may.
pub fn changes(value: &Value, name: &str) -> bool {
    match value {
        Value::List(_) => [
            "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove",
        ]
        .contains(&name),
        Value::Dict(_) => ["clear", "pop", "popitem", "setdefault", "update"].contains(&name),
        _ => false,
    }
}

/// Calls a method that [`is_known`].
pub fn call(machine: &mut Machine, of: &Value, name: &Text, given: Arguments) -> Result<Value> {
    let done = match of {
        Value::Str(text) | Value::Markup(text) => {
            machine.charge(text.len())?;
            texts::of_text(machine, of, text, name, given)?
        }
        Value::List(_) | Value::Tuple(_) | Value::Range(..) => of_sequence(machine, of, name, given)?,
        Value::Dict(dict) => match &**name {
            "get" => {
                let [key, default] = given.bind_array("get", ["/key", "/default"], 1)?;
                let found = dict.get(&key.unwrap_or(Value::None).key()?).cloned();
                found.or(default).unwrap_or(Value::None)
            }
            "fromkeys" => return super::functions::call(machine, "dict.fromkeys", given),
            _ => {
                given.bind(name, &[], 0)?;
                machine.charge_items(dict.len())?;
                match &**name {
                    "items" => Value::view("dict_items", pairs(dict)?)?,
                    "keys" => Value::view(
                        "dict_keys",
                        dict.entries().iter().map(|(key, _)| key.clone()).collect(),
                    )?,
                    "values" => Value::view(
                        "dict_values",
                        dict.entries().iter().map(|(_, value)| value.clone()).collect(),
                    )?,
                    _ => of.clone(),
                }
            }
        },
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => of_number(of, name, given)?,
        Value::Object(object) => match (&**object, &**name) {
            (Object::Loop(state), "changed") => {
                let mut last = state.changed.borrow_mut();
                let same = last.as_ref().is_some_and(|last| {
                    last.len() == given.positional.len()
                        && last.iter().zip(&given.positional).all(|(a, b)| a.equals(b))
                });
                *last = Some(given.positional);
                Value::Bool(!same)
            }
            (Object::Loop(state), "cycle") => match given.positional.len() {
                0 => return Err(Error::fault("no items for cycling given")),
                count => given.positional[state.at.get() % count].clone(),
            },
            (Object::Cycler(seq, at), "next") => {
                let now = at.get();
                at.set((now + 1) % seq.items.len());
                seq.items[now].clone()
            }
            (Object::Cycler(_, at), _) => {
                at.set(0);
                Value::None
            }
            _ => {
                return Err(Error::fault(format!(
                    "'{}' object has no method '{name}'",
                    of.kind()
                )));
            }
        },
        _ => {
            return Err(Error::fault(format!(
                "'{}' object has no method '{name}'",
                of.kind()
            )));
        }
    };
    if let Some(text) = done.as_text() {
        machine.charge(text.len())?;
    }
    Ok(done)
}

fn of_sequence(machine: &mut Machine, of: &Value, name: &str, given: Arguments) -> Result<Value> {
    if name == "copy" {
        given.bind(name, &[], 0)?;
        return Ok(of.clone());
    }
    let bound = given.bind(
        name,
        &["/value", "/start", "/stop"][..if name == "index" { 3 } else { 1 }],
        1,
    )?;
    let wanted = bound[0].clone().unwrap_or(Value::None);
    let items = machine.iterate(of)?;
    if name == "count" {
        return Ok(Value::Int(
            items.iter().filter(|item| item.equals(&wanted)).count() as i128,
        ));
    }
    let (start, stop) = bounds(items.len(), bound[1].as_ref(), bound[2].as_ref())?;
    let found = (start..stop).find(|index| items[*index].equals(&wanted));
    found
        .map(|index| Value::Int(index as i128))
        .ok_or_else(|| Error::fault(format!("{} is not in {}", wanted.repr(), of.kind())))
}

fn of_number(of: &Value, name: &str, given: Arguments) -> Result<Value> {
    let supported = matches!(
        (of, name),
        (Value::Float(_), "is_integer" | "conjugate")
            | (
                Value::Int(_) | Value::Bool(_),
                "bit_length" | "bit_count" | "conjugate"
            )
    );
    if !supported {
        return Err(Machine::unsupported(&format!(
            "the method `{name}` of {}",
            of.kind()
        )));
    }
    given.bind(name, &[], 0)?;
    Ok(match (of, name, of.as_int()) {
        (Value::Float(number), "is_integer", _) => Value::Bool(number.is_finite() && number.fract() == 0.0),
        (_, "bit_length", Some(number)) => {
            Value::Int(i128::from(128 - number.unsigned_abs().leading_zeros()))
        }
        (_, "bit_count", Some(number)) => Value::Int(i128::from(number.unsigned_abs().count_ones())),
        (_, _, Some(number)) => Value::Int(number),
        _ => of.clone(),
    })
}

/// `start..stop` of so many, as Python's bounds mean it.
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
