//! Global functions, which every template has.

use super::call::{Arguments, Table, find};
use super::error::{Error, Result};
use super::runtime::Runtime;
use super::time;
use super::value::{Dict, PyObject, Seq, Value, range_length};

/// Maximum length of a range, as in Jinja2's sandbox.
const LONGEST_RANGE: usize = 100_000;

type Function = fn(&mut Runtime, Arguments) -> Result<Value>;

const FUNCTIONS: Table<Function> = &[
    ("cycler", cycler),
    ("dict", |runtime, given| dict(runtime, given).map(Value::dict)),
    // An attribute of `dict`. No variable can have this name.
    ("dict.fromkeys", dict_from_keys),
    ("joiner", joiner),
    ("lipsum", lipsum),
    ("namespace", namespace),
    ("raise_exception", raise_exception),
    ("range", range),
    ("strftime_now", strftime_now),
];

/// Returns the name of a function as a static string.
pub fn named(name: &str) -> Option<&'static str> {
    let found = FUNCTIONS.iter().find(|(known, _)| *known == name);
    found.map(|(known, _)| *known)
}

/// Calls a function.
pub fn call(runtime: &mut Runtime, name: &str, given: Arguments) -> Result<Value> {
    match find(FUNCTIONS, name) {
        Some(function) => function(runtime, given),
        None => Err(Error::fault(format!("there is no function `{name}`"))),
    }
}

fn range(_: &mut Runtime, given: Arguments) -> Result<Value> {
    let bounds = given.bind("range", &["/start", "/stop", "/step"], 1)?;
    let mut numbers = Vec::new();
    for bound in bounds.into_iter().flatten() {
        let number = bound.as_int().ok_or_else(|| {
            let kind = bound.kind();
            Error::fault(format!("'{kind}' object cannot be interpreted as an integer"))
        })?;
        numbers.push(i64::try_from(number).map_err(|_| Error::fault("a bound of range() is too large"))?);
    }
    let range = match numbers[..] {
        [stop] => Value::Range(0, stop, 1),
        [start, stop] => Value::Range(start, stop, 1),
        [_, _, 0] => return Err(Error::fault("range() arg 3 must not be zero")),
        [start, stop, step] => Value::Range(start, stop, step),
        _ => return Err(Error::fault("range() needs one to three bounds")),
    };
    match range_length(&range) > LONGEST_RANGE {
        true => Err(Error::fault(format!("range() is longer than {LONGEST_RANGE}"))),
        false => Ok(range),
    }
}

/// `dict(…)`, from a mapping or pairs, and keyword arguments.
fn dict(runtime: &mut Runtime, given: Arguments) -> Result<Dict> {
    let mut dict = Dict::default();
    if given.positional.len() > 1 {
        return Err(Error::fault("dict expected at most 1 argument"));
    }
    match given.positional.first() {
        None => {}
        Some(Value::Dict(other)) => {
            for (key, value) in other.entries() {
                dict.insert(key.clone(), value.clone())?;
            }
        }
        Some(pairs) => {
            for pair in runtime.iterate(pairs)? {
                match &runtime.iterate(&pair)?[..] {
                    [key, value] => dict.insert(key.clone(), value.clone())?,
                    _ => return Err(Error::fault("dict() needs pairs")),
                }
            }
        }
    }
    for (name, value) in given.keywords {
        dict.insert(Value::Str(name), value)?;
    }
    runtime.charge_items(2 * dict.len())?;
    Ok(dict)
}

/// `dict.fromkeys(iterable, value)`.
pub fn dict_from_keys(runtime: &mut Runtime, given: Arguments) -> Result<Value> {
    let [keys, value] = given.bind_array("dict.fromkeys", ["/iterable", "/value"], 1)?;
    let mut dict = Dict::default();
    for key in runtime.iterate(&keys.unwrap_or(Value::None))? {
        dict.insert(key, value.clone().unwrap_or(Value::None))?;
    }
    Ok(Value::dict(dict))
}

fn namespace(runtime: &mut Runtime, given: Arguments) -> Result<Value> {
    let dict = dict(runtime, given)?;
    for (name, _) in dict.entries() {
        if let Some(name) = name.as_text() {
            check_namespace_name(name)?;
        }
    }
    Ok(runtime.keep_namespace(dict))
}

/// Fails if a namespace cannot have an attribute of this name.
pub fn check_namespace_name(name: &str) -> Result<()> {
    match name.starts_with('_') {
        true => Err(Error::fault(format!(
            "a namespace cannot have the attribute '{name}', which begins with an underscore"
        ))),
        false => Ok(()),
    }
}

fn cycler(_: &mut Runtime, given: Arguments) -> Result<Value> {
    let Arguments { positional, keywords } = given;
    if positional.is_empty() || !keywords.is_empty() {
        return Err(Error::fault("cycler() needs items, and no names"));
    }
    Ok(Value::object(PyObject::Cycler(Seq::new(positional)?, 0.into())))
}

fn joiner(_: &mut Runtime, given: Arguments) -> Result<Value> {
    let [separator] = given.bind_array("joiner", ["sep"], 0)?;
    let separator = separator.map_or_else(|| ", ".into(), |value| value.to_text());
    Ok(Value::object(PyObject::Joiner(separator, false.into())))
}

fn raise_exception(_: &mut Runtime, given: Arguments) -> Result<Value> {
    let [message] = given.bind_array("raise_exception", ["message"], 1)?;
    let message = message.unwrap_or(Value::None).to_text();
    Err(Error::refusal(message.to_string()))
}

fn strftime_now(runtime: &mut Runtime, given: Arguments) -> Result<Value> {
    let [format] = given.bind_array("strftime_now", ["format"], 1)?;
    match format.as_ref().and_then(Value::as_text) {
        Some(format) => Ok(Value::text(&time::strftime(runtime.options.now, format)?)),
        None => Err(Error::fault("strftime_now() needs a text")),
    }
}

fn lipsum(_: &mut Runtime, _: Arguments) -> Result<Value> {
    Err(Error::unsupported("`lipsum`, which writes random text,"))
}
