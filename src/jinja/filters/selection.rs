//! `map`, `select`, `reject` and their variants for attributes. Their results are generators, so an
//! error occurs where the template reaches the item.

use super::attribute_path::AttributePath;
use super::{apply, is_known};
use crate::jinja::call::Call;
use crate::jinja::error::{Error, Result};
use crate::jinja::is_tests;
use crate::jinja::runtime::Runtime;
use crate::jinja::value::Value;

pub(super) fn map(runtime: &mut Runtime, mut call: Call) -> Result<Value> {
    let value = call.value;
    if !value.is_true() {
        return Value::generator(Vec::new());
    }
    let given = &mut call.arguments;
    if given.positional.is_empty() && given.keywords.iter().any(|(name, _)| &**name == "attribute") {
        return map_attribute(runtime, call);
    }
    if given.positional.is_empty() {
        return Err(Error::fault("map requires a filter argument"));
    }
    let name = given.positional.remove(0).to_text();
    if !is_known(&name) {
        return Err(Error::fault(format!("there is no filter `{name}`")));
    }
    let mut done = Vec::new();
    for item in runtime.iterate(value)? {
        done.push(apply(runtime, &name, &item, given.clone()));
    }
    Value::generator(done)
}

fn map_attribute(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [attribute, default]) = call.bind(["attribute", "default"], 1)?;
    let path = AttributePath::from_argument(&attribute);
    let default = default.filter(|default| !matches!(default, Value::None));
    let mut done = Vec::new();
    for item in runtime.iterate(value)? {
        done.push(path.follow(runtime, &item, default.as_ref()));
    }
    Value::generator(done)
}

pub(super) fn select(runtime: &mut Runtime, call: Call) -> Result<Value> {
    selected(runtime, call, false, true)
}

pub(super) fn reject(runtime: &mut Runtime, call: Call) -> Result<Value> {
    selected(runtime, call, false, false)
}

pub(super) fn selectattr(runtime: &mut Runtime, call: Call) -> Result<Value> {
    selected(runtime, call, true, true)
}

pub(super) fn rejectattr(runtime: &mut Runtime, call: Call) -> Result<Value> {
    selected(runtime, call, true, false)
}

/// Returns the items for which the test in the arguments is `wanted`. With `by_attribute`, the
/// first argument is the attribute to test.
fn selected(runtime: &mut Runtime, call: Call, by_attribute: bool, wanted: bool) -> Result<Value> {
    let Call {
        value,
        arguments: mut given,
        ..
    } = call;
    if !value.is_true() {
        return Value::generator(Vec::new());
    }
    let attribute = match by_attribute {
        true if given.positional.is_empty() => {
            return Err(Error::fault("Missing parameter for attribute name"));
        }
        true => Some(given.positional.remove(0)),
        false => None,
    };
    let path = AttributePath::from_argument(&attribute);
    let test = match given.positional.is_empty() {
        true => None,
        false => Some(given.positional.remove(0).to_text()),
    };
    let mut found = Vec::new();
    for item in runtime.iterate(value)? {
        let tested = path.follow(runtime, &item, None).and_then(|value| match &test {
            None => runtime.truth(&value),
            Some(test) if !is_tests::is_known(test) => {
                Err(Error::fault(format!("there is no test `{test}`")))
            }
            Some(test) => is_tests::holds(runtime, test, &value, given.clone()),
        });
        match tested {
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
