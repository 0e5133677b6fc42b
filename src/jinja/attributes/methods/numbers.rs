//! Methods of integers and floats.

use crate::jinja::call::{Call, Table};
use crate::jinja::error::{Error, Result};
use crate::jinja::value::Value;

type NumberMethod = fn(Call) -> Result<Value>;

/// Methods of `int` and `bool`.
pub(super) const INT: Table<NumberMethod> = &[
    ("as_integer_ratio", unsupported),
    ("bit_count", |call| {
        Ok(of_int(call.bind_none()?, |number| {
            number.unsigned_abs().count_ones()
        }))
    }),
    ("bit_length", |call| {
        Ok(of_int(call.bind_none()?, |number| {
            128 - number.unsigned_abs().leading_zeros()
        }))
    }),
    ("conjugate", conjugate),
    ("from_bytes", unsupported),
    ("to_bytes", unsupported),
];

pub(super) const FLOAT: Table<NumberMethod> = &[
    ("as_integer_ratio", unsupported),
    ("conjugate", conjugate),
    ("fromhex", unsupported),
    ("hex", unsupported),
    ("is_integer", is_integer),
];

fn of_int(value: &Value, bits: fn(i128) -> u32) -> Value {
    value
        .as_int()
        .map_or(Value::None, |number| Value::Int(bits(number).into()))
}

fn conjugate(call: Call) -> Result<Value> {
    let value = call.bind_none()?;
    Ok(value.as_int().map_or_else(|| value.clone(), Value::Int))
}

fn is_integer(call: Call) -> Result<Value> {
    let value = call.bind_none()?;
    let number = value.as_float().unwrap_or(f64::NAN);
    Ok(Value::Bool(number.is_finite() && number.fract() == 0.0))
}

fn unsupported(call: Call) -> Result<Value> {
    let (name, kind) = (call.name, call.value.kind());
    Err(Error::unsupported(&format!("the method `{name}` of {kind}")))
}
