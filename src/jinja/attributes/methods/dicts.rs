//! Methods of dictionaries.

use crate::jinja::call::{Call, Table};
use crate::jinja::error::Result;
use crate::jinja::functions;
use crate::jinja::runtime::Runtime;
use crate::jinja::value::{Dict, Value};

type DictMethod = fn(&mut Runtime, &Dict, Call) -> Result<Value>;

pub(super) const DICT: Table<DictMethod> = &[
    ("copy", copy),
    ("fromkeys", from_keys),
    ("get", get),
    ("items", items),
    ("keys", keys),
    ("values", values),
];

fn copy(runtime: &mut Runtime, dict: &Dict, call: Call) -> Result<Value> {
    let value = call.bind_none()?;
    runtime.charge_items(dict.len())?;
    Ok(value.clone())
}

fn from_keys(runtime: &mut Runtime, _: &Dict, call: Call) -> Result<Value> {
    functions::dict_from_keys(runtime, call.arguments)
}

fn get(_: &mut Runtime, dict: &Dict, call: Call) -> Result<Value> {
    let (_, [key, default]) = call.bind(["/key", "/default"], 1)?;
    let found = dict.get(&key.unwrap_or(Value::None).key()?).cloned();
    Ok(found.or(default).unwrap_or(Value::None))
}

fn items(runtime: &mut Runtime, dict: &Dict, call: Call) -> Result<Value> {
    call.bind_none()?;
    runtime.charge_items(dict.len())?;
    Value::view("dict_items", dict.pairs()?)
}

fn keys(runtime: &mut Runtime, dict: &Dict, call: Call) -> Result<Value> {
    call.bind_none()?;
    runtime.charge_items(dict.len())?;
    let keys = dict.entries().iter().map(|(key, _)| key.clone());
    Value::view("dict_keys", keys.collect())
}

fn values(runtime: &mut Runtime, dict: &Dict, call: Call) -> Result<Value> {
    call.bind_none()?;
    runtime.charge_items(dict.len())?;
    let values = dict.entries().iter().map(|(_, value)| value.clone());
    Value::view("dict_values", values.collect())
}
