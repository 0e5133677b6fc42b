//! `value.name`, `value[key]` and `value[a:b:c]`, with what the sandbox forbids.

use std::rc::Rc;

use super::ast::Text;
use super::error::Error;
use super::machine::{Machine, Result};
use super::value::{Dict, LoopState, Missing, Object, Value, range_length};
use super::{methods, text};

/// `value.name`: what Python's object has of that name, else the item of that key.
pub fn attribute(machine: &mut Machine, value: &Value, name: &Text) -> Result<Value> {
    if let Value::Undefined(missing) = value {
        return Err(Error::fault(missing.message.clone()));
    }
    if let Some(found) = own(machine, value, name)? {
        return Ok(found);
    }
    if let Value::Dict(dict) = value
        && let Some(found) = dict.get_text(name)
    {
        return Ok(found.clone());
    }
    Ok(missing(value, &Value::Str(name.clone())))
}

/// `value[key]`: the item, else, where the key is a name, what Python's object has of that name.
pub fn item(machine: &mut Machine, value: &Value, key: &Value) -> Result<Value> {
    if let Value::Undefined(missing) = value {
        return Err(Error::fault(missing.message.clone()));
    }
    let at = |length: usize| {
        let index = key.as_int()?;
        let index = if index < 0 { index + length as i128 } else { index };
        usize::try_from(index).ok().filter(|index| *index < length)
    };
    let found = match value {
        Value::Dict(dict) => key.key().ok().and_then(|key| dict.get(&key).cloned()),
        Value::List(seq) | Value::Tuple(seq) => at(seq.items.len()).map(|index| seq.items[index].clone()),
        Value::Str(whole) | Value::Markup(whole) => {
            machine.charge(whole.len())?;
            at(whole.chars().count()).map(|index| like(value, text::part(whole, index, index + 1)))
        }
        Value::Range(start, _, step) => at(range_length(value))
            .map(|index| Value::Int(i128::from(*start) + i128::from(*step) * index as i128)),
        _ => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    if let Some(name) = key.as_text()
        && let Some(found) = own(machine, value, name)?
    {
        return Ok(found);
    }
    Ok(missing(value, key))
}

/// A text of the same kind.
pub fn like(value: &Value, text: &str) -> Value {
    match value {
        Value::Markup(_) => Value::Markup(text.into()),
        _ => Value::Str(text.into()),
    }
}

fn missing(value: &Value, key: &Value) -> Value {
    let of = match value {
        Value::None => "'None'".to_owned(),
        other => format!("'{} object'", other.kind()),
    };
    match key {
        Value::Str(name) => Value::undefined(format!("{of} has no attribute '{name}'")),
        key => Value::undefined(format!("{of} has no element {}", key.repr())),
    }
}

/// What Python's object has of that name.
fn own(machine: &mut Machine, value: &Value, name: &Text) -> Result<Option<Value>> {
    let forbidden = || {
        Some(Value::Undefined(Rc::new(Missing {
            message: format!(
                "access to attribute '{name}' of '{}' object is unsafe.",
                value.kind()
            ),
            forbidden: true,
        })))
    };
    if name.starts_with("__") && name.ends_with("__") {
        return Ok(forbidden());
    }
    if methods::changes(value, name) {
        return Ok(forbidden());
    }
    if methods::is_known(value, name) {
        return Ok(Some(Value::object(Object::Method(value.clone(), name.clone()))));
    }
    Ok(match value {
        Value::Bool(_) | Value::Int(_) => match &**name {
            "real" | "numerator" => value.as_int().map(Value::Int),
            "imag" => Some(Value::Int(0)),
            "denominator" => Some(Value::Int(1)),
            _ => None,
        },
        Value::Float(number) => match &**name {
            "real" => Some(Value::Float(*number)),
            "imag" => Some(Value::Float(0.0)),
            _ => None,
        },
        Value::Tuple(seq) if seq.group => match &**name {
            "grouper" => seq.items.first().cloned(),
            "list" => seq.items.get(1).cloned(),
            _ => None,
        },
        Value::Range(start, stop, step) => match &**name {
            "start" => Some(Value::Int((*start).into())),
            "stop" => Some(Value::Int((*stop).into())),
            "step" => Some(Value::Int((*step).into())),
            _ => None,
        },
        Value::Object(object) => match &**object {
            Object::Namespace(dict) => dict.borrow().get_text(name).cloned(),
            Object::Loop(state) => of_loop(state, name)?,
            Object::Cycler(seq, at) => match &**name {
                "current" => Some(seq.items[at.get()].clone()),
                "pos" => Some(Value::Int(at.get() as i128)),
                "items" => Some(Value::tuple(seq.items.clone())?),
                _ => None,
            },
            Object::Joiner(separator, used) => match &**name {
                "sep" => Some(Value::Str(separator.clone())),
                "used" => Some(Value::Bool(used.get())),
                _ => None,
            },
            Object::Macro(made, _) => match &**name {
                "name" => Some(Value::Str(made.name.clone())),
                "arguments" => Some(Value::tuple(
                    made.parameters.iter().cloned().map(Value::Str).collect(),
                )?),
                "caller" => Some(Value::Bool(made.caller)),
                "catch_kwargs" => Some(Value::Bool(made.kwargs)),
                "catch_varargs" => Some(Value::Bool(made.varargs)),
                _ => None,
            },
            Object::Function("dict") if &**name == "fromkeys" => {
                Some(Value::object(Object::Function("dict.fromkeys")))
            }
            Object::Block(own) if own.is_empty() && machine.has_block(name) => {
                Some(Value::object(Object::Block(name.clone())))
            }
            _ => None,
        },
        _ => None,
    })
}

fn of_loop(state: &LoopState, name: &str) -> Result<Option<Value>> {
    let (at, length) = (state.at.get(), state.items.items.len());
    let whole = |number: usize| Some(Value::Int(number as i128));
    let neighbour = |index: Option<usize>, words: &str| {
        let found = index.and_then(|index| state.items.items.get(index).cloned());
        Some(found.unwrap_or_else(|| Value::undefined(words)))
    };
    Ok(match name {
        "index" => whole(at + 1),
        "index0" => whole(at),
        "revindex" => whole(length - at),
        "revindex0" => whole(length - at - 1),
        "first" => Some(Value::Bool(at == 0)),
        "last" => Some(Value::Bool(at + 1 == length)),
        "length" => whole(length),
        "depth" => whole(state.depth + 1),
        "depth0" => whole(state.depth),
        "previtem" => neighbour(at.checked_sub(1), "there is no previous item"),
        "nextitem" => neighbour(Some(at + 1), "there is no next item"),
        _ => None,
    })
}

/// `value[start:stop:step]`; none of them where a bound is `None`.
pub fn slice(machine: &mut Machine, value: &Value, bounds: &[Value; 3]) -> Result<Value> {
    let number = |bound: &Value| -> Result<Option<i128>> {
        match bound {
            Value::None => Ok(None),
            bound => bound.as_int().map(Some).ok_or_else(|| {
                Error::fault("slice indices must be integers or None or have an __index__ method")
            }),
        }
    };
    let pick = |length: usize| -> Result<Vec<usize>> {
        let length = length as i128;
        let step = number(&bounds[2])?.unwrap_or(1);
        if step == 0 {
            return Err(Error::fault("slice step cannot be zero"));
        }
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
    };
    if let Value::Undefined(missing) = value {
        return Err(Error::fault(missing.message.clone()));
    }
    let length = match value {
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
    let picked = pick(length)?;
    machine.charge_items(picked.len())?;
    Ok(match value {
        Value::List(seq) => Value::list(picked.into_iter().map(|index| seq.items[index].clone()).collect())?,
        Value::Tuple(seq) => {
            Value::tuple(picked.into_iter().map(|index| seq.items[index].clone()).collect())?
        }
        Value::Range(start, _, step) => {
            let own = i128::from(*step);
            let place = |index: i128| i64::try_from(i128::from(*start) + own * index).unwrap_or(i64::MAX);
            let step = number(&bounds[2])?.unwrap_or(1);
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
                (Some(first), Some(last)) if consecutive => like(value, text::part(whole, *first, *last + 1)),
                _ => {
                    let chars: Vec<char> = whole.chars().collect();
                    let text: String = picked.into_iter().map(|index| chars[index]).collect();
                    like(value, &text)
                }
            }
        }
        _ => unreachable!("it has a length"),
    })
}

/// The keys that a filter's `attribute` names, one within the other: `a.b.0`.
pub fn path(path: &Value) -> Vec<Value> {
    let Some(text) = path.as_text() else {
        return vec![path.clone()];
    };
    let part = |part: &str| match part.parse::<i128>() {
        Ok(number) if text::is_digit(part) => Value::Int(number),
        _ => Value::text(part),
    };
    text.split('.').map(part).collect()
}

/// The entries of a dictionary as tuples.
pub fn pairs(dict: &Dict) -> Result<Vec<Value>> {
    dict.entries()
        .iter()
        .map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()]))
        .collect()
}
