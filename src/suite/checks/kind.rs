//! The kinds of checks, and how they are read.

use std::path::Path;

use jsonschema::{PatternOptions, Validator};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::program::Program;

/// The most memory of a compiled pattern, in bytes.
const LARGEST_PATTERN: usize = 10 << 20;

/// The names of all kinds.
const KINDS: [&str; 7] = [
    "regex",
    "exact",
    "contains",
    "not_contains",
    "max_words",
    "json_schema",
    "program",
];

/// One check of a row.
#[derive(Debug, Clone)]
pub struct Check {
    /// The name of its kind, such as `regex`.
    pub kind: &'static str,
    pub(super) test: Test,
}

/// What is tested.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// The pattern is found.
    Regex(Regex),
    /// The answer is one of these, which have no white space around them.
    Exact(Vec<String>),
    /// All of these are in the answer.
    Contains(Vec<String>),
    /// None of these is in the answer.
    NotContains(Vec<String>),
    /// The answer has at most so many words.
    MaxWords(u64),
    /// The answer, or the first JSON value in it, satisfies the schema.
    JsonSchema {
        /// The schema.
        validator: Box<Validator>,
        /// Whether the value is looked for in the answer.
        extract: bool,
    },
    /// The program accepts the answer.
    Program(Program),
}

impl Check {
    /// Parses a check. Programs are looked for in `folder`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn parse(value: &Value, folder: &Path) -> Result<Check, String> {
        let fields = value
            .as_object()
            .ok_or("a check is an object such as {\"contains\": \"…\"}")?;
        for name in fields.keys() {
            if name != "extract" && !KINDS.contains(&name.as_str()) {
                let nearest = KINDS
                    .iter()
                    .max_by_key(|kind| (strsim::jaro_winkler(kind, name) * 1e6) as u64);
                return Err(format!(
                    "there is no check `{name}`; there are {}\nhint: did you mean `{}`?",
                    KINDS.join(", "),
                    nearest.unwrap_or(&"")
                ));
            }
        }
        let mut kinds = KINDS.into_iter().filter(|kind| fields.contains_key(*kind));
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            return Err(format!("a check has exactly one of {}", KINDS.join(", ")));
        };
        let extract = extract(fields, kind)?;
        let value = &fields[kind];
        let test = match kind {
            "regex" => Test::Regex(regex(value)?),
            "exact" => Test::Exact(
                texts(value, kind)?
                    .into_iter()
                    .map(|text| text.trim().into())
                    .collect(),
            ),
            "contains" => Test::Contains(texts(value, kind)?),
            "not_contains" => Test::NotContains(texts(value, kind)?),
            "max_words" => Test::MaxWords(
                value
                    .as_u64()
                    .ok_or_else(|| format!("`max_words` needs a whole number, not {value}"))?,
            ),
            "json_schema" => Test::JsonSchema {
                validator: Box::new(validator(value)?),
                extract,
            },
            _ => Test::Program(Program::parse(value, folder)?),
        };
        Ok(Check { kind, test })
    }
}

/// Reads `extract`, which only `json_schema` has.
fn extract(fields: &Map<String, Value>, kind: &str) -> Result<bool, String> {
    match fields.get("extract") {
        None => Ok(false),
        Some(Value::Bool(extract)) if kind == "json_schema" => Ok(*extract),
        Some(_) if kind == "json_schema" => Err("`extract` is neither true nor false".into()),
        Some(_) => Err(format!("`extract` belongs to `json_schema`, not to `{kind}`")),
    }
}

/// Reads a text or a list of texts, none of them empty.
fn texts(value: &Value, kind: &str) -> Result<Vec<String>, String> {
    let fault = || format!("`{kind}` needs a text or a list of texts, not {value}");
    let texts: Vec<String> = match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_string).ok_or_else(fault))
            .collect::<Result<_, _>>()?,
        _ => return Err(fault()),
    };
    match texts.is_empty() || kind != "exact" && texts.iter().any(String::is_empty) {
        true => Err(format!("`{kind}` has an empty text or list")),
        false => Ok(texts),
    }
}

fn regex(value: &Value) -> Result<Regex, String> {
    let source = value
        .as_str()
        .ok_or_else(|| format!("`regex` needs a pattern, not {value}"))?;
    RegexBuilder::new(source)
        .size_limit(LARGEST_PATTERN)
        .build()
        .map_err(|error| format!("`regex` has no pattern that can be used: {error}"))
}

/// Compiles a schema. Its patterns take linear time, and references lead nowhere outside of it.
fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex().size_limit(LARGEST_PATTERN))
        .build(schema)
        .map_err(|error| format!("`json_schema` is no JSON Schema that can be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_checks_say_what_is_wrong() {
        let cases = [
            (json!("a"), "a check is an object"),
            (json!({}), "exactly one of"),
            (json!({"regex": "a", "exact": "b"}), "exactly one of"),
            (json!({"extract": true}), "exactly one of"),
            (json!({"regexp": "a"}), "did you mean `regex`?"),
            (json!({"regex": "("}), "unclosed group"),
            (json!({"regex": "(a{1000}){1000}"}), "size limit"),
            (json!({"regex": 1}), "needs a pattern, not 1"),
            (json!({"contains": []}), "empty text or list"),
            (json!({"contains": ""}), "empty text or list"),
            (json!({"not_contains": [1]}), "a list of texts, not [1]"),
            (json!({"max_words": -1}), "whole number, not -1"),
            (json!({"json_schema": {"type": "objekt"}}), "no JSON Schema"),
            (
                json!({"json_schema": {"$ref": "http://127.0.0.1:1/a.json"}}),
                "no JSON Schema",
            ),
            (json!({"json_schema": {}, "extract": 1}), "neither true nor false"),
            (json!({"exact": "a", "extract": true}), "belongs to `json_schema`"),
            (json!({"program": []}), "`program` needs"),
            (json!({"program": "check.py"}), "`program` needs"),
        ];
        for (check, wanted) in cases {
            let error = Check::parse(&check, Path::new(".")).expect_err("a fault");
            assert!(error.contains(wanted), "{check}: {error}");
        }
    }
}
