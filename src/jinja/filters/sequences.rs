//! Filters of what can be iterated.

use std::cmp::Ordering;

use super::super::ast::{Binary, Text};
use super::super::attributes::{self, like, pairs};
use super::super::error::Error;
use super::super::functions::Arguments;
use super::super::machine::{Machine, Result};
use super::super::value::{Object, Seq, Value};
use super::super::{ops, tests};
use super::{apply, is_known, is_true, size};

/// What a filter's `attribute` gives of a value.
fn by_path(machine: &mut Machine, value: &Value, path: &[Value], default: Option<&Value>) -> Result<Value> {
    let mut found = value.clone();
    for key in path {
        found = attributes::item(machine, &found, key)?;
        if let (true, Some(default)) = (found.is_undefined(), default) {
            found = default.clone();
        }
    }
    Ok(found)
}

fn given_path(attribute: &Option<Value>) -> Vec<Value> {
    match attribute {
        None | Some(Value::None) => Vec::new(),
        Some(attribute) => attributes::path(attribute),
    }
}

/// `value|name(…)`, of those that go through all items.
pub(super) fn of_sequence(
    machine: &mut Machine,
    name: &str,
    value: &Value,
    given: Arguments,
) -> Result<Value> {
    let reversible = |value: &Value| {
        matches!(
            value,
            Value::Str(_)
                | Value::Markup(_)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Dict(_)
                | Value::Range(..)
        ) || matches!(value, Value::Object(object) if matches!(&**object, Object::View(..)))
    };
    Ok(match name {
        "join" => {
            let [separator, attribute] = given.bind_array(name, ["d", "attribute"], 0)?;
            let separator = separator.map_or_else(|| "".into(), |value| value.to_text());
            let path = given_path(&attribute);
            let mut out = String::new();
            for (index, item) in machine.iterate(value)?.iter().enumerate() {
                let item = by_path(machine, item, &path, None)?;
                let text = item.to_text();
                machine.charge(separator.len() + text.len())?;
                if index > 0 {
                    out.push_str(&separator);
                }
                out.push_str(&text);
            }
            Value::text(&out)
        }
        "sum" => {
            let [attribute, start] = given.bind_array(name, ["attribute", "start"], 0)?;
            let path = given_path(&attribute);
            let mut sum = start.unwrap_or(Value::Int(0));
            if sum.as_text().is_some() {
                return Err(Error::fault("sum() can't sum strings"));
            }
            for item in machine.iterate(value)? {
                let item = by_path(machine, &item, &path, None)?;
                sum = ops::binary(machine, &sum, Binary::Add, &item)?;
            }
            sum
        }
        "items" => {
            given.bind(name, &[], 0)?;
            match value {
                Value::Undefined(_) => Value::generator(Vec::new())?,
                Value::Dict(dict) => Value::generator(pairs(dict)?.into_iter().map(Ok).collect())?,
                _ => return Err(Error::fault("Can only get item pairs from a mapping.")),
            }
        }
        _ => {
            given.bind(name, &[], 0)?;
            if name == "last" && !reversible(value) && !value.is_undefined() {
                return Err(Error::fault(format!(
                    "'{}' object is not reversible",
                    value.kind()
                )));
            }
            if name == "first"
                && let Value::Object(object) = value
                && let Object::Generator(items, _) = &**object
            {
                let first = items.borrow_mut().pop_front();
                return first.unwrap_or_else(|| Ok(Value::undefined("No first item, sequence was empty.")));
            }
            if name == "reverse"
                && let Some(text) = value.as_text()
            {
                machine.charge(text.len())?;
                let reversed: String = text.chars().rev().collect();
                return Ok(like(value, &reversed));
            }
            let mut items = machine.iterate(value)?;
            match name {
                "first" => items
                    .into_iter()
                    .next()
                    .unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")),
                "last" => items
                    .pop()
                    .unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")),
                "random" => match items.len() {
                    0 => Value::undefined("No random item, sequence was empty."),
                    1 => items.remove(0),
                    _ => return Err(Machine::unsupported("the filter `random`")),
                },
                "reverse" => {
                    items.reverse();
                    match reversible(value) {
                        true => Value::generator(items.into_iter().map(Ok).collect())?,
                        false => Value::list(items)?,
                    }
                }
                _ => Value::list(items)?,
            }
        }
    })
}

