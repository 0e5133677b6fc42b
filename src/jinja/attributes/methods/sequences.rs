//! Methods of lists, tuples and ranges.

use super::{Method, bounds};
use crate::jinja::call::{Call, Table};
use crate::jinja::error::{Error, Result};
use crate::jinja::runtime::Runtime;
use crate::jinja::value::Value;

pub(super) const LIST: Table<Method> = &[("copy", copy), ("count", count), ("index", index)];

/// Methods of tuples and ranges.
pub(super) const TUPLE: Table<Method> = &[("count", count), ("index", index)];

fn copy(_: &mut Runtime, call: Call) -> Result<Value> {
    call.bind_none().cloned()
}

fn count(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [wanted]) = call.bind(["/value"], 1)?;
    let wanted = wanted.unwrap_or(Value::None);
    let items = runtime.iterate(value)?;
    let found = items.iter().filter(|item| item.equals(&wanted)).count();
    Ok(Value::Int(found as i128))
}

fn index(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [wanted, start, stop]) = call.bind(["/value", "/start", "/stop"], 1)?;
    let wanted = wanted.unwrap_or(Value::None);
    let items = runtime.iterate(value)?;
    let (start, stop) = bounds(items.len(), start.as_ref(), stop.as_ref())?;
    let found = (start..stop).find(|index| items[*index].equals(&wanted));
    found
        .map(|index| Value::Int(index as i128))
        .ok_or_else(|| Error::fault(format!("{} is not in {}", wanted.repr(), value.kind())))
}
