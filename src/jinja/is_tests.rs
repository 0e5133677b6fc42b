//! Jinja2's tests: `value is name`.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::rc::Rc;

use super::call::{Arguments, Table, find};
use super::error::{Error, Result};
use super::runtime::Runtime;
use super::text;
use super::value::{PyObject, Value};

/// A test by its arguments.
#[derive(Clone, Copy)]
enum Test {
    /// `value is name`, also of undefined values under strict options.
    Definition(fn(&Value) -> bool),
    /// `value is name`.
    Unary(fn(&Runtime, &Value) -> Result<bool>),
    /// `value is name(other)`.
    Binary(fn(&mut Runtime, &Value, &Value) -> Result<bool>),
}

use Test::{Binary, Definition, Unary};

const TESTS: Table<Test> = &[
    ("boolean", Unary(|_, value| Ok(matches!(value, Value::Bool(_))))),
    ("callable", Unary(|_, value| Ok(is_callable(value)))),
    ("defined", Definition(|value| !value.is_undefined())),
    ("divisibleby", Binary(divisibleby)),
    ("eq", Binary(eq)),
    ("equalto", Binary(eq)),
    ("escaped", Unary(|_, value| Ok(matches!(value, Value::Markup(_))))),
    ("even", Unary(|_, value| Ok(remainder(value, 2)? == 0.0))),
    ("false", Unary(|_, value| Ok(matches!(value, Value::Bool(false))))),
    ("filter", Unary(filter)),
    ("float", Unary(|_, value| Ok(matches!(value, Value::Float(_))))),
    ("ge", Binary(ge)),
    ("greaterthan", Binary(gt)),
    ("gt", Binary(gt)),
    (
        "in",
        Binary(|runtime, value, other| runtime.contains(other, value)),
    ),
    ("integer", Unary(|_, value| Ok(matches!(value, Value::Int(_))))),
    ("iterable", Unary(|_, value| Ok(is_iterable(value)))),
    ("le", Binary(le)),
    ("lessthan", Binary(lt)),
    (
        "lower",
        Unary(|_, value| Ok(text::has_case(&value.to_text(), false))),
    ),
    ("lt", Binary(lt)),
    ("mapping", Unary(|_, value| Ok(matches!(value, Value::Dict(_))))),
    ("ne", Binary(ne)),
    ("none", Unary(|_, value| Ok(matches!(value, Value::None)))),
    ("number", Unary(|_, value| Ok(value.as_float().is_some()))),
    ("odd", Unary(|_, value| Ok(remainder(value, 2)?.abs() == 1.0))),
    ("sameas", Binary(sameas)),
    ("sequence", Unary(|_, value| Ok(is_sequence(value)))),
    ("string", Unary(|_, value| Ok(value.as_text().is_some()))),
    ("test", Unary(test)),
    ("true", Unary(|_, value| Ok(matches!(value, Value::Bool(true))))),
    ("undefined", Definition(Value::is_undefined)),
    (
        "upper",
        Unary(|_, value| Ok(text::has_case(&value.to_text(), true))),
    ),
];

/// Other names of tests, which `select` accepts.
const OPERATORS: Table<&str> = &[
    ("==", "eq"),
    ("!=", "ne"),
    ("<", "lt"),
    ("<=", "le"),
    (">", "gt"),
    (">=", "ge"),
];

/// Returns whether there is a test of this name.
pub fn is_known(name: &str) -> bool {
    find(TESTS, name).is_some() || find(OPERATORS, name).is_some()
}

