//! Filters of HTML and URLs.

use super::plain;
use crate::jinja::call::Call;
use crate::jinja::error::{Error, Result};
use crate::jinja::html;
use crate::jinja::runtime::Runtime;
use crate::jinja::value::Value;

pub(super) fn string(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, text) = plain(runtime, call)?;
    Ok(match value {
        Value::Markup(_) => value.clone(),
        _ => Value::Str(text),
    })
}

pub(super) fn safe(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (_, text) = plain(runtime, call)?;
    Ok(Value::Markup(text))
}

pub(super) fn escape(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, text) = plain(runtime, call)?;
    Ok(match value {
        Value::Markup(_) => value.clone(),
        _ => Value::Markup(html::escape(&text).into()),
    })
}

pub(super) fn forceescape(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (_, text) = plain(runtime, call)?;
    Ok(Value::Markup(html::escape(&text).into()))
}

pub(super) fn striptags(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (_, text) = plain(runtime, call)?;
    Ok(Value::text(&html::strip_tags(&text)))
}

pub(super) fn urlize(runtime: &mut Runtime, call: Call) -> Result<Value> {
    plain(runtime, call)?;
    Err(Error::unsupported("the filter `urlize`"))
}

pub(super) fn urlencode(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, text) = plain(runtime, call)?;
    let entries = match value {
        Value::Dict(dict) => dict.pairs()?,
        Value::List(_) | Value::Tuple(_) | Value::Object(_) => runtime.iterate(value)?,
        _ => return Ok(Value::text(&html::url_quoted(&text, false))),
    };
    let mut parts = Vec::new();
    for entry in entries {
        match &runtime.iterate(&entry)?[..] {
            [key, value] => parts.push(format!(
                "{}={}",
                html::url_quoted(&key.to_text(), true),
                html::url_quoted(&value.to_text(), true)
            )),
            _ => return Err(Error::fault("urlencode needs pairs")),
        }
    }
    Ok(Value::text(&parts.join("&")))
}

pub(super) fn xmlattr(_: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [space]) = call.bind(["autospace"], 0)?;
    let space = space.is_none_or(|space| space.is_true());
    let Value::Dict(dict) = value else {
        return Err(Error::fault("xmlattr needs a dictionary"));
    };
    let mut parts = Vec::new();
    for (key, value) in dict.entries() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let name = key.to_text();
        if name.contains(|c: char| c.is_ascii_whitespace() || "/>=".contains(c)) {
            return Err(Error::fault(format!(
                "Invalid character in attribute name: {}",
                key.repr()
            )));
        }
        parts.push(format!(
            "{}=\"{}\"",
            html::escape(&name),
            html::escape(&value.to_text())
        ));
    }
    let blank = if space && !parts.is_empty() { " " } else { "" };
    Ok(Value::text(&format!("{blank}{}", parts.join(" "))))
}
