//! Filters of numbers.

use super::is_true;
use crate::jinja::call::{self, Call};
use crate::jinja::error::{Error, Result};
use crate::jinja::runtime::Runtime;
use crate::jinja::text;
use crate::jinja::value::Value;

const BINARY_UNITS: [&str; 8] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
const DECIMAL_UNITS: [&str; 8] = ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

/// Returns the error of the filter `name` on a value that is no number.
fn not_a_number(name: &str, value: &Value) -> Error {
    Error::fault(format!("{name} needs a number, not {}", value.kind()))
}

/// Truncates a float to an integer; none if it is not finite.
fn whole(number: f64) -> Result<Option<Value>> {
    let fits = number.abs() < 2f64.powi(127);
    match (number.is_finite(), fits) {
        (false, _) => Ok(None),
        // Python has more digits there than an `i128`.
        (true, false) => Err(Error::fault("a number is larger than 127 bits")),
        (true, true) => Ok(Some(Value::Int(number.trunc() as i128))),
    }
}

pub(super) fn abs(_: &mut Runtime, call: Call) -> Result<Value> {
    let name = call.name;
    let value = call.bind_none()?;
    match (value.as_int(), value.as_float()) {
        (Some(number), _) => Ok(Value::Int(number.saturating_abs())),
        (_, Some(number)) => Ok(Value::Float(number.abs())),
        _ => Err(not_a_number(name, value)),
    }
}

pub(super) fn int(_: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [default, base]) = call.bind(["default", "base"], 0)?;
    let base = u32::try_from(call::int(&base, 10)?).unwrap_or(1);
    let found = match (value.as_text(), value.as_int(), value) {
        (Some(text), ..) => match text::parse_int(text, base) {
            Some(number) => Some(Value::Int(number)),
            None => text::parse_float(text).map_or(Ok(None), whole)?,
        },
        (_, Some(number), _) => Some(Value::Int(number)),
        (.., Value::Float(number)) => match number.is_infinite() {
            // Jinja2's filter does not catch this error.
            true => return Err(Error::fault("cannot convert float infinity to integer")),
            false => whole(*number)?,
        },
        (.., Value::Undefined(missing)) => return Err(missing.error()),
        _ => None,
    };
    Ok(found.or(default).unwrap_or(Value::Int(0)))
}

pub(super) fn float(_: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [default]) = call.bind(["default"], 0)?;
    if let Value::Undefined(missing) = value {
        return Err(missing.error());
    }
    let found = match value.as_text() {
        Some(text) => text::parse_float(text),
        None => value.as_float(),
    };
    Ok(found.map(Value::Float).or(default).unwrap_or(Value::Float(0.0)))
}

pub(super) fn round(_: &mut Runtime, call: Call) -> Result<Value> {
    let name = call.name;
    let (value, [precision, method]) = call.bind(["precision", "method"], 0)?;
    let (precision, method) = (
        call::int(&precision, 0)?,
        method.map_or_else(|| "common".into(), |value| value.to_text()),
    );
    let precision = i32::try_from(precision.clamp(-400, 400)).unwrap_or(0);
    let number = value.as_float().ok_or_else(|| not_a_number(name, value))?;
    Ok(match (&*method, value.as_int()) {
        ("common", Some(whole)) => Value::Int(rounded_int(whole, precision)),
        ("common", None) => Value::Float(rounded_float(number, precision)),
        ("ceil", _) => Value::Float(scaled(number, precision, f64::ceil)),
        ("floor", _) => Value::Float(scaled(number, precision, f64::floor)),
        _ => return Err(Error::fault("method must be common, ceil or floor")),
    })
}

/// `round(number, precision)` of an integer: a tie goes to the even neighbor.
fn rounded_int(number: i128, precision: i32) -> i128 {
    if precision >= 0 {
        return number;
    }
    match 10i128.checked_pow(precision.unsigned_abs()) {
        Some(unit) => {
            let (down, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
            let up = rest * 2 > unit || (rest * 2 == unit && down % 2 != 0);
            (down + i128::from(up)) * unit
        }
        None => 0,
    }
}

/// `round(number, precision)` of a float.
fn rounded_float(number: f64, precision: i32) -> f64 {
    if !number.is_finite() {
        return number;
    }
    if precision >= 0 {
        let text = format!("{number:.*}", precision as usize);
        return text.parse().unwrap_or(number);
    }
    let unit = 10f64.powi(-precision);
    (number / unit).round_ties_even() * unit
}

/// Rounds by `to_whole` at the decimal place `precision`.
fn scaled(number: f64, precision: i32, to_whole: fn(f64) -> f64) -> f64 {
    let unit = 10f64.powi(precision.abs());
    match precision >= 0 {
        true => to_whole(number * unit) / unit,
        false => to_whole(number / unit) * unit,
    }
}

pub(super) fn filesizeformat(_: &mut Runtime, call: Call) -> Result<Value> {
    let name = call.name;
    let (value, [binary]) = call.bind(["binary"], 0)?;
    let bytes = match value.as_text() {
        Some(text) => text::parse_float(text),
        None => value.as_float(),
    };
    let bytes = bytes.ok_or_else(|| not_a_number(name, value))?;
    let (base, units) = match is_true(&binary) {
        true => (1024f64, BINARY_UNITS),
        false => (1000f64, DECIMAL_UNITS),
    };
    if bytes == 1.0 {
        return Ok(Value::text("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::text(&format!("{} Bytes", bytes.trunc())));
    }
    let place = (0..7).find(|place| bytes < base.powi(place + 2)).unwrap_or(7);
    Ok(Value::text(&format!(
        "{:.1} {}",
        base * bytes / base.powi(place + 2),
        units[place as usize]
    )))
}
