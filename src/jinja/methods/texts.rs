//! Methods of strings.

use super::super::ast::Text;
use super::super::attributes::{self, like};
use super::super::error::Error;
use super::super::format::{self, Piece};
use super::super::functions::Arguments;
use super::super::machine::{Machine, Result};
use super::super::value::Value;
use super::super::{filters, text};
use super::bounds;

fn text_of<'a>(value: &'a Option<Value>, what: &str) -> Result<&'a str> {
    match value.as_ref() {
        Some(Value::Str(text) | Value::Markup(text)) => Ok(text),
        Some(other) => Err(Error::fault(format!("{what} must be str, not {}", other.kind()))),
        None => Err(Error::fault(format!("{what} is missing"))),
    }
}

fn int_of(value: &Option<Value>, default: i128) -> Result<i128> {
    match value {
        None => Ok(default),
        Some(value) => value.as_int().ok_or_else(|| {
            let kind = value.kind();
            Error::fault(format!("'{kind}' object cannot be interpreted as an integer"))
        }),
    }
}

/// Calls a method of `text`, which is that of `of`.
pub(super) fn of_text(
    machine: &mut Machine,
    of: &Value,
    text: &Text,
    name: &str,
    given: Arguments,
) -> Result<Value> {
    let boolean = |value: bool| Ok(Value::Bool(value));
    let same = |text: &str| Ok(like(of, text));
    match name {
        "format" => return formatted(machine, of, text, &given),
        "format_map" => {
            let [mapping] = given.bind_array(name, ["/mapping"], 1)?;
            let Some(Value::Dict(dict)) = mapping else {
                return Err(Error::fault("format_map() needs a dictionary"));
            };
            let mut given = Arguments::default();
            for (key, value) in dict.entries() {
                given.keywords.push((key.to_text(), value.clone()));
            }
            return formatted(machine, of, text, &given);
        }
        "split" | "rsplit" => {
            let [separator, most] = given.bind_array(name, ["sep", "maxsplit"], 0)?;
            let separator = separator.filter(|value| !matches!(value, Value::None));
            let most = usize::try_from(int_of(&most, -1)?).unwrap_or(usize::MAX);
            let parts = match &separator {
                None => split_blanks(text, most, name == "rsplit"),
                Some(_) => match (text_of(&separator, "the separator")?, name) {
                    ("", _) => return Err(Error::fault("empty separator")),
                    (separator, "split") => text.splitn(most.saturating_add(1), separator).collect(),
                    (separator, _) => {
                        let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), separator).collect();
                        parts.reverse();
                        parts
                    }
                },
            };
            return all_like(machine, of, &parts);
        }
        "splitlines" => {
            let [keep] = given.bind_array(name, ["keepends"], 0)?;
            let parts = text::lines(text, keep.is_some_and(|value| value.is_true()));
            return all_like(machine, of, &parts);
        }
        "join" => {
            let [items] = given.bind_array(name, ["/iterable"], 1)?;
            let items = machine.iterate(&items.unwrap_or(Value::None))?;
            let mut joined = String::new();
            for (index, item) in items.iter().enumerate() {
                let part = item.as_text().ok_or_else(|| {
                    Error::fault(format!(
                        "sequence item {index}: expected str instance, {} found",
                        item.kind()
                    ))
                })?;
                machine.charge(text.len() + part.len())?;
                if index > 0 {
                    joined.push_str(text);
                }
                match (of, item) {
                    (Value::Markup(_), Value::Str(part)) => joined.push_str(&text::escape(part)),
                    _ => joined.push_str(part),
                }
            }
            return same(&joined);
        }
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = given.bind_array(name, ["/chars"], 0)?;
            let chars: Option<Vec<char>> = match chars {
                None | Some(Value::None) => None,
                chars => Some(text_of(&chars, "strip arg")?.chars().collect()),
            };
            let fits = |c: char| match &chars {
                Some(chars) => chars.contains(&c),
                None => text::is_space(c),
            };
            return same(match name {
                "strip" => text.trim_matches(fits),
                "lstrip" => text.trim_start_matches(fits),
                _ => text.trim_end_matches(fits),
            });
        }
        "startswith" | "endswith" => {
            let [affix, start, stop] = given.bind_array(name, ["/prefix", "/start", "/end"], 1)?;
            let (start, stop) = bounds(text.chars().count(), start.as_ref(), stop.as_ref())?;
            let part = text::part(text, start, stop);
            let affix = affix.unwrap_or(Value::None);
            let affixes = match &affix {
                Value::Tuple(seq) => seq.items.clone(),
                _ => vec![affix.clone()],
            };
            for affix in affixes {
                let Some(affix) = affix.as_text() else {
                    let kind = affix.kind();
                    return Err(Error::fault(format!(
                        "{name} first arg must be str or a tuple of str, not {kind}"
                    )));
                };
                let there = match name {
                    "startswith" => part.starts_with(&**affix),
                    _ => part.ends_with(&**affix),
                };
                if there {
                    return boolean(true);
                }
            }
            return boolean(false);
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [wanted, start, stop] = given.bind_array(name, ["/sub", "/start", "/end"], 1)?;
            let (start, stop) = bounds(text.chars().count(), start.as_ref(), stop.as_ref())?;
            let part = text::part(text, start, stop);
            let wanted = text_of(&wanted, "what is looked for")?;
            if name == "count" {
                return Ok(Value::Int(part.matches(wanted).count() as i128));
            }
            let found = match name.starts_with('r') {
                true => part.rfind(wanted),
                false => part.find(wanted),
            };
            return match found {
                Some(at) => Ok(Value::Int((start + part[..at].chars().count()) as i128)),
                None if name.ends_with("find") => Ok(Value::Int(-1)),
                None => Err(Error::fault("substring not found")),
            };
        }
        "replace" => {
            let [old, new, count] = given.bind_array(name, ["/old", "/new", "/count"], 2)?;
            let (old, new) = (
                text_of(&old, "replace() argument 1")?,
                text_of(&new, "replace() argument 2")?,
            );
            let count = usize::try_from(int_of(&count, -1)?).unwrap_or(usize::MAX);
            let new = match of {
                Value::Markup(_) => text::escape(new),
                _ => new.to_owned(),
            };
            return same(&replaced(machine, text, old, &new, count)?);
        }
        "partition" | "rpartition" => {
            let [separator] = given.bind_array(name, ["/sep"], 1)?;
            let separator = text_of(&separator, "the separator")?;
            if separator.is_empty() {
                return Err(Error::fault("empty separator"));
            }
            let parts = match name {
                "partition" => match text.split_once(separator) {
                    Some((before, after)) => [before, separator, after],
                    None => [text, "", ""],
                },
                _ => match text.rsplit_once(separator) {
                    Some((before, after)) => [before, separator, after],
                    None => ["", "", text],
                },
            };
            return Value::tuple(parts.iter().map(|part| like(of, part)).collect());
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = given.bind_array(name, ["/affix"], 1)?;
            let affix = text_of(&affix, "the affix")?;
            let rest = match name {
                "removeprefix" => text.strip_prefix(affix),
                _ => text.strip_suffix(affix),
            };
            return same(rest.unwrap_or(text));
        }
        "ljust" | "rjust" | "center" => {
            let [width, fill] = given.bind_array(name, ["/width", "/fillchar"], 1)?;
            let width = usize::try_from(int_of(&width, 0)?).unwrap_or(0);
            let fill = match &fill {
                None => ' ',
                Some(_) => {
                    let mut chars = text_of(&fill, "The fill character")?.chars();
                    match (chars.next(), chars.next()) {
                        (Some(fill), None) => fill,
                        _ => {
                            return Err(Error::fault(
                                "The fill character must be exactly one character long",
                            ));
                        }
                    }
                }
            };
            let length = text.chars().count();
            let missing = width.saturating_sub(length);
            machine.charge(missing.saturating_mul(fill.len_utf8()))?;
            let before = match name {
                "ljust" => 0,
                "rjust" => missing,
                // Python's own rule for the odd one.
                _ => missing / 2 + (missing & width & 1),
            };
            let blanks = |count: usize| fill.to_string().repeat(count);
            return same(&format!("{}{text}{}", blanks(before), blanks(missing - before)));
        }
        "zfill" => {
            let [width] = given.bind_array(name, ["/width"], 1)?;
            let width = usize::try_from(int_of(&width, 0)?).unwrap_or(0);
            let missing = width.saturating_sub(text.chars().count());
            machine.charge(missing)?;
            let (sign, digits) = match text.starts_with(['+', '-']) {
                true => text.split_at(1),
                false => ("", &**text),
            };
            return same(&format!("{sign}{}{digits}", "0".repeat(missing)));
        }
        "expandtabs" => {
            let [size] = given.bind_array(name, ["tabsize"], 0)?;
            let size = usize::try_from(int_of(&size, 8)?).unwrap_or(0).min(1000);
            let (mut out, mut column) = (String::new(), 0);
            for c in text.chars() {
                match c {
                    '\t' => {
                        let blanks = if size == 0 { 0 } else { size - column % size };
                        machine.charge(blanks)?;
                        out.extend(std::iter::repeat_n(' ', blanks));
                        column += blanks;
                    }
                    '\n' | '\r' => {
                        out.push(c);
                        column = 0;
                    }
                    c => {
                        out.push(c);
                        column += 1;
                    }
                }
            }
            return same(&out);
        }
        "encode" | "maketrans" | "translate" | "unescape" | "escape" => {
            return Err(Machine::unsupported(&format!("the method `{name}` of str")));
        }
        _ => {}
    }
    given.bind(name, &[], 0)?;
    match name {
        "upper" => same(&text.to_uppercase()),
        "lower" => same(&text.to_lowercase()),
        "casefold" => same(&text.to_lowercase().replace('ß', "ss")),
        "capitalize" => same(&text::capitalize(text)),
        "title" => same(&text::title(text)),
        "swapcase" => same(&text::swap_case(text)),
        "striptags" => Ok(Value::text(&filters::strip_tags(text))),
        "isalpha" => boolean(text::is_alpha(text)),
        "isalnum" => boolean(text::is_alnum(text)),
        "isascii" => boolean(text.is_ascii()),
        "isdecimal" => boolean(text::is_decimal(text)),
        "isdigit" => boolean(text::is_digit(text)),
        "isnumeric" => boolean(text::is_numeric(text)),
        "isidentifier" => boolean(
            text.starts_with(|c: char| c == '_' || c.is_alphabetic())
                && text.chars().all(|c| c == '_' || c.is_alphanumeric()),
        ),
        "islower" => boolean(text::has_case(text, false)),
        "isupper" => boolean(text::has_case(text, true)),
        "istitle" => boolean(text::is_title(text)),
        "isspace" => boolean(!text.is_empty() && text.chars().all(text::is_space)),
        _ => boolean(text.chars().all(text::is_printable)),
    }
}

