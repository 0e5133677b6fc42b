//! Filters of texts.

use super::super::attributes::{like, pairs};
use super::super::error::Error;
use super::super::functions::Arguments;
use super::super::machine::{Machine, Result};
use super::super::value::{Dict, Value};
use super::super::{methods, ops, text, wrap};
use super::{int, is_true, size};

/// `value|name`, of those without arguments.
pub(super) fn of_text(machine: &mut Machine, name: &str, value: &Value, given: Arguments) -> Result<Value> {
    given.bind(name, &[], 0)?;
    let whole = value.to_text();
    machine.charge(whole.len())?;
    let same = |text: &str| like(value, text);
    Ok(match name {
        "upper" => same(&whole.to_uppercase()),
        "lower" => same(&whole.to_lowercase()),
        "capitalize" => same(&text::capitalize(&whole)),
        "title" => {
            let mut out = String::new();
            let mut begins = true;
            for c in whole.chars() {
                match begins {
                    true => out.extend(c.to_uppercase()),
                    false => out.extend(c.to_lowercase()),
                }
                begins = text::is_space(c) || "-({[<".contains(c);
            }
            Value::text(&out)
        }
        "wordcount" => {
            let word = |c: char| c == '_' || c.is_alphanumeric();
            Value::Int(whole.split(|c| !word(c)).filter(|part| !part.is_empty()).count() as i128)
        }
        "striptags" => Value::text(&strip_tags(&whole)),
        "string" => match value {
            Value::Markup(_) => value.clone(),
            _ => Value::Str(whole),
        },
        "safe" => Value::Markup(whole),
        "escape" | "e" => match value {
            Value::Markup(_) => value.clone(),
            _ => Value::Markup(text::escape(&whole).into()),
        },
        "forceescape" => Value::Markup(text::escape(&whole).into()),
        "urlencode" => url_encoded(machine, value)?,
        "pprint" => match value.repr() {
            line if line.chars().count() <= 80 && !matches!(value, Value::Dict(_)) => Value::text(&line),
            _ => {
                return Err(Machine::unsupported(
                    "`pprint` of a dictionary or of more than a line",
                ));
            }
        },
        _ => return Err(Machine::unsupported(&format!("the filter `{name}`"))),
    })
}

/// The text of HTML: without comments and tags, and each stretch of blanks one.
pub fn strip_tags(text: &str) -> String {
    let mut rest = text.to_owned();
    while let Some(start) = rest.find("<!--") {
        let Some(end) = rest[start..].find("-->") else {
            break;
        };
        rest.replace_range(start..start + end + 3, "");
    }
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>') else {
            break;
        };
        rest.replace_range(start..=start + end, "");
    }
    let words: Vec<&str> = rest
        .split(text::is_space)
        .filter(|word| !word.is_empty())
        .collect();
    let text = words.join(" ");
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#39;", "'"),
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ];
    entities
        .iter()
        .fold(text, |text, (entity, letter)| text.replace(entity, letter))
}

fn url_quoted(text: &str, for_query: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(byte.into()),
            b'/' if !for_query => out.push('/'),
            b' ' if for_query => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn url_encoded(machine: &mut Machine, value: &Value) -> Result<Value> {
    let entries = match value {
        Value::Dict(dict) => pairs(dict)?,
        Value::List(_) | Value::Tuple(_) | Value::Object(_) => machine.iterate(value)?,
        _ => return Ok(Value::text(&url_quoted(&value.to_text(), false))),
    };
    let mut parts = Vec::new();
    for entry in entries {
        match &machine.iterate(&entry)?[..] {
            [key, value] => parts.push(format!(
                "{}={}",
                url_quoted(&key.to_text(), true),
                url_quoted(&value.to_text(), true)
            )),
            _ => return Err(Error::fault("urlencode needs pairs")),
        }
    }
    Ok(Value::text(&parts.join("&")))
}

/// `value|xmlattr`.
pub(super) fn xml_attributes(value: &Value, space: bool) -> Result<Value> {
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
            text::escape(&name),
            text::escape(&value.to_text())
        ));
    }
    let blank = if space && !parts.is_empty() { " " } else { "" };
    Ok(Value::text(&format!("{blank}{}", parts.join(" "))))
}

