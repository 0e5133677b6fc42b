//! Filters of sequences.

use super::attribute_path::AttributePath;
use super::size;
use crate::jinja::ast::Binary;
use crate::jinja::call::Call;
use crate::jinja::error::{Error, Result};
use crate::jinja::ops;
use crate::jinja::runtime::Runtime;
use crate::jinja::value::{PyObject, Value};

/// Returns whether Python's `reversed` takes the value.
fn is_reversible(value: &Value) -> bool {
    match value {
        Value::Str(_)
        | Value::Markup(_)
        | Value::List(_)
        | Value::Tuple(_)
        | Value::Dict(_)
        | Value::Range(..) => true,
        Value::Object(object) => matches!(&**object, PyObject::View(..)),
        _ => false,
    }
}

pub(super) fn join(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [separator, attribute]) = call.bind(["d", "attribute"], 0)?;
    let separator = separator.map_or_else(|| "".into(), |value| value.to_text());
    let path = AttributePath::from_argument(&attribute);
    let mut out = String::new();
    for (index, item) in runtime.iterate(value)?.iter().enumerate() {
        let item = path.follow(runtime, item, None)?;
        let text = item.to_text();
        runtime.charge(separator.len() + text.len())?;
        if index > 0 {
            out.push_str(&separator);
        }
        out.push_str(&text);
    }
    Ok(Value::text(&out))
}

pub(super) fn sum(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [attribute, start]) = call.bind(["attribute", "start"], 0)?;
    let path = AttributePath::from_argument(&attribute);
    let mut sum = start.unwrap_or(Value::Int(0));
    if sum.as_text().is_some() {
        return Err(Error::fault("sum() can't sum strings"));
    }
    for item in runtime.iterate(value)? {
        let item = path.follow(runtime, &item, None)?;
        sum = ops::binary(runtime, &sum, Binary::Add, &item)?;
    }
    Ok(sum)
}

pub(super) fn items(_: &mut Runtime, call: Call) -> Result<Value> {
    match call.bind_none()? {
        Value::Undefined(_) => Value::generator(Vec::new()),
        Value::Dict(dict) => Value::generator(dict.pairs()?.into_iter().map(Ok).collect()),
        _ => Err(Error::fault("Can only get item pairs from a mapping.")),
    }
}

pub(super) fn first(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let none = || Value::undefined("No first item, sequence was empty.");
    let value = call.bind_none()?;
    if let Value::Object(object) = value
        && let PyObject::Generator(items, _) = &**object
    {
        let first = items.borrow_mut().pop_front();
        return first.unwrap_or_else(|| Ok(none()));
    }
    Ok(runtime.iterate(value)?.into_iter().next().unwrap_or_else(none))
}

pub(super) fn last(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let value = call.bind_none()?;
    if !is_reversible(value) && !value.is_undefined() {
        return Err(Error::fault(format!(
            "'{}' object is not reversible",
            value.kind()
        )));
    }
    let last = runtime.iterate(value)?.pop();
    Ok(last.unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")))
}

pub(super) fn random(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let mut items = runtime.iterate(call.bind_none()?)?;
    match items.len() {
        0 => Ok(Value::undefined("No random item, sequence was empty.")),
        1 => Ok(items.remove(0)),
        _ => Err(Error::unsupported("the filter `random`")),
    }
}

pub(super) fn list(runtime: &mut Runtime, call: Call) -> Result<Value> {
    Value::list(runtime.iterate(call.bind_none()?)?)
}

pub(super) fn reverse(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let value = call.bind_none()?;
    if let Some(text) = value.as_text() {
        runtime.charge(text.len())?;
        let reversed: String = text.chars().rev().collect();
        return Ok(value.like(&reversed));
    }
    let mut items = runtime.iterate(value)?;
    items.reverse();
    match is_reversible(value) {
        true => Value::generator(items.into_iter().map(Ok).collect()),
        false => Value::list(items),
    }
}

/// Arguments of `batch` and `slice`.
struct GroupArguments {
    items: Vec<Value>,
    count: usize,
    fill: Option<Value>,
}

impl GroupArguments {
    /// `count_name` is the name of the first argument.
    fn read(runtime: &mut Runtime, call: Call, count_name: &str) -> Result<GroupArguments> {
        let name = call.name;
        let (value, [count, fill]) = call.bind([count_name, "fill_with"], 1)?;
        let fill = fill.filter(|fill| !matches!(fill, Value::None));
        let count = size(&count, 0)?;
        let items = runtime.iterate(value)?;
        if count == 0 {
            return Err(Error::fault(format!("{name} into pieces of none")));
        }
        Ok(GroupArguments { items, count, fill })
    }
}

pub(super) fn batch(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let GroupArguments { items, count, fill } = GroupArguments::read(runtime, call, "linecount")?;
    let mut found = Vec::new();
    for batch in items.chunks(count) {
        let mut batch = batch.to_vec();
        if let Some(fill) = &fill
            && batch.len() < count
        {
            runtime.charge_items(count)?;
            batch.resize(count, fill.clone());
        }
        found.push(Value::list(batch));
    }
    Value::generator(found)
}

pub(super) fn slice(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let GroupArguments { items, count, fill } = GroupArguments::read(runtime, call, "slices")?;
    runtime.charge_items(count)?;
    let (each, extra) = (items.len() / count, items.len() % count);
    let mut found = Vec::new();
    let mut start = 0;
    for index in 0..count {
        let end = start + each + usize::from(index < extra);
        let mut slice = items[start..end].to_vec();
        if let Some(fill) = &fill
            && index >= extra
        {
            slice.push(fill.clone());
        }
        start = end;
        found.push(Value::list(slice));
    }
    Value::generator(found)
}
