//! Methods of strings that look for another string.

use super::{bounds, text_of};
use crate::jinja::call::Call;
use crate::jinja::error::{Error, Result};
use crate::jinja::runtime::Runtime;
use crate::jinja::text;
use crate::jinja::value::Value;

/// Returns the position of the string in the first argument, in characters.
fn position(text: &str, call: Call, find: fn(&str, &str) -> Option<usize>) -> Result<Option<usize>> {
    let (part, start, wanted) = searched(text, call)?;
    let found = find(part, text_of(&wanted, "what is looked for")?);
    Ok(found.map(|at| start + part[..at].chars().count()))
}

/// Binds the arguments of `find`: the part of the string to search, its start in characters, and
/// what to search for.
fn searched<'t>(text: &'t str, call: Call) -> Result<(&'t str, usize, Option<Value>)> {
    let (_, [wanted, start, stop]) = call.bind(["/sub", "/start", "/end"], 1)?;
    let (start, stop) = bounds(text.chars().count(), start.as_ref(), stop.as_ref())?;
    Ok((text::part(text, start, stop), start, wanted))
}

fn first(text: &str, wanted: &str) -> Option<usize> {
    text.find(wanted)
}

fn last(text: &str, wanted: &str) -> Option<usize> {
    text.rfind(wanted)
}

fn or_minus_one(found: Option<usize>) -> Result<Value> {
    Ok(Value::Int(found.map_or(-1, |at| at as i128)))
}

fn or_fail(found: Option<usize>) -> Result<Value> {
    let found = found.ok_or_else(|| Error::fault("substring not found"))?;
    Ok(Value::Int(found as i128))
}

pub(super) fn find(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    or_minus_one(position(text, call, first)?)
}

pub(super) fn rfind(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    or_minus_one(position(text, call, last)?)
}

pub(super) fn index(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    or_fail(position(text, call, first)?)
}

pub(super) fn rindex(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    or_fail(position(text, call, last)?)
}

pub(super) fn count(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (part, _, wanted) = searched(text, call)?;
    let wanted = text_of(&wanted, "what is looked for")?;
    Ok(Value::Int(part.matches(wanted).count() as i128))
}

pub(super) fn starts_with(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    has_affix(text, call, |part, affix| part.starts_with(affix))
}

pub(super) fn ends_with(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    has_affix(text, call, |part, affix| part.ends_with(affix))
}

/// Returns whether `has` is true of the string and one of the affixes in the first argument.
fn has_affix(text: &str, call: Call, has: fn(&str, &str) -> bool) -> Result<Value> {
    let name = call.name;
    let (_, [affix, start, stop]) = call.bind(["/prefix", "/start", "/end"], 1)?;
    let (start, stop) = bounds(text.chars().count(), start.as_ref(), stop.as_ref())?;
    let part = text::part(text, start, stop);
    let affix = affix.unwrap_or(Value::None);
    let affixes: &[Value] = match &affix {
        Value::Tuple(seq) => &seq.items,
        _ => std::slice::from_ref(&affix),
    };
    for affix in affixes {
        let Some(affix) = affix.as_text() else {
            let kind = affix.kind();
            return Err(Error::fault(format!(
                "{name} first arg must be str or a tuple of str, not {kind}"
            )));
        };
        if has(part, affix) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub(super) fn partition(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [separator]) = call.bind(["/sep"], 1)?;
    let separator = separator_of(&separator)?;
    let parts = match text.split_once(separator) {
        Some((before, after)) => [before, separator, after],
        None => [text, "", ""],
    };
    Value::tuple(parts.map(|part| of.like(part)).to_vec())
}

pub(super) fn rpartition(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [separator]) = call.bind(["/sep"], 1)?;
    let separator = separator_of(&separator)?;
    let parts = match text.rsplit_once(separator) {
        Some((before, after)) => [before, separator, after],
        None => ["", "", text],
    };
    Value::tuple(parts.map(|part| of.like(part)).to_vec())
}

/// Returns the characters of a separator, which must not be empty.
pub(super) fn separator_of(separator: &Option<Value>) -> Result<&str> {
    match text_of(separator, "the separator")? {
        "" => Err(Error::fault("empty separator")),
        separator => Ok(separator),
    }
}

pub(super) fn remove_prefix(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [affix]) = call.bind(["/affix"], 1)?;
    let rest = text.strip_prefix(text_of(&affix, "the affix")?);
    Ok(of.like(rest.unwrap_or(text)))
}

pub(super) fn remove_suffix(_: &mut Runtime, text: &str, call: Call) -> Result<Value> {
    let (of, [affix]) = call.bind(["/affix"], 1)?;
    let rest = text.strip_suffix(text_of(&affix, "the affix")?);
    Ok(of.like(rest.unwrap_or(text)))
}
