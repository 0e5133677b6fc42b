//! What a grammar may cost. The library bounds its own work in most places, but not everywhere: a
//! long chain of references overflows the stack, which ends the process; `multipleOf` takes time
//! and memory with the square of its number; a long text is copied at every token. So all of this
//! is checked before a grammar is compiled.

use std::collections::HashSet;

use anyhow::{Result, bail};
use serde_json::Value;

use super::GrammarSource;

/// The most values in a schema, except for those to choose from.
const MOST_VALUES: usize = 30_000;

/// The most fields of one object, and alternatives or parts of one schema.
const MOST_PARTS: usize = 1000;

/// The longest text, name or pattern, in bytes.
const LONGEST_TEXT: usize = 4096;

/// The most levels of all definitions that a schema refers to, put into one another.
const DEEPEST: usize = 2000;

/// The largest number that answers are multiples of, or that they are multiples of together.
const LARGEST_FACTOR: u64 = 20_000;

/// The most parts of a regular expression whose repetitions are written out.
const MOST_REPEATED: u64 = 10_000;

/// The longest grammar, in bytes, and the most definitions and fields in it.
const LONGEST_GRAMMAR: usize = 64 << 10;
const MOST_RULES: usize = 1000;

/// Fails on what would cost too much.
pub fn check(source: &GrammarSource) -> Result<()> {
    match source {
        GrammarSource::Schema(schema) => check_schema(schema),
        GrammarSource::Regex(pattern) => check_regex(pattern),
        GrammarSource::Choice(texts) => texts.iter().try_for_each(|text| check_text(text)),
        GrammarSource::Lark(lark) => check_lark(lark),
        GrammarSource::OrCalls(answer, marks) => {
            check(answer)?;
            marks.bare.as_ref().map_or(Ok(()), check_schema)
        }
    }
}

fn check_text(text: &str) -> Result<()> {
    if text.len() > LONGEST_TEXT {
        bail!("a text of {} bytes, want at most {LONGEST_TEXT}", text.len());
    }
    Ok(())
}

fn check_regex(pattern: &str) -> Result<()> {
    check_text(pattern)?;
    check_repetitions(pattern)
}

/// Fails on repetitions that are long when they are written out.
fn check_repetitions(pattern: &str) -> Result<()> {
    if is_verbose(pattern) {
        bail!("a regular expression with the flag `x`, which is not served here");
    }
    let parts = expanded(pattern);
    if parts > MOST_REPEATED {
        bail!("a regular expression whose repetitions have {parts} parts, want at most {MOST_REPEATED}");
    }
    Ok(())
}

fn check_lark(lark: &str) -> Result<()> {
    if lark.len() > LONGEST_GRAMMAR {
        bail!(
            "a grammar of {} bytes, want at most {LONGEST_GRAMMAR}",
            lark.len()
        );
    }
    // Each definition has one, and each field of a schema within the grammar.
    let rules = lark.matches(':').count();
    if rules > MOST_RULES {
        bail!("a grammar of {rules} definitions, want at most {MOST_RULES}");
    }
    // Names of such a schema could be spelled so that they are not seen here.
    if lark.contains("%json") && lark.contains("\\u") {
        bail!(
            "a schema within a grammar with `\\u`, which is not served here\nhint: write the letter itself"
        );
    }
    let factors = lark.split("\"multipleOf\"").skip(1).filter_map(|behind| {
        let number = behind.trim_start_matches([':', ' ', '\t', '\r', '\n']);
        let end = number.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        serde_json::from_str::<Value>(&number[..end.unwrap_or(number.len())]).ok()
    });
    check_factors(&factors.collect::<Vec<Value>>(), true)?;
    check_repetitions(lark)
}

/// What is counted in a schema.
#[derive(Default)]
struct Counts<'a> {
    values: usize,
    factors: Vec<Value>,
    targets: HashSet<&'a str>,
    has_combinations: bool,
}

fn check_schema(schema: &Value) -> Result<()> {
    let mut counts = Counts::default();
    count(schema, &mut counts)?;
    if counts.values > MOST_VALUES {
        bail!("a schema of {} values, want at most {MOST_VALUES}", counts.values);
    }
    check_factors(&counts.factors, counts.has_combinations)?;
    let mut levels = depth(schema);
    for target in counts.targets {
        let found = target
            .strip_prefix('#')
            .and_then(|pointer| schema.pointer(pointer));
        // What is not found is refused when the schema is compiled.
        levels += found.map_or(0, depth);
    }
    if levels > DEEPEST {
        bail!("a schema whose definitions have {levels} levels, want at most {DEEPEST}");
    }
    Ok(())
}

