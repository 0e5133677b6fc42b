//! What a request holds its answers to: OpenAI's `response_format`, and the names that vLLM and
//! llama.cpp have for it.

use ewe::text::clean;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::{JsonFields, wrong};
use crate::engine::grammar::{Grammar, GrammarSource};
use crate::engine::handle::LocalBackend;

/// The most texts to choose from.
const MOST_CHOICES: usize = 10_000;

/// How the grammars of llama.cpp begin that its `llguidance` reads, as ours does.
const LARK_MARK: &str = "%llguidance";

/// The format of an answer, and the parameter that asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerFormat {
    /// The parameter, such as `response_format.json_schema.schema`.
    pub place: String,
    /// What it asks for.
    pub source: GrammarSource,
}

impl AnswerFormat {
    fn new(place: impl Into<String>, source: GrammarSource) -> AnswerFormat {
        AnswerFormat {
            place: place.into(),
            source,
        }
    }

    /// Takes the parameters that are about the format of an answer.
    ///
    /// # Errors
    ///
    /// If two of them are given, and on values that are not what they should be.
    pub fn take(fields: &mut JsonFields) -> Result<Option<AnswerFormat>, ApiError> {
        let mut found = Vec::new();
        found.extend(response_format(fields)?);
        if let Some(mut outputs) = fields.object("structured_outputs")? {
            found.extend(named(&mut outputs, &VLLM)?);
            outputs.end(&[], &[])?;
        }
        found.extend(named(fields, &BESIDE)?);
        if let [first, second, ..] = found.as_slice() {
            let message = format!(
                "`{}` and `{}` exclude each other: an answer has one format\nhint: leave one away",
                first.place, second.place
            );
            return Err(ApiError::parameter(&second.place, message));
        }
        Ok(found.pop())
    }

    /// Compiles it for the model.
    ///
    /// # Errors
    ///
    /// Name the parameter, and of a schema the path to what is wrong with it or not supported.
    pub fn compile(&self, backend: &LocalBackend) -> Result<Grammar, ApiError> {
        // What stands beside calls is what was asked for.
        let asked = match &self.source {
            GrammarSource::OrCalls(answer, _) => answer.as_ref(),
            source => source,
        };
        if let GrammarSource::Schema(schema) = asked {
            check_schema(&self.place, schema)?;
        }
        backend.grammar(&self.source).map_err(|error| {
            let reason = shortened(&format!("{error:#}"));
            let path = match asked {
                GrammarSource::Schema(schema) => unsupported_path(schema, &reason),
                _ => None,
            };
            let place = format!("{}{}", self.place, path.unwrap_or_default());
            let message = format!("`{place}`: {reason}\nhint: docs/serve.md has what is supported");
            ApiError::parameter(&place, message).coded("unsupported_parameter")
        })
    }
}

/// How a parameter says what it wants.
#[derive(Clone, Copy)]
enum Way {
    Schema,
    AnyObject,
    Regex,
    Choice,
    Lark,
    /// llama.cpp's, of which only those in Lark are read.
    MarkedLark,
}

/// The fields of vLLM's `structured_outputs`.
const VLLM: [(&str, Way); 5] = [
    ("json", Way::Schema),
    ("json_object", Way::AnyObject),
    ("regex", Way::Regex),
    ("choice", Way::Choice),
    ("grammar", Way::Lark),
];

/// Parameters of their own.
const BESIDE: [(&str, Way); 9] = [
    ("guided_json", Way::Schema),
    ("guided_json_object", Way::AnyObject),
    ("guided_regex", Way::Regex),
    ("guided_choice", Way::Choice),
    ("guided_grammar", Way::Lark),
    ("json_schema", Way::Schema),
    ("regex", Way::Regex),
    ("choice", Way::Choice),
    ("grammar", Way::MarkedLark),
];