/// `value|name(…)`, of those that lay a text out.
pub(super) fn laid_out(machine: &mut Machine, name: &str, value: Value, given: Arguments) -> Result<Value> {
    let whole = value.to_text();
    machine.charge(whole.len())?;
    let text_or =
        |value: Option<Value>, default: &str| value.map_or_else(|| default.into(), |value| value.to_text());
    Ok(match name {
        "trim" => {
            let [chars] = given.bind_array(name, ["chars"], 0)?;
            let strip = Arguments {
                positional: chars.into_iter().collect(),
                ..Arguments::default()
            };
            methods::call(machine, &like(&value, &whole), &"strip".into(), strip)?
        }
        "replace" => {
            let [old, new, count] = given.bind_array(name, ["old", "new", "count"], 2)?;
            let count = match count {
                Some(Value::None) => None,
                count => count,
            };
            let count = usize::try_from(int(&count, -1)?).unwrap_or(usize::MAX);
            let (old, new) = (text_or(old, ""), text_or(new, ""));
            Value::text(&methods::replaced(machine, &whole, &old, &new, count)?)
        }
        "center" => {
            let [width] = given.bind_array(name, ["width"], 0)?;
            let center = Arguments {
                positional: vec![width.unwrap_or(Value::Int(80))],
                ..Arguments::default()
            };
            methods::call(machine, &like(&value, &whole), &"center".into(), center)?
        }
        "truncate" => {
            let [length, kill, end, leeway] =
                given.bind_array(name, ["length", "killwords", "end", "leeway"], 0)?;
            let (length, end) = (size(&length, 255)?, text_or(end, "..."));
            let leeway = match leeway {
                Some(Value::None) | None => 5,
                leeway => size(&leeway, 5)?,
            };
            let ends = end.chars().count();
            if length < ends {
                return Err(Error::fault(format!("expected length >= {ends}, got {length}")));
            }
            if value.length()? <= length.saturating_add(leeway) {
                return Ok(value);
            }
            let kept = text::part(&whole, 0, length - ends);
            let kept = match is_true(&kill) {
                true => kept,
                false => kept.rsplit_once(' ').map_or(kept, |(before, _)| before),
            };
            like(&value, &format!("{kept}{end}"))
        }
        "indent" => {
            let [width, first, blank] = given.bind_array(name, ["width", "first", "blank"], 0)?;
            let indention = match &width {
                Some(Value::Str(text) | Value::Markup(text)) => text.to_string(),
                width => {
                    let width = size(width, 4)?;
                    machine.charge(width)?;
                    " ".repeat(width)
                }
            };
            if value.as_text().is_none() {
                return Err(Error::fault(format!("indent needs a text, not {}", value.kind())));
            }
            let ended = format!("{whole}\n");
            let lines = text::lines(&ended, false);
            machine.charge(lines.len().saturating_mul(indention.len()))?;
            let mut out = String::new();
            for (index, line) in lines.iter().enumerate() {
                if index > 0 {
                    out.push('\n');
                }
                let indented = if index == 0 {
                    is_true(&first)
                } else {
                    is_true(&blank) || !line.is_empty()
                };
                if indented {
                    out.push_str(&indention);
                }
                out.push_str(line);
            }
            like(&value, &out)
        }
        "wordwrap" => {
            let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
            let [width, long, with, hyphens] = given.bind_array(name, names, 0)?;
            let with = match with {
                Some(Value::None) | None => "\n".into(),
                with => text_or(with, "\n"),
            };
            let settings = wrap::Settings {
                width: size(&width, 79)?,
                break_long_words: long.is_none_or(|value| value.is_true()),
                break_on_hyphens: hyphens.is_none_or(|value| value.is_true()),
            };
            let mut out = Vec::new();
            for line in text::lines(&whole, false) {
                let wrapped = wrap::wrap(line, &settings)?;
                out.push(wrapped.join(&*with));
            }
            Value::text(&out.join(&*with))
        }
        _ => {
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
            ops::percent(machine, &like(&value, &whole), &arguments)?
        }
    })
}