fn all_like(machine: &mut Machine, of: &Value, parts: &[&str]) -> Result<Value> {
    machine.charge_items(parts.len())?;
    Value::list(parts.iter().map(|part| like(of, part)).collect())
}

/// `text.replace(old, new, count)`.
pub fn replaced(machine: &mut Machine, text: &str, old: &str, new: &str, count: usize) -> Result<String> {
    let matches = text.matches(old).take(count).count();
    machine.charge(text.len().saturating_add(matches.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, count))
}

/// `split` at white space, from the right or from the left.
fn split_blanks(text: &str, most: usize, from_right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if from_right {
        text.trim_end_matches(text::is_space)
    } else {
        text.trim_start_matches(text::is_space)
    };
    while !rest.is_empty() {
        if parts.len() == most {
            // The rest as it is, but for the blanks towards the other parts.
            parts.push(rest);
            break;
        }
        let found = if from_right {
            rest.rfind(text::is_space)
        } else {
            rest.find(text::is_space)
        };
        let Some(at) = found else {
            parts.push(rest);
            break;
        };
        if from_right {
            let width = rest[at..].chars().next().map_or(1, char::len_utf8);
            parts.push(&rest[at + width..]);
            rest = rest[..at].trim_end_matches(text::is_space);
        } else {
            parts.push(&rest[..at]);
            rest = rest[at..].trim_start_matches(text::is_space);
        }
    }
    if from_right {
        parts.reverse();
    }
    parts
}

