//! Python's operators.

use super::ast::Binary;
use super::error::{Error, Result};
use super::format;
use super::html;
use super::runtime::Runtime;
use super::value::Value;

/// Returns `value operator other`.
pub fn binary(runtime: &mut Runtime, value: &Value, operator: Binary, other: &Value) -> Result<Value> {
    for operand in [value, other] {
        // `text % arguments` prints undefined arguments.
        let printed = operator == Binary::Mod && value.as_text().is_some();
        if let Value::Undefined(missing) = operand
            && !printed
        {
            return Err(missing.error());
        }
    }
    match operator {
        Binary::Add => add(runtime, value, other),
        Binary::Sub => subtract(value, other),
        Binary::Mul => multiply(runtime, value, other),
        Binary::Div => divide(value, other),
        Binary::Mod if value.as_text().is_some() => percent(runtime, value, other),
        Binary::FloorDiv => floor_divide(value, other),
        Binary::Mod => modulo(value, other),
        Binary::Pow => power(value, other),
    }
}

/// Operands of an arithmetic operator.
enum Operands {
    Ints(i128, i128),
    /// At least one is a float.
    Floats(f64, f64),
    /// At least one is no number.
    Other,
}

fn operands(value: &Value, other: &Value) -> Operands {
    match (value.as_int(), other.as_int(), value.as_float(), other.as_float()) {
        (Some(a), Some(b), ..) => Operands::Ints(a, b),
        (.., Some(a), Some(b)) => Operands::Floats(a, b),
        _ => Operands::Other,
    }
}

fn too_large() -> Error {
    Error::fault("a number is larger than 127 bits")
}

fn subtract(value: &Value, other: &Value) -> Result<Value> {
    match operands(value, other) {
        Operands::Ints(a, b) => a.checked_sub(b).map(Value::Int).ok_or_else(too_large),
        Operands::Floats(a, b) => Ok(Value::Float(a - b)),
        Operands::Other => Err(unsupported("-", value, other)),
    }
}

fn multiply(runtime: &mut Runtime, value: &Value, other: &Value) -> Result<Value> {
    match operands(value, other) {
        Operands::Ints(a, b) => a.checked_mul(b).map(Value::Int).ok_or_else(too_large),
        Operands::Floats(a, b) => Ok(Value::Float(a * b)),
        Operands::Other => match (value.as_int(), other.as_int()) {
            (_, Some(times)) => repeated(runtime, value, times),
            (Some(times), _) => repeated(runtime, other, times),
            _ => Err(unsupported("*", value, other)),
        },
    }
}

fn divide(value: &Value, other: &Value) -> Result<Value> {
    match (value.as_float(), other.as_float()) {
        (Some(_), Some(0.0)) => Err(Error::fault("division by zero")),
        (Some(a), Some(b)) => Ok(Value::Float(a / b)),
        _ => Err(unsupported("/", value, other)),
    }
}

fn division_by_zero() -> Error {
    Error::fault("integer division or modulo by zero")
}

fn floor_divide(value: &Value, other: &Value) -> Result<Value> {
    match operands(value, other) {
        Operands::Ints(_, 0) | Operands::Floats(_, 0.0) => Err(division_by_zero()),
        Operands::Ints(a, b) => Ok(Value::Int(int_divmod(a, b).0)),
        Operands::Floats(a, b) => Ok(Value::Float(float_divmod(a, b).0)),
        Operands::Other => Err(unsupported("//", value, other)),
    }
}

fn modulo(value: &Value, other: &Value) -> Result<Value> {
    match operands(value, other) {
        Operands::Ints(_, 0) | Operands::Floats(_, 0.0) => Err(division_by_zero()),
        Operands::Ints(a, b) => Ok(Value::Int(int_divmod(a, b).1)),
        Operands::Floats(a, b) => Ok(Value::Float(float_divmod(a, b).1)),
        Operands::Other => Err(unsupported("%", value, other)),
    }
}

/// Returns the quotient, rounded down, and the remainder, which has the sign of `b`.
fn int_divmod(a: i128, b: i128) -> (i128, i128) {
    let (quotient, rest) = (a.wrapping_div(b), a.wrapping_rem(b));
    match rest != 0 && (rest < 0) != (b < 0) {
        true => (quotient - 1, rest + b),
        false => (quotient, rest),
    }
}

/// [`int_divmod`] of floats.
fn float_divmod(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest += b;
    } else if rest == 0.0 {
        rest = 0f64.copysign(b);
    }
    let quotient = (a - rest) / b;
    // The quotient is a whole number except for its last bit, so it is rounded to the nearest.
    let floor = quotient.floor();
    let quotient = if quotient - floor > 0.5 {
        floor + 1.0
    } else {
        floor
    };
    (quotient, rest)
}