fn folded(value: Value, case_sensitive: bool) -> Value {
    match value.as_text() {
        Some(text) if !case_sensitive => Value::text(&text.to_lowercase()),
        _ => value,
    }
}

/// Sorted by keys that were computed before, those that are equal as they were.
fn sorted(mut items: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<(Value, Value)>> {
    let mut failed = None;
    items.sort_by(|a, b| {
        let order = a.0.compare(&b.0, "<").unwrap_or_else(|error| {
            failed.get_or_insert(error);
            None
        });
        let order = order.unwrap_or(Ordering::Equal);
        if reverse { order.reverse() } else { order }
    });
    failed.map_or(Ok(items), Err)
}

/// `value|name(…)`, of those that compare items.
pub(super) fn ordered(machine: &mut Machine, name: &str, value: &Value, given: Arguments) -> Result<Value> {
    if name == "dictsort" {
        let [sensitive, by, reverse] = given.bind_array(name, ["case_sensitive", "by", "reverse"], 0)?;
        let at = match by.as_ref().and_then(Value::as_text).map(|text| &**text) {
            None | Some("key") => 0,
            Some("value") => 1,
            _ => return Err(Error::fault("You can only sort by either \"key\" or \"value\"")),
        };
        let Value::Dict(dict) = value else {
            return Err(Error::fault(format!(
                "dictsort needs a dictionary, not {}",
                value.kind()
            )));
        };
        let entries = pairs(dict)?;
        machine.charge_items(entries.len())?;
        let keyed = entries.into_iter().map(|pair| {
            let key = pair
                .items()
                .and_then(|items| items.get(at))
                .cloned()
                .unwrap_or(Value::None);
            (folded(key, is_true(&sensitive)), pair)
        });
        let sorted = sorted(keyed.collect(), is_true(&reverse))?;
        return Value::list(sorted.into_iter().map(|(_, pair)| pair).collect());
    }
    let (reverse, sensitive, attribute, default) = match name {
        "sort" => {
            let [reverse, sensitive, attribute] =
                given.bind_array(name, ["reverse", "case_sensitive", "attribute"], 0)?;
            (reverse, sensitive, attribute, None)
        }
        "groupby" => {
            let [attribute, default, sensitive] =
                given.bind_array(name, ["attribute", "default", "case_sensitive"], 1)?;
            (None, sensitive, attribute, default)
        }
        _ => {
            let [sensitive, attribute] = given.bind_array(name, ["case_sensitive", "attribute"], 0)?;
            (None, sensitive, attribute, None)
        }
    };
    let sensitive = is_true(&sensitive);
    // `sort` alone takes several attributes.
    let several: Option<Vec<Vec<Value>>> = match attribute.as_ref().and_then(Value::as_text) {
        Some(text) if name == "sort" && text.contains(',') => Some(
            text.split(',')
                .map(|part| attributes::path(&Value::text(part)))
                .collect(),
        ),
        _ => None,
    };
    let path = given_path(&attribute);
    let mut keyed = Vec::new();
    for item in machine.iterate(value)? {
        let key = match &several {
            Some(paths) => {
                let mut keys = Vec::new();
                for path in paths {
                    keys.push(folded(by_path(machine, &item, path, None)?, sensitive));
                }
                Value::list(keys)?
            }
            None => folded(by_path(machine, &item, &path, default.as_ref())?, sensitive),
        };
        keyed.push((key, item));
    }
    match name {
        "sort" => Value::list(
            sorted(keyed, is_true(&reverse))?
                .into_iter()
                .map(|(_, item)| item)
                .collect(),
        ),
        "unique" => {
            let mut seen = std::collections::HashSet::new();
            let mut unique = Vec::new();
            for (key, item) in keyed {
                match key.key() {
                    Ok(key) => {
                        if seen.insert(key) {
                            unique.push(Ok(item));
                        }
                    }
                    Err(error) => {
                        unique.push(Err(error));
                        break;
                    }
                }
            }
            Value::generator(unique)
        }
        "groupby" => {
            let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
            for (key, item) in sorted(keyed, false)? {
                match groups.last_mut() {
                    Some((last, items)) if last.equals(&key) => items.push(item),
                    _ => groups.push((key, vec![item])),
                }
            }
            let mut tuples = Vec::new();
            for (key, items) in groups {
                let key = match sensitive {
                    true => key,
                    false => by_path(machine, &items[0], &path, default.as_ref())?,
                };
                let mut seq = Seq::new(vec![key, Value::list(items)?])?;
                seq.group = true;
                tuples.push(Value::Tuple(seq.into()));
            }
            Value::list(tuples)
        }
        _ => {
            let mut best: Option<(Value, Value)> = None;
            for (key, item) in keyed {
                let better = match &best {
                    None => true,
                    Some((than, _)) if name == "min" => key.compare(than, "<")? == Some(Ordering::Less),
                    Some((than, _)) => key.compare(than, ">")? == Some(Ordering::Greater),
                };
                if better {
                    best = Some((key, item));
                }
            }
            Ok(best.map_or_else(
                || Value::undefined("No aggregated item, sequence was empty."),
                |(_, item)| item,
            ))
        }
    }
}

/// `value|map(…)`.
pub(super) fn map(machine: &mut Machine, value: &Value, mut given: Arguments) -> Result<Value> {
    if !value.is_true() {
        return Value::generator(Vec::new());
    }
    let mut done = Vec::new();
    if given.positional.is_empty() && given.keywords.iter().any(|(name, _)| &**name == "attribute") {
        let [attribute, default] = given.bind_array("map", ["attribute", "default"], 1)?;
        let path = given_path(&attribute);
        let default = default.filter(|default| !matches!(default, Value::None));
        for item in machine.iterate(value)? {
            done.push(by_path(machine, &item, &path, default.as_ref()));
        }
        return Value::generator(done);
    }
    if given.positional.is_empty() {
        return Err(Error::fault("map requires a filter argument"));
    }
    let name = given.positional.remove(0).to_text();
    if !is_known(&name) {
        return Err(Error::fault(format!("there is no filter `{name}`")));
    }
    for item in machine.iterate(value)? {
        done.push(apply(machine, &name, item, given.clone()));
    }
    Value::generator(done)
}

/// `value|select(…)` and its like.
pub(super) fn select(
    machine: &mut Machine,
    filter: &str,
    value: &Value,
    mut given: Arguments,
) -> Result<Value> {
    if !value.is_true() {
        return Value::generator(Vec::new());
    }
    let path = match filter.ends_with("attr") {
        true if given.positional.is_empty() => {
            return Err(Error::fault("Missing parameter for attribute name"));
        }
        true => given_path(&Some(given.positional.remove(0))),
        false => Vec::new(),
    };
    let test: Option<Text> = match given.positional.is_empty() {
        true => None,
        false => Some(given.positional.remove(0).to_text()),
    };
    let wanted = filter.starts_with("select");
    let mut found = Vec::new();
    for item in machine.iterate(value)? {
        let judged = by_path(machine, &item, &path, None).and_then(|value| match &test {
            None => machine.truth(&value),
            Some(test) if !tests::is_known(test) => Err(Error::fault(format!("there is no test `{test}`"))),
            Some(test) => tests::holds(machine, test, &value, given.clone()),
        });
        match judged {
            Ok(holds) if holds == wanted => found.push(Ok(item)),
            Ok(_) => {}
            Err(error) => {
                found.push(Err(error));
                break;
            }
        }
    }
    Value::generator(found)
}

/// `value|batch(…)` and `value|slice(…)`.
pub(super) fn pieces(machine: &mut Machine, name: &str, value: &Value, given: Arguments) -> Result<Value> {
    let first = if name == "batch" { "linecount" } else { "slices" };
    let [count, fill] = given.bind_array(name, [first, "fill_with"], 1)?;
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let count = size(&count, 0)?;
    let items = machine.iterate(value)?;
    if count == 0 {
        return Err(Error::fault(format!("{name} into pieces of none")));
    }
    let mut found = Vec::new();
    if name == "batch" {
        for batch in items.chunks(count) {
            let mut batch = batch.to_vec();
            if let Some(fill) = &fill
                && batch.len() < count
            {
                machine.charge_items(count)?;
                batch.resize(count, fill.clone());
            }
            found.push(Value::list(batch));
        }
        return Value::generator(found);
    }
    machine.charge_items(count)?;
    let (each, extra) = (items.len() / count, items.len() % count);
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