/// `text.format(…)`, whose fields reach no further than a template does.
fn formatted(machine: &mut Machine, of: &Value, text: &str, given: &Arguments) -> Result<Value> {
    let mut next = 0;
    let out = formatted_pieces(machine, of, text, given, &mut next, 0)?;
    Ok(like(of, &out))
}

fn formatted_pieces(
    machine: &mut Machine,
    of: &Value,
    text: &str,
    given: &Arguments,
    next: &mut usize,
    depth: usize,
) -> Result<String> {
    if depth > 2 {
        return Err(Error::fault("Max string recursion exceeded"));
    }
    let mut out = String::new();
    for piece in format::pieces(text)? {
        let (name, conversion, spec) = match piece {
            Piece::Letters(letters) => {
                machine.charge(letters.len())?;
                out.push_str(&letters);
                continue;
            }
            Piece::Field(name, conversion, spec) => (name, conversion, spec),
        };
        let mut value = field(machine, name, given, next)?;
        if let Some(conversion) = conversion {
            value = format::converted(&value, conversion);
        }
        let spec = formatted_pieces(machine, of, spec, given, next, depth + 1)?;
        let laid_out = format::spec(&value, &spec)?;
        machine.charge(laid_out.len())?;
        match (of, &value) {
            (Value::Markup(_), Value::Markup(_)) | (Value::Str(_), _) => out.push_str(&laid_out),
            _ => out.push_str(&text::escape(&laid_out)),
        }
    }
    Ok(out)
}

/// The value of `{name.attribute[key]}`.
fn field(machine: &mut Machine, name: &str, given: &Arguments, next: &mut usize) -> Result<Value> {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(end);
    let at = match first {
        "" => {
            *next += 1;
            Some(*next - 1)
        }
        digits => digits.parse::<usize>().ok(),
    };
    let mut value = match at {
        Some(index) => given.positional.get(index).cloned().ok_or_else(|| {
            Error::fault(format!(
                "Replacement index {index} out of range for positional args tuple"
            ))
        })?,
        None => {
            let found = given.keywords.iter().find(|(known, _)| &**known == first);
            found
                .map(|(_, value)| value.clone())
                .ok_or_else(|| Error::fault(format!("KeyError: '{first}'")))?
        }
    };
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('[') {
            let (key, after) = behind
                .split_once(']')
                .ok_or_else(|| Error::fault("Missing ']' in format string"))?;
            let key = match key.parse::<i128>() {
                Ok(number) if text::is_digit(key) => Value::Int(number),
                _ => Value::text(key),
            };
            value = attributes::item(machine, &value, &key)?;
            rest = after;
        } else {
            let behind = rest
                .strip_prefix('.')
                .ok_or_else(|| Error::fault("Only '.' or '[' may follow ']' in format field specifier"))?;
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            value = attributes::attribute(machine, &value, &behind[..end].into())?;
            rest = &behind[end..];
        }
    }
    Ok(value)
}