/// Returns `value is name(given)`.
pub fn holds(runtime: &mut Runtime, name: &str, value: &Value, given: Arguments) -> Result<bool> {
    let name = find(OPERATORS, name).unwrap_or(name);
    match find(TESTS, name) {
        Some(Definition(test)) => {
            given.bind(name, &[], 0)?;
            Ok(test(value))
        }
        Some(Unary(test)) => {
            given.bind(name, &[], 0)?;
            runtime.known(value)?;
            test(runtime, value)
        }
        Some(Binary(test)) => {
            let [other] = given.bind_array(name, ["other"], 1)?;
            runtime.known(value)?;
            test(runtime, value, &other.unwrap_or(Value::None))
        }
        None => {
            given.bind(name, &[], 0)?;
            runtime.known(value)?;
            Err(Error::fault(format!("there is no test `{name}`")))
        }
    }
}

fn is_sequence(value: &Value) -> bool {
    match value {
        // Python asks for `len` and items by index, and an undefined value has both.
        Value::Undefined(_) => true,
        Value::Object(_) => false,
        _ => value.length().is_ok(),
    }
}

fn is_iterable(value: &Value) -> bool {
    match value {
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
        Value::Object(object) => matches!(
            &**object,
            PyObject::Generator(..) | PyObject::View(..) | PyObject::Loop(_)
        ),
        _ => true,
    }
}

fn is_callable(value: &Value) -> bool {
    match value {
        Value::Undefined(_) => true,
        Value::Object(object) => match &**object {
            PyObject::Method(..)
            | PyObject::Function(_)
            | PyObject::Macro(..)
            | PyObject::Joiner(..)
            | PyObject::Loop(_) => true,
            PyObject::Block(name) => !name.is_empty(),
            _ => false,
        },
        _ => false,
    }
}

/// Returns `value % by`.
fn remainder(value: &Value, by: i128) -> Result<f64> {
    match (value, value.as_int(), value.as_float()) {
        (Value::Undefined(missing), ..) => Err(missing.error()),
        (_, Some(_), _) if by == 0 => Err(Error::fault("integer modulo by zero")),
        (_, Some(number), _) => Ok(number.wrapping_rem(by) as f64),
        (.., Some(number)) => Ok(number.rem_euclid(by as f64)),
        _ => Err(Error::fault(format!(
            "unsupported operand type(s) for %: '{}' and 'int'",
            value.kind()
        ))),
    }
}

fn divisibleby(_: &mut Runtime, value: &Value, other: &Value) -> Result<bool> {
    let by = other
        .as_int()
        .ok_or_else(|| Error::fault(format!("divisibleby needs a number, not {}", other.kind())))?;
    Ok(remainder(value, by)? == 0.0)
}

fn eq(_: &mut Runtime, value: &Value, other: &Value) -> Result<bool> {
    Ok(value.equals(other))
}

fn ne(_: &mut Runtime, value: &Value, other: &Value) -> Result<bool> {
    Ok(!value.equals(other))
}

fn lt(_: &mut Runtime, value: &Value, other: &Value) -> Result<bool> {
    Ok(value.compare(other, "<")? == Some(Less))
}

fn le(_: &mut Runtime, value: &Value, other: &Value) -> Result<bool> {
    Ok(matches!(value.compare(other, "<=")?, Some(Less | Equal)))
}

fn gt(_: &mut Runtime, value: &Value, other: &Value) -> Result<bool> {
    Ok(value.compare(other, ">")? == Some(Greater))
}

fn ge(_: &mut Runtime, value: &Value, other: &Value) -> Result<bool> {
    Ok(matches!(value.compare(other, ">=")?, Some(Greater | Equal)))
}

/// Python's `is`: identity of containers, equality of others of one type.
fn sameas(_: &mut Runtime, value: &Value, other: &Value) -> Result<bool> {
    Ok(match (value, other) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (a, b) => a.kind() == b.kind() && a.equals(b),
    })
}

fn filter(runtime: &Runtime, value: &Value) -> Result<bool> {
    Ok(value.as_text().is_some_and(|name| (runtime.is_filter)(name)))
}

fn test(_: &Runtime, value: &Value) -> Result<bool> {
    Ok(value.as_text().is_some_and(|name| is_known(name)))
}
