//! `value[start:stop:step]`.

use super::super::error::{Error, Result};
use super::super::runtime::Runtime;
use super::super::text;
use super::super::value::{Value, range_length};

/// Returns `value[start:stop:step]`. A bound that is not given is `None`.
pub fn slice(runtime: &mut Runtime, value: &Value, bounds: &[Value; 3]) -> Result<Value> {
    let length = match value {
        Value::Undefined(missing) => return Err(missing.error()),
        Value::Str(text) | Value::Markup(text) => text.chars().count(),
        Value::List(seq) | Value::Tuple(seq) => seq.items.len(),
        Value::Range(..) => range_length(value),
        _ => {
            return Err(Error::fault(format!(
                "'{}' object cannot be sliced",
                value.kind()
            )));
        }
    };
    let step = number(&bounds[2])?.unwrap_or(1);
    let picked = indices(length, bounds, step)?;
    runtime.charge_items(picked.len())?;
    let items = |all: &[Value]| picked.iter().map(|index| all[*index].clone()).collect();
    Ok(match value {
        Value::List(seq) => Value::list(items(&seq.items))?,
        Value::Tuple(seq) => Value::tuple(items(&seq.items))?,
        Value::Range(start, _, own) => {
            let own = i128::from(*own);
            let place = |index: i128| i64::try_from(i128::from(*start) + own * index).unwrap_or(i64::MAX);
            let first = picked.first().map_or(0, |index| *index as i128);
            let stop = first + step * picked.len() as i128;
            Value::Range(
                place(first),
                place(stop),
                i64::try_from(own * step).unwrap_or(i64::MAX),
            )
        }
        Value::Str(whole) | Value::Markup(whole) => {
            let consecutive = picked.windows(2).all(|pair| pair[1] == pair[0] + 1);
            match (picked.first(), picked.last()) {
                (Some(first), Some(last)) if consecutive => value.like(text::part(whole, *first, *last + 1)),
                _ => {
                    let chars: Vec<char> = whole.chars().collect();
                    let text: String = picked.into_iter().map(|index| chars[index]).collect();
                    value.like(&text)
                }
            }
        }
        _ => unreachable!("it has a length"),
    })
}

fn number(bound: &Value) -> Result<Option<i128>> {
    match bound {
        Value::None => Ok(None),
        bound => bound.as_int().map(Some).ok_or_else(|| {
            Error::fault("slice indices must be integers or None or have an __index__ method")
        }),
    }
}

/// Returns the indices of a sequence that a slice picks.
fn indices(length: usize, bounds: &[Value; 3], step: i128) -> Result<Vec<usize>> {
    if step == 0 {
        return Err(Error::fault("slice step cannot be zero"));
    }
    let length = length as i128;
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |given: Option<i128>, default: i128| match given {
        None => default,
        Some(at) if at < 0 => (at + length).max(low),
        Some(at) => at.min(high),
    };
    let start = bound(number(&bounds[0])?, if step > 0 { 0 } else { length - 1 });
    let stop = bound(number(&bounds[1])?, if step > 0 { length } else { -1 });
    let mut picked = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        picked.push(at as usize);
        at += step;
    }
    Ok(picked)
}
