//! Filters of numbers.

use super::super::error::Error;
use super::super::functions::Arguments;
use super::super::machine::Result;
use super::super::text;
use super::super::value::Value;
use super::{int, is_true};

/// The integer that a number is without its fraction; none of what is no number.
fn whole(number: f64) -> Result<Option<Value>> {
    let fits = number.abs() < 2f64.powi(127);
    match (number.is_finite(), fits) {
        (false, _) => Ok(None),
        // The digits that Python has would be others.
        (true, false) => Err(Error::fault("a number is larger than 127 bits")),
        (true, true) => Ok(Some(Value::Int(number.trunc() as i128))),
    }
}

/// `value|name(…)`.
pub(super) fn of_number(name: &str, value: &Value, given: Arguments) -> Result<Value> {
    let not_a_number = || Error::fault(format!("{name} needs a number, not {}", value.kind()));
    Ok(match name {
        "abs" => {
            given.bind(name, &[], 0)?;
            match (value.as_int(), value.as_float()) {
                (Some(number), _) => Value::Int(number.saturating_abs()),
                (_, Some(number)) => Value::Float(number.abs()),
                _ => return Err(not_a_number()),
            }
        }
        "int" => {
            let [default, base] = given.bind_array(name, ["default", "base"], 0)?;
            let base = u32::try_from(int(&base, 10)?).unwrap_or(1);
            let found = match (value.as_text(), value.as_int(), value) {
                (Some(text), ..) => match text::parse_int(text, base) {
                    Some(number) => Some(Value::Int(number)),
                    None => text::parse_float(text).map_or(Ok(None), whole)?,
                },
                (_, Some(number), _) => Some(Value::Int(number)),
                (.., Value::Float(number)) => match number.is_infinite() {
                    // Python's own, which the filter does not catch.
                    true => return Err(Error::fault("cannot convert float infinity to integer")),
                    false => whole(*number)?,
                },
                (.., Value::Undefined(missing)) => return Err(Error::fault(missing.message.clone())),
                _ => None,
            };
            found.or(default).unwrap_or(Value::Int(0))
        }
        "float" => {
            let [default] = given.bind_array(name, ["default"], 0)?;
            if let Value::Undefined(missing) = value {
                return Err(Error::fault(missing.message.clone()));
            }
            let found = match value.as_text() {
                Some(text) => text::parse_float(text),
                None => value.as_float(),
            };
            found.map(Value::Float).or(default).unwrap_or(Value::Float(0.0))
        }
        "round" => {
            let [precision, method] = given.bind_array(name, ["precision", "method"], 0)?;
            let (precision, method) = (
                int(&precision, 0)?,
                method.map_or_else(|| "common".into(), |value| value.to_text()),
            );
            let precision = i32::try_from(precision.clamp(-400, 400)).unwrap_or(0);
            let number = value.as_float().ok_or_else(not_a_number)?;
            match (&*method, value.as_int()) {
                ("common", Some(whole)) if precision >= 0 => Value::Int(whole),
                ("common", Some(whole)) => match 10i128.checked_pow(precision.unsigned_abs()) {
                    Some(unit) => {
                        let (down, rest) = (whole.div_euclid(unit), whole.rem_euclid(unit));
                        let up = rest * 2 > unit || (rest * 2 == unit && down % 2 != 0);
                        Value::Int((down + i128::from(up)) * unit)
                    }
                    None => Value::Int(0),
                },
                ("common", None) if !number.is_finite() => Value::Float(number),
                ("common", None) if precision >= 0 => {
                    let text = format!("{number:.*}", precision as usize);
                    Value::Float(text.parse().unwrap_or(number))
                }
                ("common", None) => {
                    let unit = 10f64.powi(-precision);
                    Value::Float((number / unit).round_ties_even() * unit)
                }
                ("ceil" | "floor", _) => {
                    let unit = 10f64.powi(precision.abs());
                    let scaled = if precision >= 0 {
                        number * unit
                    } else {
                        number / unit
                    };
                    let whole = if &*method == "ceil" {
                        scaled.ceil()
                    } else {
                        scaled.floor()
                    };
                    Value::Float(if precision >= 0 {
                        whole / unit
                    } else {
                        whole * unit
                    })
                }
                _ => return Err(Error::fault("method must be common, ceil or floor")),
            }
        }
        _ => {
            let [binary] = given.bind_array(name, ["binary"], 0)?;
            let bytes = match value.as_text() {
                Some(text) => text::parse_float(text),
                None => value.as_float(),
            };
            let bytes = bytes.ok_or_else(not_a_number)?;
            let (base, letters) = match is_true(&binary) {
                true => (1024f64, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]),
                false => (1000f64, ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]),
            };
            if bytes == 1.0 {
                Value::text("1 Byte")
            } else if bytes < base {
                Value::text(&format!("{} Bytes", bytes.trunc()))
            } else {
                let place = (0..7).find(|place| bytes < base.powi(place + 2)).unwrap_or(7);
                Value::text(&format!(
                    "{:.1} {}",
                    base * bytes / base.powi(place + 2),
                    letters[place as usize]
                ))
            }
        }
    })
}