/// Counts a schema and what is in it, and checks single values. Bodies of requests are not nested
/// deeply enough to overflow a stack.
fn count<'a>(schema: &'a Value, counts: &mut Counts<'a>) -> Result<()> {
    counts.values += 1;
    match schema {
        Value::Object(fields) => {
            if fields.len() > MOST_PARTS {
                bail!("an object of {} fields, want at most {MOST_PARTS}", fields.len());
            }
            for (name, value) in fields {
                check_text(name)?;
                match (name.as_str(), value) {
                    ("enum", Value::Array(choices)) => check_choices(choices)?,
                    ("pattern", Value::String(pattern)) => check_regex(pattern)?,
                    ("multipleOf", Value::Number(_)) => counts.factors.push(value.clone()),
                    ("$ref", Value::String(target)) => {
                        counts.has_combinations = true;
                        counts.targets.insert(target);
                    }
                    // For people.
                    ("title" | "description" | "$comment", Value::String(_)) => {}
                    ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(parts))
                        if parts.len() > MOST_PARTS =>
                    {
                        bail!("`{name}` has {} parts, want at most {MOST_PARTS}", parts.len());
                    }
                    _ => {
                        counts.has_combinations |= ["anyOf", "oneOf", "allOf"].contains(&name.as_str());
                        if name == "patternProperties" {
                            let patterns = value.as_object().into_iter().flat_map(|patterns| patterns.keys());
                            for pattern in patterns {
                                check_regex(pattern)?;
                            }
                        }
                        count(value, counts)?;
                    }
                }
            }
            Ok(())
        }
        Value::Array(values) => values.iter().try_for_each(|value| count(value, counts)),
        Value::String(text) => check_text(text),
        _ => Ok(()),
    }
}

/// Checks values to choose from, which may be many.
fn check_choices(choices: &[Value]) -> Result<()> {
    let mut compound = Counts::default();
    for choice in choices {
        match choice {
            Value::String(text) => check_text(text)?,
            Value::Array(_) | Value::Object(_) => count(choice, &mut compound)?,
            _ => {}
        }
    }
    if compound.values > MOST_PARTS {
        bail!(
            "`enum` has {} values in lists and objects, want at most {MOST_PARTS}",
            compound.values
        );
    }
    Ok(())
}

/// Returns how deeply the lists and objects of a value are nested.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}

/// Fails on numbers that are too large to follow what an answer is a multiple of. If schemas may be
/// combined, an answer may have to be a multiple of all of them.
fn check_factors(factors: &[Value], may_combine: bool) -> Result<()> {
    let mut together: Option<(u64, u32)> = None;
    for factor in factors {
        let Some(one) = decimal(factor) else {
            bail!("`multipleOf`: {factor} has too many digits");
        };
        let all = match together.filter(|_| may_combine) {
            Some(other) => common_multiple(one, other),
            None => Some(one),
        };
        match all {
            Some((digits, _)) if digits <= LARGEST_FACTOR => together = all,
            _ => bail!(
                "`multipleOf`: {factor} takes too long to follow, alone or with others\nhint: at most {LARGEST_FACTOR}"
            ),
        }
    }
    Ok(())
}