/// Takes parameters by their names.
fn named(fields: &mut JsonFields, names: &[(&'static str, Way)]) -> Result<Vec<AnswerFormat>, ApiError> {
    let mut found = Vec::new();
    for &(name, way) in names {
        let Some(value) = fields.take(name) else { continue };
        let place = fields.full(name);
        found.extend(source(way, &place, value)?.map(|source| AnswerFormat::new(place, source)));
    }
    Ok(found)
}

/// Reads the value of a parameter; none if it asks for nothing.
fn source(way: Way, place: &str, value: Value) -> Result<Option<GrammarSource>, ApiError> {
    let text = |want: &str| match &value {
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(wrong(place, other, want)),
    };
    Ok(match way {
        Way::Schema => schema_of(place, value)?.map(GrammarSource::Schema),
        Way::AnyObject => match value {
            Value::Bool(is_wanted) => is_wanted.then(any_object),
            other => return Err(wrong(place, &other, "true or false")),
        },
        Way::Regex => text("a regular expression")?.map(GrammarSource::Regex),
        Way::Lark => text("a grammar")?.map(GrammarSource::Lark),
        Way::MarkedLark => match text("a grammar")? {
            Some(lark) if !lark.trim_start().starts_with(LARK_MARK) => {
                let message = format!(
                    "`{place}` is a grammar in GBNF, which is not served here\nhint: one in Lark that begins with `{LARK_MARK}`, \
                     or `json_schema`"
                );
                return Err(ApiError::parameter(place, message).coded("unsupported_parameter"));
            }
            lark => lark.map(GrammarSource::Lark),
        },
        Way::Choice => {
            let texts = value.as_array().and_then(|list| {
                let texts = list.iter().map(|text| text.as_str().map(str::to_owned));
                texts.collect::<Option<Vec<String>>>()
            });
            match texts {
                Some(texts) if texts.is_empty() => None,
                Some(texts) if texts.len() <= MOST_CHOICES && texts.iter().all(|text| !text.is_empty()) => {
                    Some(GrammarSource::Choice(texts))
                }
                _ => {
                    let want = format!("a list of up to {MOST_CHOICES} texts, none of them empty");
                    return Err(wrong(place, &value, &want));
                }
            }
        }
    })
}

/// Returns a schema, which may be written as a text; none of an empty text.
fn schema_of(place: &str, value: Value) -> Result<Option<Value>, ApiError> {
    const WANT: &str = "a JSON Schema";
    let schema = match &value {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => serde_json::from_str(text).map_err(|_| wrong(place, &value, WANT))?,
        _ => value,
    };
    match schema {
        Value::Object(_) | Value::Bool(true) => Ok(Some(schema)),
        other => Err(wrong(place, &other, WANT)),
    }
}

fn any_object() -> GrammarSource {
    GrammarSource::Schema(json!({ "type": "object" }))
}

/// Takes `response_format`: `text`, `json_object` (with llama.cpp's `schema` or without), or
/// `json_schema`. `strict` changes nothing: answers are held to the schema in either case.
fn response_format(fields: &mut JsonFields) -> Result<Option<AnswerFormat>, ApiError> {
    const NAME: &str = "response_format";
    let Some(mut format) = fields.object(NAME)? else {
        return Ok(None);
    };
    let kind = format.take("type");
    let found = match kind.as_ref().and_then(Value::as_str) {
        Some("text") => None,
        Some("json_object") => {
            let place = format.full("schema");
            match format.take("schema") {
                None => Some(AnswerFormat::new(NAME, any_object())),
                Some(schema) => schema_of(&place, schema)?
                    .map(|schema| AnswerFormat::new(place, GrammarSource::Schema(schema))),
            }
        }
        Some("json_schema") => {
            let Some(mut described) = format.object("json_schema")? else {
                let place = format.full("json_schema");
                let message = format!("`{place}` is missing\nhint: {{\"name\": …, \"schema\": …}}");
                return Err(ApiError::parameter(&place, message));
            };
            described.take("name");
            described.take("description");
            described.flag("strict")?;
            let place = described.full("schema");
            let schema = described.take("schema");
            described.end(&[], &[])?;
            let schema = match schema {
                Some(schema) => schema_of(&place, schema)?,
                None => None,
            };
            match schema {
                Some(schema) => Some(AnswerFormat::new(place, GrammarSource::Schema(schema))),
                None => return Err(ApiError::parameter(&place, format!("`{place}` is missing"))),
            }
        }
        _ => {
            let kind = kind.unwrap_or(Value::Null);
            return Err(format.wrong("type", &kind, "text, json_object or json_schema"));
        }
    };
    format.end(&[], &[])?;
    Ok(found)
}

/// Fails on a schema that is none, with the path to what is wrong.
pub fn check_schema(place: &str, schema: &Value) -> Result<(), ApiError> {
    match jsonschema::meta::options().validate(schema) {
        Ok(()) => Ok(()),
        Err(error) => {
            let path = format!("{place}{}", dotted(error.instance_path().as_str()));
            let reason = shortened(&error.to_string());
            let message = format!("`{path}` is not what JSON Schema has there: {reason}");
            Err(ApiError::parameter(&path, message))
        }
    }
}

/// Returns a JSON pointer as names are written in messages: `/properties/a/enum/0` is
/// `.properties.a.enum[0]`.
fn dotted(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1);
    let parts = parts.map(|part| match part.parse::<usize>() {
        Ok(index) => format!("[{index}]"),
        Err(_) => format!(".{}", clean(&part.replace("~1", "/").replace("~0", "~"))),
    });
    parts.collect()
}

/// Returns where the first of the keywords stands that the library does not know, if its message is
/// about some.
fn unsupported_path(schema: &Value, reason: &str) -> Option<String> {
    let list = reason.strip_prefix("Unimplemented keys: ")?;
    let end = list.find(']')?;
    let keys: Vec<String> = serde_json::from_str(&list[..=end]).ok()?;
    place_of(schema, &keys, true).map(|pointer| dotted(&pointer))
}

/// Returns the JSON pointer to the first of `keys` in a schema; `is_schema` is false of an object
/// whose names are those of properties.
fn place_of(value: &Value, keys: &[String], is_schema: bool) -> Option<String> {
    match value {
        Value::Object(fields) => {
            if let Some(key) = fields.keys().find(|key| is_schema && keys.contains(key)) {
                return Some(format!("/{key}"));
            }
            fields.iter().find_map(|(name, value)| {
                let names = ["properties", "patternProperties", "$defs", "definitions"];
                let holds_names = is_schema && names.contains(&name.as_str());
                let below = place_of(value, keys, !holds_names)?;
                Some(format!("/{}{below}", name.replace('~', "~0").replace('/', "~1")))
            })
        }
        Value::Array(values) => values.iter().enumerate().find_map(|(index, value)| {
            let below = place_of(value, keys, true)?;
            Some(format!("/{index}{below}"))
        }),
        _ => None,
    }
}

/// Returns the first line of a message, cut if it is long.
fn shortened(message: &str) -> String {
    const MOST: usize = 300;
    let line = clean(message.lines().next().unwrap_or_default());
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(body: &Value) -> Result<Option<AnswerFormat>, ApiError> {
        let mut fields = JsonFields::read(body.to_string().as_bytes()).unwrap();
        AnswerFormat::take(&mut fields)
    }

    #[test]
    fn every_name_of_a_format_is_read() {
        let schema = json!({ "type": "integer" });
        let of = |source| Some(source);
        for (body, want) in [
            (json!({ "response_format": { "type": "text" } }), None),
            (
                json!({ "response_format": { "type": "json_object" } }),
                of(any_object()),
            ),
            (
                json!({ "response_format": { "type": "json_object", "schema": schema } }),
                of(GrammarSource::Schema(schema.clone())),
            ),
            (
                json!({ "response_format": { "type": "json_schema",
                    "json_schema": { "name": "x", "strict": true, "schema": schema } } }),
                of(GrammarSource::Schema(schema.clone())),
            ),
            (
                json!({ "guided_json": schema.to_string() }),
                of(GrammarSource::Schema(schema.clone())),
            ),
            (
                json!({ "json_schema": schema }),
                of(GrammarSource::Schema(schema.clone())),
            ),
            (json!({ "guided_json_object": false, "regex": "" }), None),
            (
                json!({ "guided_regex": "a+" }),
                of(GrammarSource::Regex("a+".into())),
            ),
            (
                json!({ "structured_outputs": { "choice": ["a", "b"] } }),
                of(GrammarSource::Choice(vec!["a".into(), "b".into()])),
            ),
            (
                json!({ "grammar": "%llguidance {}\nstart: \"a\"" }),
                of(GrammarSource::Lark("%llguidance {}\nstart: \"a\"".into())),
            ),
        ] {
            let format = taken(&body).unwrap_or_else(|error| panic!("{body}: {error:?}"));
            assert_eq!(format.map(|format| format.source), want, "{body}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_format_is_named_by_its_path() {
        for (body, param) in [
            (
                json!({ "response_format": { "type": "xml" } }),
                "response_format.type",
            ),
            (
                json!({ "response_format": { "type": "json_schema" } }),
                "response_format.json_schema",
            ),
            (
                json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x" } } }),
                "response_format.json_schema.schema",
            ),
            (
                json!({ "response_format": { "type": "text", "schema": {} } }),
                "response_format.schema",
            ),
            (json!({ "guided_choice": ["a", ""] }), "guided_choice"),
            (
                json!({ "structured_outputs": { "regx": "a" } }),
                "structured_outputs.regx",
            ),
            (json!({ "grammar": "root ::= \"a\"" }), "grammar"),
            (json!({ "regex": "a", "choice": ["b"] }), "choice"),
        ] {
            let refusal = taken(&body).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some(param), "{body}");
            assert!(
                refusal.message.contains(&format!("`{param}`")),
                "{}",
                refusal.message
            );
        }
        let schema = json!({ "type": "object", "properties": { "a": { "type": ["string", 5] } } });
        let refusal = check_schema("x", &schema).unwrap_err();
        let param = refusal.param.unwrap();
        assert!(param.starts_with("x.properties.a.type"), "{param}");
        // A property may be called as a keyword is.
        let schema = json!({ "properties": { "not": { "anyOf": [{}, { "not": {} }] } } });
        let path = unsupported_path(&schema, "Unimplemented keys: [\"not\"]");
        assert_eq!(path.as_deref(), Some(".properties.not.anyOf[1].not"));
    }
}
