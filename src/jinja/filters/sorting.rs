//! Filters that compare items.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::attribute_path::AttributePath;
use super::is_true;
use crate::jinja::call::Call;
use crate::jinja::error::{Error, Result};
use crate::jinja::runtime::Runtime;
use crate::jinja::value::{Seq, Value};

/// An item behind the key that it is compared by.
type Keyed = (Value, Value);

/// Lowercases a key, unless case matters.
fn folded(value: Value, case_sensitive: bool) -> Value {
    match value.as_text() {
        Some(text) if !case_sensitive => Value::text(&text.to_lowercase()),
        _ => value,
    }
}

/// Sorts by the keys. The order of items with equal keys stays.
fn sorted(mut items: Vec<Keyed>, reverse: bool) -> Result<Vec<Keyed>> {
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

fn list_of_items(keyed: Vec<Keyed>) -> Result<Value> {
    Value::list(keyed.into_iter().map(|(_, item)| item).collect())
}

/// Returns the items of `value` with their keys.
fn keyed(
    runtime: &mut Runtime,
    value: &Value,
    mut key: impl FnMut(&mut Runtime, &Value) -> Result<Value>,
) -> Result<Vec<Keyed>> {
    let mut keyed = Vec::new();
    for item in runtime.iterate(value)? {
        keyed.push((key(runtime, &item)?, item));
    }
    Ok(keyed)
}

pub(super) fn dictsort(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [sensitive, by, reverse]) = call.bind(["case_sensitive", "by", "reverse"], 0)?;
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
    let entries = dict.pairs()?;
    runtime.charge_items(entries.len())?;
    let keyed = entries.into_iter().map(|pair| {
        let key = pair.items().and_then(|items| items.get(at)).cloned();
        (folded(key.unwrap_or(Value::None), is_true(&sensitive)), pair)
    });
    list_of_items(sorted(keyed.collect(), is_true(&reverse))?)
}

pub(super) fn sort(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [reverse, sensitive, attribute]) =
        call.bind(["reverse", "case_sensitive", "attribute"], 0)?;
    let sensitive = is_true(&sensitive);
    let keyed = match attribute.as_ref().and_then(Value::as_text) {
        // Only `sort` takes several attributes.
        Some(text) if text.contains(',') => {
            let paths: Vec<AttributePath> = text.split(',').map(AttributePath::parse).collect();
            keyed(runtime, value, |runtime, item| {
                let mut keys = Vec::new();
                for path in &paths {
                    keys.push(folded(path.follow(runtime, item, None)?, sensitive));
                }
                Value::list(keys)
            })?
        }
        _ => {
            let path = AttributePath::from_argument(&attribute);
            keyed(runtime, value, |runtime, item| {
                Ok(folded(path.follow(runtime, item, None)?, sensitive))
            })?
        }
    };
    list_of_items(sorted(keyed, is_true(&reverse))?)
}

pub(super) fn groupby(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [attribute, default, sensitive]) =
        call.bind(["attribute", "default", "case_sensitive"], 1)?;
    let sensitive = is_true(&sensitive);
    let path = AttributePath::from_argument(&attribute);
    let keyed = keyed(runtime, value, |runtime, item| {
        Ok(folded(path.follow(runtime, item, default.as_ref())?, sensitive))
    })?;
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
            false => path.follow(runtime, &items[0], default.as_ref())?,
        };
        let mut seq = Seq::new(vec![key, Value::list(items)?])?;
        seq.group = true;
        tuples.push(Value::Tuple(seq.into()));
    }
    Value::list(tuples)
}

/// Binds the arguments that `unique`, `min` and `max` share, and returns the items with their keys.
fn keyed_by_arguments(runtime: &mut Runtime, call: Call) -> Result<Vec<Keyed>> {
    let (value, [sensitive, attribute]) = call.bind(["case_sensitive", "attribute"], 0)?;
    let sensitive = is_true(&sensitive);
    let path = AttributePath::from_argument(&attribute);
    keyed(runtime, value, |runtime, item| {
        Ok(folded(path.follow(runtime, item, None)?, sensitive))
    })
}

pub(super) fn unique(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let mut seen = HashSet::new();
    let mut unique = Vec::new();
    for (key, item) in keyed_by_arguments(runtime, call)? {
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

pub(super) fn min(runtime: &mut Runtime, call: Call) -> Result<Value> {
    best(runtime, call, "<", Ordering::Less)
}

pub(super) fn max(runtime: &mut Runtime, call: Call) -> Result<Value> {
    best(runtime, call, ">", Ordering::Greater)
}

/// Returns the first item whose key is `wanted` compared with all before it. `sign` is the operator
/// named by errors.
fn best(runtime: &mut Runtime, call: Call, sign: &str, wanted: Ordering) -> Result<Value> {
    let mut best: Option<Keyed> = None;
    for (key, item) in keyed_by_arguments(runtime, call)? {
        let better = match &best {
            None => true,
            Some((than, _)) => key.compare(than, sign)? == Some(wanted),
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