fn power(value: &Value, other: &Value) -> Result<Value> {
    if let Operands::Ints(base, exponent) = operands(value, other)
        && exponent >= 0
    {
        let exponent = u32::try_from(exponent).map_err(|_| too_large())?;
        return base.checked_pow(exponent).map(Value::Int).ok_or_else(too_large);
    }
    match (value.as_float(), other.as_float()) {
        (Some(0.0), Some(b)) if b < 0.0 => Err(Error::fault("0.0 cannot be raised to a negative power")),
        (Some(a), Some(b)) if a < 0.0 && b.fract() != 0.0 => Err(Error::unsupported("a complex number")),
        (Some(a), Some(b)) => Ok(Value::Float(a.powf(b))),
        _ => Err(unsupported("** or pow()", value, other)),
    }
}

/// Returns `format % arguments`.
pub fn percent(runtime: &mut Runtime, format: &Value, arguments: &Value) -> Result<Value> {
    let text = format.to_text();
    runtime.charge(text.len())?;
    Ok(match format {
        Value::Markup(_) => Value::Markup(format::percent(&text, &escaped_all(arguments)?)?.into()),
        _ => Value::Str(format::percent(&text, arguments)?.into()),
    })
}

/// Returns `value + other`.
pub fn add(runtime: &mut Runtime, value: &Value, other: &Value) -> Result<Value> {
    if let (Some(a), Some(b)) = (value.as_int(), other.as_int()) {
        let sum = a.checked_add(b).map(Value::Int);
        return sum.ok_or_else(too_large);
    }
    if let (Some(a), Some(b)) = (value.as_float(), other.as_float()) {
        return Ok(Value::Float(a + b));
    }
    if let (Some(a), Some(b)) = (value.as_text(), other.as_text()) {
        runtime.charge(a.len() + b.len())?;
        let marked = |value: &Value| matches!(value, Value::Markup(_));
        return Ok(match (marked(value), marked(other)) {
            (false, false) => Value::Str(format!("{a}{b}").into()),
            (true, true) => Value::Markup(format!("{a}{b}").into()),
            (true, false) => Value::Markup(format!("{a}{}", html::escape(b)).into()),
            (false, true) => Value::Markup(format!("{}{b}", html::escape(a)).into()),
        });
    }
    match (value, other) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            runtime.charge_items(a.items.len() + b.items.len())?;
            let items = a.items.iter().chain(&b.items).cloned().collect();
            match value {
                Value::List(_) => Value::list(items),
                _ => Value::tuple(items),
            }
        }
        (Value::Str(_) | Value::Markup(_), _) => Err(Error::fault(format!(
            "can only concatenate str (not \"{}\") to str",
            other.kind()
        ))),
        _ => Err(unsupported("+", value, other)),
    }
}

/// Repeats a string, list or tuple.
fn repeated(runtime: &mut Runtime, value: &Value, times: i128) -> Result<Value> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    match value {
        Value::Str(text) | Value::Markup(text) => {
            runtime.charge(text.len().saturating_mul(times))?;
            let text = text.repeat(times).into();
            Ok(match value {
                Value::Str(_) => Value::Str(text),
                _ => Value::Markup(text),
            })
        }
        Value::List(seq) | Value::Tuple(seq) => {
            runtime.charge_items(seq.items.len().saturating_mul(times))?;
            let count = seq.items.len().saturating_mul(times);
            let items = seq.items.iter().cycle().take(count).cloned().collect();
            match value {
                Value::List(_) => Value::list(items),
                _ => Value::tuple(items),
            }
        }
        _ => Err(unsupported("*", value, &Value::Int(0))),
    }
}

/// Returns `-value`.
pub fn negative(value: &Value) -> Result<Value> {
    match (value.as_int(), value) {
        (Some(number), _) => Ok(Value::Int(number.wrapping_neg())),
        (_, Value::Float(number)) => Ok(Value::Float(-number)),
        _ => Err(unsupported_unary("-", value)),
    }
}

/// Escapes the strings among the arguments of a `Markup`'s `%`.
fn escaped_all(value: &Value) -> Result<Value> {
    Ok(match value {
        Value::Str(text) => Value::Str(html::escape(text).into()),
        Value::Tuple(seq) => Value::tuple(seq.items.iter().map(escaped_all).collect::<Result<_>>()?)?,
        other => other.clone(),
    })
}

/// Returns `+value`.
pub fn positive(value: &Value) -> Result<Value> {
    match (value.as_int(), value) {
        (Some(number), _) => Ok(Value::Int(number)),
        (_, Value::Float(_)) => Ok(value.clone()),
        _ => Err(unsupported_unary("+", value)),
    }
}

fn unsupported_unary(sign: &str, value: &Value) -> Error {
    match value {
        Value::Undefined(missing) => missing.error(),
        _ => Error::fault(format!("bad operand type for unary {sign}: '{}'", value.kind())),
    }
}

fn unsupported(sign: &str, value: &Value, other: &Value) -> Error {
    Error::fault(format!(
        "unsupported operand type(s) for {sign}: '{}' and '{}'",
        value.kind(),
        other.kind()
    ))
}
