//! Python's operators.

use super::ast::Binary;
use super::error::Error;
use super::format;
use super::machine::{Machine, Result};
use super::text;
use super::value::Value;

/// `value operator other`.
pub fn binary(machine: &mut Machine, value: &Value, operator: Binary, other: &Value) -> Result<Value> {
    for operand in [value, other] {
        // The left side of `%` that is a text prints what is undefined.
        let printed = operator == Binary::Mod && value.as_text().is_some();
        if let Value::Undefined(missing) = operand
            && !printed
        {
            return Err(Error::fault(missing.message.clone()));
        }
    }
    let numbers = |value: &Value, other: &Value| Some((value.as_float()?, other.as_float()?));
    let whole = (value.as_int(), other.as_int());
    let too_large = || Error::fault("a number is larger than 127 bits");
    match operator {
        Binary::Add => add(machine, value, other),
        Binary::Sub => match (whole, numbers(value, other)) {
            ((Some(a), Some(b)), _) => a.checked_sub(b).map(Value::Int).ok_or_else(too_large),
            (_, Some((a, b))) => Ok(Value::Float(a - b)),
            _ => Err(unsupported("-", value, other)),
        },
        Binary::Mul => match (whole, numbers(value, other)) {
            ((Some(a), Some(b)), _) => a.checked_mul(b).map(Value::Int).ok_or_else(too_large),
            (_, Some((a, b))) => Ok(Value::Float(a * b)),
            ((None, Some(times)), _) => repeated(machine, value, times),
            ((Some(times), None), _) => repeated(machine, other, times),
            _ => Err(unsupported("*", value, other)),
        },
        Binary::Div => match numbers(value, other) {
            Some((_, 0.0)) => Err(Error::fault("division by zero")),
            Some((a, b)) => Ok(Value::Float(a / b)),
            None => Err(unsupported("/", value, other)),
        },
        Binary::Mod if value.as_text().is_some() => percent(machine, value, other),
        Binary::FloorDiv | Binary::Mod => match (whole, numbers(value, other)) {
            ((Some(_), Some(0)), _) | (_, Some((_, 0.0))) => {
                Err(Error::fault("integer division or modulo by zero"))
            }
            ((Some(a), Some(b)), _) => {
                let (mut quotient, mut rest) = (a.wrapping_div(b), a.wrapping_rem(b));
                if rest != 0 && (rest < 0) != (b < 0) {
                    (quotient, rest) = (quotient - 1, rest + b);
                }
                Ok(Value::Int(if operator == Binary::Mod { rest } else { quotient }))
            }
            (_, Some((a, b))) => {
                let mut rest = a % b;
                if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
                    rest += b;
                } else if rest == 0.0 {
                    rest = 0f64.copysign(b);
                }
                let quotient = (a - rest) / b;
                // Rounded, as `(a - rest) / b` is whole but for its last bit.
                let floor = quotient.floor();
                let quotient = if quotient - floor > 0.5 {
                    floor + 1.0
                } else {
                    floor
                };
                Ok(Value::Float(if operator == Binary::Mod {
                    rest
                } else {
                    quotient
                }))
            }
            _ => Err(unsupported(
                if operator == Binary::Mod { "%" } else { "//" },
                value,
                other,
            )),
        },
        Binary::Pow => match (whole, numbers(value, other)) {
            ((Some(base), Some(exponent)), _) if exponent >= 0 => {
                let exponent = u32::try_from(exponent).map_err(|_| too_large())?;
                base.checked_pow(exponent).map(Value::Int).ok_or_else(too_large)
            }
            (_, Some((0.0, b))) if b < 0.0 => Err(Error::fault("0.0 cannot be raised to a negative power")),
            (_, Some((a, b))) if a < 0.0 && b.fract() != 0.0 => Err(Machine::unsupported("a complex number")),
            (_, Some((a, b))) => Ok(Value::Float(a.powf(b))),
            _ => Err(unsupported("** or pow()", value, other)),
        },
    }
}

/// `text % arguments`.
pub fn percent(machine: &mut Machine, format: &Value, arguments: &Value) -> Result<Value> {
    let text = format.to_text();
    machine.charge(text.len())?;
    Ok(match format {
        Value::Markup(_) => Value::Markup(format::percent(&text, &escaped_all(arguments)?)?.into()),
        _ => Value::Str(format::percent(&text, arguments)?.into()),
    })
}

/// `value + other`.
pub fn add(machine: &mut Machine, value: &Value, other: &Value) -> Result<Value> {
    if let (Some(a), Some(b)) = (value.as_int(), other.as_int()) {
        let sum = a.checked_add(b).map(Value::Int);
        return sum.ok_or_else(|| Error::fault("a number is larger than 127 bits"));
    }
    if let (Some(a), Some(b)) = (value.as_float(), other.as_float()) {
        return Ok(Value::Float(a + b));
    }
    if let (Some(a), Some(b)) = (value.as_text(), other.as_text()) {
        machine.charge(a.len() + b.len())?;
        let marked = |value: &Value| matches!(value, Value::Markup(_));
        return Ok(match (marked(value), marked(other)) {
            (false, false) => Value::Str(format!("{a}{b}").into()),
            (true, true) => Value::Markup(format!("{a}{b}").into()),
            (true, false) => Value::Markup(format!("{a}{}", text::escape(b)).into()),
            (false, true) => Value::Markup(format!("{}{b}", text::escape(a)).into()),
        });
    }
    match (value, other) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            machine.charge_items(a.items.len() + b.items.len())?;
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

fn repeated(machine: &mut Machine, value: &Value, times: i128) -> Result<Value> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    match value {
        Value::Str(text) | Value::Markup(text) => {
            machine.charge(text.len().saturating_mul(times))?;
            let text = text.repeat(times).into();
            Ok(match value {
                Value::Str(_) => Value::Str(text),
                _ => Value::Markup(text),
            })
        }
        Value::List(seq) | Value::Tuple(seq) => {
            machine.charge_items(seq.items.len().saturating_mul(times))?;
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

/// `-value`.
pub fn negative(value: &Value) -> Result<Value> {
    match (value.as_int(), value) {
        (Some(number), _) => Ok(Value::Int(number.wrapping_neg())),
        (_, Value::Float(number)) => Ok(Value::Float(-number)),
        _ => Err(unsupported_unary("-", value)),
    }
}

/// The arguments of a marked text's `%`, escaped.
fn escaped_all(value: &Value) -> Result<Value> {
    Ok(match value {
        Value::Str(text) => Value::Str(text::escape(text).into()),
        Value::Tuple(seq) => Value::tuple(seq.items.iter().map(escaped_all).collect::<Result<_>>()?)?,
        other => other.clone(),
    })
}

pub fn unsupported_unary(sign: &str, value: &Value) -> Error {
    match value {
        Value::Undefined(missing) => Error::fault(missing.message.clone()),
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
