//! Filters of texts.

use super::{charged, is_true, plain, size};
use crate::jinja::ast::Text;
use crate::jinja::attributes::methods;
use crate::jinja::call::{self, Arguments, Call};
use crate::jinja::error::{Error, Result};
use crate::jinja::runtime::Runtime;
use crate::jinja::value::{Dict, Value};
use crate::jinja::wrap::{WrapOptions, wrap};
use crate::jinja::{ops, text};

pub(super) fn upper(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, text) = plain(runtime, call)?;
    Ok(value.like(&text.to_uppercase()))
}

pub(super) fn lower(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, text) = plain(runtime, call)?;
    Ok(value.like(&text.to_lowercase()))
}

pub(super) fn capitalize(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, text) = plain(runtime, call)?;
    Ok(value.like(&text::capitalize(&text)))
}

pub(super) fn title(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (_, text) = plain(runtime, call)?;
    let mut out = String::new();
    let mut begins = true;
    for c in text.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        begins = text::is_space(c) || "-({[<".contains(c);
    }
    Ok(Value::text(&out))
}

pub(super) fn wordcount(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (_, text) = plain(runtime, call)?;
    let in_word = |c: char| c == '_' || c.is_alphanumeric();
    let words = text.split(|c| !in_word(c)).filter(|part| !part.is_empty());
    Ok(Value::Int(words.count() as i128))
}

pub(super) fn pprint(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, _) = plain(runtime, call)?;
    match value.repr() {
        line if line.chars().count() <= 80 && !matches!(value, Value::Dict(_)) => Ok(Value::text(&line)),
        _ => Err(Error::unsupported(
            "`pprint` of a dictionary or of more than a line",
        )),
    }
}

fn text_or(value: Option<Value>, default: &str) -> Text {
    value.map_or_else(|| default.into(), |value| value.to_text())
}

pub(super) fn trim(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let text = charged(runtime, call.value)?;
    let (value, [chars]) = call.bind(["chars"], 0)?;
    let given = Arguments::from_positional(chars.into_iter().collect());
    methods::call(runtime, &value.like(&text), "strip", given)
}

pub(super) fn center(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let text = charged(runtime, call.value)?;
    let (value, [width]) = call.bind(["width"], 0)?;
    let given = Arguments::from_positional(vec![width.unwrap_or(Value::Int(80))]);
    methods::call(runtime, &value.like(&text), "center", given)
}

pub(super) fn replace(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let text = charged(runtime, call.value)?;
    let (_, [old, new, count]) = call.bind(["old", "new", "count"], 2)?;
    let count = count.filter(|count| !matches!(count, Value::None));
    let count = usize::try_from(call::int(&count, -1)?).unwrap_or(usize::MAX);
    let (old, new) = (text_or(old, ""), text_or(new, ""));
    Ok(Value::text(&methods::replaced(
        runtime, &text, &old, &new, count,
    )?))
}

pub(super) fn truncate(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let text = charged(runtime, call.value)?;
    let (value, [length, kill, end, leeway]) = call.bind(["length", "killwords", "end", "leeway"], 0)?;
    let (length, end) = (size(&length, 255)?, text_or(end, "..."));
    let leeway = size(&leeway.filter(|leeway| !matches!(leeway, Value::None)), 5)?;
    let ends = end.chars().count();
    if length < ends {
        return Err(Error::fault(format!("expected length >= {ends}, got {length}")));
    }
    if value.length()? <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let kept = text::part(&text, 0, length - ends);
    let kept = match is_true(&kill) {
        true => kept,
        false => kept.rsplit_once(' ').map_or(kept, |(before, _)| before),
    };
    Ok(value.like(&format!("{kept}{end}")))
}

pub(super) fn indent(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let text = charged(runtime, call.value)?;
    let (value, [width, first, blank]) = call.bind(["width", "first", "blank"], 0)?;
    let indention = match &width {
        Some(Value::Str(text) | Value::Markup(text)) => text.to_string(),
        width => {
            let width = size(width, 4)?;
            runtime.charge(width)?;
            " ".repeat(width)
        }
    };
    if value.as_text().is_none() {
        return Err(Error::fault(format!("indent needs a text, not {}", value.kind())));
    }
    let ended = format!("{text}\n");
    let lines = text::lines(&ended, false);
    runtime.charge(lines.len().saturating_mul(indention.len()))?;
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let indented = match index {
            0 => is_true(&first),
            _ => is_true(&blank) || !line.is_empty(),
        };
        if indented {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(value.like(&out))
}

pub(super) fn wordwrap(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let text = charged(runtime, call.value)?;
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let (_, [width, long, with, hyphens]) = call.bind(names, 0)?;
    let with = text_or(with.filter(|with| !matches!(with, Value::None)), "\n");
    let options = WrapOptions {
        width: size(&width, 79)?,
        break_long_words: long.is_none_or(|value| value.is_true()),
        break_on_hyphens: hyphens.is_none_or(|value| value.is_true()),
    };
    let mut out = Vec::new();
    for line in text::lines(&text, false) {
        let wrapped = wrap(line, &options)?;
        out.push(wrapped.join(&*with));
    }
    Ok(Value::text(&out.join(&*with)))
}

pub(super) fn format(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let text = charged(runtime, call.value)?;
    let given = call.arguments;
    let arguments = match (given.positional.is_empty(), given.keywords.is_empty()) {
        (false, false) => {
            return Err(Error::fault(
                "can't handle positional and keyword arguments at the same time",
            ));
        }
        (true, false) => {
            let mut dict = Dict::default();
            for (name, value) in given.keywords {
                dict.insert(Value::Str(name), value)?;
            }
            Value::dict(dict)
        }
        _ => Value::tuple(given.positional)?,
    };
    ops::percent(runtime, &call.value.like(&text), &arguments)
}