/// Returns a number as digits and how many of them are behind the point.
fn decimal(number: &Value) -> Option<(u64, u32)> {
    let text = number.to_string();
    let (text, power) = match text.split_once(['e', 'E']) {
        Some((text, power)) => (text, power.parse::<i32>().ok()?),
        None => (text.as_str(), 0),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = part.trim_end_matches('0');
    let digits: u64 = format!("{whole}{part}").parse().ok()?;
    let behind = i32::try_from(part.len()).ok()?.checked_sub(power)?;
    match u32::try_from(behind) {
        Ok(behind) => Some((digits, behind)),
        Err(_) => Some((digits.checked_mul(10u64.checked_pow(behind.unsigned_abs())?)?, 0)),
    }
}

/// Returns the least common multiple of two decimals.
fn common_multiple((a, a_behind): (u64, u32), (b, b_behind): (u64, u32)) -> Option<(u64, u32)> {
    let behind = a_behind.max(b_behind);
    let scaled = |digits: u64, own: u32| digits.checked_mul(10u64.checked_pow(behind - own)?);
    let (a, b) = (scaled(a, a_behind)?, scaled(b, b_behind)?);
    if a == 0 || b == 0 {
        return Some((0, 0));
    }
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    Some(((a / x).checked_mul(b)?, behind))
}

/// Whether white space and comments may stand anywhere in a pattern, so that its parts are not what
/// they seem to be.
fn is_verbose(pattern: &str) -> bool {
    pattern.match_indices("(?").any(|(at, _)| {
        let flags = &pattern[at + 2..];
        let end = flags.find(|c: char| !c.is_ascii_alphabetic() && c != '-');
        let is_end = end.is_some_and(|end| flags[end..].starts_with([':', ')']));
        is_end && flags[..end.unwrap_or(0)].contains('x')
    })
}

/// Returns how many parts a regular expression has when `{n}` and `{n,m}` are written out `n`
/// times.
fn expanded(pattern: &str) -> u64 {
    let mut letters = pattern.chars().peekable();
    let (mut total, mut last) = (0u64, 0u64);
    let mut open = Vec::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                let kind = letters.next();
                // Braces behind these are part of them.
                if kind.is_some_and(|kind| "pPxuUkg".contains(kind)) && letters.peek() == Some(&'{') {
                    letters.find(|&letter| letter == '}');
                }
                last = 1;
                total = total.saturating_add(1);
            }
            '[' => {
                skip_class(&mut letters);
                last = 1;
                total = total.saturating_add(1);
            }
            '(' => open.push(std::mem::take(&mut total)),
            ')' => {
                last = total.max(1);
                total = open.pop().unwrap_or(0).saturating_add(last);
            }
            '{' => {
                let inside: String = letters
                    .clone()
                    .take_while(|&letter| letter != '}')
                    .take(24)
                    .collect();
                let times = inside.split(',').next().unwrap_or_default().trim();
                if let Ok(times) = times.parse::<u64>() {
                    let whole = last.saturating_mul(times.max(1));
                    total = total.saturating_add(whole - last);
                    last = whole;
                    letters.find(|&letter| letter == '}');
                }
            }
            '*' | '+' | '?' | '|' => {}
            _ => {
                last = 1;
                total = total.saturating_add(1);
            }
        }
    }
    open.into_iter().fold(total, u64::saturating_add)
}

/// Goes behind a class of letters, whose `[` is taken.
fn skip_class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut open = 1;
    letters.next_if_eq(&'^');
    // As the first, it is a letter.
    letters.next_if_eq(&']');
    while open > 0 {
        match letters.next() {
            Some('\\') => drop(letters.next()),
            Some('[') => open += 1,
            Some(']') => open -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

/// Returns how many definitions refer to one another in a chain; for tests of schemas that do.
#[cfg(test)]
pub fn chain(length: usize) -> Value {
    let link = |index: usize| {
        let schema = match index + 1 < length {
            true => serde_json::json!({ "type": "object", "required": ["a"],
                "properties": { "a": { "$ref": format!("#/$defs/d{}", index + 1) } } }),
            false => serde_json::json!({ "type": "integer" }),
        };
        (format!("d{index}"), schema)
    };
    let definitions: serde_json::Map<String, Value> = (0..length).map(link).collect();
    serde_json::json!({ "$defs": definitions, "$ref": "#/$defs/d0" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repetitions_are_counted_written_out() {
        for (pattern, want) in [
            ("abc", 3),
            ("a{3}", 3),
            ("a{3,9}b", 4),
            ("(ab{2}){10}c", 31),
            ("(((a{100}){100}){100}){100}", 100_000_000),
            ("[a-z{9}]{5}", 5),
            (r"[]{9}\]]{5}", 5),
            (r"\p{L}{5}", 5),
            (r"\{9}", 3),
            ("a{,5}", 4),
            ("{9}", 0),
            ("((a{1000})", 1000),
        ] {
            assert_eq!(expanded(pattern), want, "{pattern}");
        }
        for (pattern, want) in [
            ("(?x)a", true),
            ("(?i-x:a)", true),
            ("(?i)x", false),
            ("(?P<x>a)", false),
            ("(?:x)", false),
        ] {
            assert_eq!(is_verbose(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn multiples_of_several_numbers_are_those_of_one() {
        for (factors, want) in [
            (vec![json!(7), json!(11)], true),
            (vec![json!(20_001)], false),
            (vec![json!(0.01), json!(5)], true),
            (vec![json!(1e-9)], true),
            (vec![json!(1e3), json!(0.5)], true),
            (vec![json!(7), json!(11), json!(13), json!(17), json!(19)], false),
            (vec![json!(123.457_891)], false),
            (vec![json!(1e300)], false),
            (vec![json!(0)], true),
        ] {
            assert_eq!(check_factors(&factors, true).is_ok(), want, "{factors:?}");
        }
        assert!(check_factors(&[json!(9999), json!(9998)], false).is_ok());
    }

    #[test]
    fn definitions_are_counted_as_deep_as_they_reach() {
        assert!(check_schema(&chain(400)).is_ok());
        assert!(check_schema(&chain(1000)).is_err());
    }
}
