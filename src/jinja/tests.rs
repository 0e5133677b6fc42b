//! Jinja2's tests: what stands behind `is`.

use super::error::Error;
use super::filters;
use super::functions::Arguments;
use super::machine::{Machine, Result};
use super::text;
use super::value::{Object, Value};

const NAMES: &[&str] = &[
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
];

/// Whether there is a test of this name.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether `value is name(…)`.
pub fn holds(machine: &mut Machine, name: &str, value: &Value, given: Arguments) -> Result<bool> {
    // By which `select` may call them.
    let name = match name {
        "==" => "eq",
        "!=" => "ne",
        "<" => "lt",
        "<=" => "le",
        ">" => "gt",
        ">=" => "ge",
        name => name,
    };
    let other = match name {
        "divisibleby" | "eq" | "equalto" | "ge" | "greaterthan" | "gt" | "in" | "le" | "lessthan" | "lt"
        | "ne" | "sameas" => given
            .bind(name, &["other"], 1)?
            .swap_remove(0)
            .unwrap_or(Value::None),
        _ => {
            given.bind(name, &[], 0)?;
            Value::None
        }
    };
    if !matches!(name, "defined" | "undefined") {
        machine.known(value)?;
    }
    let remainder = |by: i128| match (value, value.as_int(), value.as_float()) {
        (Value::Undefined(missing), ..) => Err(Error::fault(missing.message.clone())),
        (_, Some(_), _) if by == 0 => Err(Error::fault("integer modulo by zero")),
        (_, Some(number), _) => Ok(number.wrapping_rem(by) as f64),
        (.., Some(number)) => Ok(number.rem_euclid(by as f64)),
        _ => Err(Error::fault(format!(
            "unsupported operand type(s) for %: '{}' and 'int'",
            value.kind()
        ))),
    };
    use std::cmp::Ordering::*;
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)),
        "string" => value.as_text().is_some(),
        "mapping" => matches!(value, Value::Dict(_)),
        "escaped" => matches!(value, Value::Markup(_)),
        "sequence" => match value {
            // Python asks for a length and items by their place, and a thing without items that is undefined has both.
            Value::Undefined(_) => true,
            Value::Object(_) => false,
            _ => value.length().is_ok(),
        },
        "iterable" => match value {
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
            Value::Object(object) => matches!(
                &**object,
                Object::Generator(..) | Object::View(..) | Object::Loop(_)
            ),
            _ => true,
        },
        "callable" => match value {
            Value::Undefined(_) => true,
            Value::Object(object) => {
                matches!(
                    &**object,
                    Object::Method(..)
                        | Object::Function(_)
                        | Object::Macro(..)
                        | Object::Joiner(..)
                        | Object::Loop(_)
                ) || matches!(&**object, Object::Block(name) if !name.is_empty())
            }
            _ => false,
        },
        "even" => remainder(2)? == 0.0,
        "odd" => remainder(2)?.abs() == 1.0,
        "divisibleby" => {
            let by = other
                .as_int()
                .ok_or_else(|| Error::fault(format!("divisibleby needs a number, not {}", other.kind())))?;
            remainder(by)? == 0.0
        }
        "lower" => text::has_case(&value.to_text(), false),
        "upper" => text::has_case(&value.to_text(), true),
        "eq" | "equalto" => value.equals(&other),
        "ne" => !value.equals(&other),
        "lt" | "lessthan" => value.compare(&other, "<")? == Some(Less),
        "le" => matches!(value.compare(&other, "<=")?, Some(Less | Equal)),
        "gt" | "greaterthan" => value.compare(&other, ">")? == Some(Greater),
        "ge" => matches!(value.compare(&other, ">=")?, Some(Greater | Equal)),
        "in" => machine.contains(&other, value)?,
        "sameas" => match (value, &other) {
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                std::rc::Rc::ptr_eq(a, b)
            }
            (Value::Dict(a), Value::Dict(b)) => std::rc::Rc::ptr_eq(a, b),
            (a, b) => a.kind() == b.kind() && a.equals(b),
        },
        "filter" => value.as_text().is_some_and(|name| filters::is_known(name)),
        "test" => value.as_text().is_some_and(|name| is_known(name)),
        _ => return Err(Error::fault(format!("there is no test `{name}`"))),
    })
}
